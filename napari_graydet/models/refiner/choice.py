"""Which refiner to use: chosen on held-out images, and no refiner is a candidate as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.metrics import dice
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import box_mask
from napari_graydet.errors import ModelError
from napari_graydet.models.learning.chance import chance
from napari_graydet.models.refiner.model import (
    SCENE,
    RefinerKind,
    RefinerModel,
    average_logits,
    looks_of,
)
from napari_graydet.models.refiner.patch import Mask, painted, patch_of

NONE, FLIPS = "none", " + flips"

WORDS = {NONE: "the boxes alone", "unet": "U-Net on ROIs", "points": "point head", "scene": "scene"}
"""What candidates are called, by kind."""

PREFERRED = "unet+scene + flips"
"""What did best wherever there were images enough to tell (docs/decisions/0011)."""

SPREAD, FINEST = 0.005, 0.002
"""Standard deviation, over images, of the difference in DSC of two candidates worth choosing; the
least difference of means that is believed however many images there are."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A held-out image with what was detected in it.

    Parameters
    ----------
    image, boxes
        The image and its detected boxes.
    label, mask
        The true (H, W) mask of a label.
    """

    image: GrayImage
    boxes: tuple[BoxProposal, ...]
    label: str
    mask: Mask


def choose_refiner(
    models: Sequence[RefinerModel], held_out: Sequence[HeldOut]
) -> tuple[RefinerModel | None, dict[str, float]]:
    """Choose among no refiner, each model and averages of them, by mean DSC on held-out images.

    Each is tried without and with mirror images, and looks at every ROI once. `PREFERRED` is taken
    unless something is better by more than chance gives; else the best, of equals the simplest.

    Parameters
    ----------
    models
        Trained refiners of one network each, of different kinds.
    held_out
        Images that none of them was trained on, nor any that are used for testing.

    Returns
    -------
    chosen
        All networks, and which of them to use; None if no refiner beats the boxes.
    table
        Mean DSC by candidate: "none", the kinds, averages like "unet+scene", and each with
        " + flips".

    Raises
    ------
    ModelError
        If there is no held-out image, or the models do not go together.
    """
    table = compare_refiners(models, held_out)
    best = best_of(table, images_of(held_out))
    if best == NONE:
        return None, table
    joined = all_of(models)
    kinds, flips = _candidates(joined)[best]
    return replace(joined, chosen=kinds, flips=flips), table


def best_of(table: Mapping[str, float], images: int) -> str:
    """Return the name of the candidate to use, given mean DSC on so many held-out images."""
    best = max(table, key=lambda name: table[name])
    preferred = table.get(PREFERRED, 0.0)
    tied = table[NONE] < preferred >= table[best] - chance(SPREAD, images, least=FINEST)
    return PREFERRED if tied else best


def in_words(name: str) -> str:
    """Return a candidate's name as people say it."""
    kinds = name.removesuffix(FLIPS).split("+")
    return " + ".join(WORDS.get(kind, kind) for kind in kinds) + (
        ", with mirror images" if name.endswith(FLIPS) else ""
    )


def images_of(held_out: Sequence[HeldOut]) -> int:
    """Return how many images these are: one may hold several labels."""
    return len({id(case.image) for case in held_out})


def compare_refiners(
    models: Sequence[RefinerModel], held_out: Sequence[HeldOut]
) -> dict[str, float]:
    """Return the mean DSC of every candidate of `choose_refiner`, those of few networks first.

    Raises
    ------
    ModelError
        If there is no image, or the models do not go together.
    """
    if not held_out:
        raise ModelError("Expected held-out images to choose a refiner on, got none.")
    model = all_of(models)
    scores = [_scores(model, case) for case in held_out]
    return {name: round(float(np.mean([s[name] for s in scores])), 4) for name in scores[0]}


def all_of(models: Sequence[RefinerModel]) -> RefinerModel:
    """Return all networks as one model that looks at mirror images too.

    Raises
    ------
    ModelError
        If there is none, or they do not go together.
    """
    if not models:
        raise ModelError("Expected at least one trained refiner, got none.")
    return replace(reduce(lambda a, b: a.joined(b), models), flips=True, chosen=None)


def _candidates(model: RefinerModel) -> dict[str, tuple[tuple[RefinerKind, ...], bool]]:
    """Return kinds and use of mirror images by the candidate's name."""
    sets: list[tuple[RefinerKind, ...]] = [
        kinds
        for count in range(1, len(model.networks) + 1)
        for kinds in combinations(model.networks, count)
    ]
    plain = {"+".join(kinds): (kinds, False) for kinds in sets}
    return plain | {name + FLIPS: (kinds, True) for name, (kinds, _) in plain.items()}


def _scores(model: RefinerModel, case: HeldOut) -> dict[str, float]:
    """Return the DSC of every candidate on one image; every network looks once."""
    image, boxes = case.image, [b.box for b in case.boxes if b.label == case.label]
    base = box_mask(image.pixels, boxes)
    scores = {NONE: dice(base, case.mask)}
    if case.label not in model.classes or not boxes:
        return scores | dict.fromkeys(_candidates(model), scores[NONE])
    class_id, rois = model.classes.index(case.label), [box.roi for box in boxes]
    looks: dict[tuple[RefinerKind, bool], Tensor] = {}
    if model.on_patches is not None:
        patches = np.stack([patch_of(image, box.roi, box, model.frame) for box in boxes])
        looks |= _looks(model.on_patches, patches, class_id)
    if model.on_scene is not None:
        seen = patch_of(image, RoiBox.of_image(image.shape), None, model.frame.scene)
        looks |= _looks(model.on_scene, seen[None], class_id)
    for name, (kinds, flips) in _candidates(model).items():
        used = {key: v for key, v in looks.items() if key[0] in kinds and key[1] <= flips}
        patch = [v for (kind, _), v in used.items() if kind != SCENE]
        scene = [v for (kind, _), v in used.items() if kind == SCENE]
        logits = average_logits(patch)[:, None] if patch else [None] * len(rois)
        mask = painted(
            zip(rois, logits, strict=True),
            model.frame,
            image.shape,
            average_logits(scene) if scene else None,
        )
        scores[name] = dice(mask, case.mask)
    return scores


def _looks(
    model: RefinerModel, patches: npt.NDArray[np.float32], class_id: int
) -> dict[tuple[RefinerKind, bool], Tensor]:
    with torch.inference_mode():
        return looks_of(model, torch.from_numpy(patches), torch.full((len(patches),), class_id))
