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

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.metrics import dice
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import box_mask
from napari_graydet.errors import ModelError
from napari_graydet.models.refiner_model import (
    SCENE,
    Kind,
    RefinerModel,
    average_logits,
    looks_of,
)
from napari_graydet.models.refiner_patch import Mask, painted, patch_of, placed

NONE, FLIPS = "none", " + flips"

PREFERRED, TIE = "unet+scene + flips", 0.002
"""What did best wherever there were images enough to tell (docs/decisions/0011); a difference of
mean DSC that the few held-out images of a project cannot tell from chance."""


Looks = dict[tuple[Kind, bool], Tensor]
"""Logits by network, and by whether it looked at the mirror image."""


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
    unless something is better by more than `TIE`; else the best, of equals the simplest.

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
    best = best_of(table)
    if best == NONE:
        return None, table
    joined = all_of(models)
    kinds, flips = _candidates(joined)[best]
    return replace(joined, chosen=kinds, flips=flips), table


def best_of(table: Mapping[str, float]) -> str:
    """Return the name of the candidate to use."""
    best = max(table, key=lambda name: table[name])
    tied = best != NONE and table.get(PREFERRED, 0.0) >= table[best] - TIE
    return PREFERRED if tied else best


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


def _candidates(model: RefinerModel) -> dict[str, tuple[tuple[Kind, ...], bool]]:
    """Return kinds and use of mirror images by the candidate's name."""
    sets: list[tuple[Kind, ...]] = [
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
    views = _Views(model, image, boxes, model.classes.index(case.label))
    for name, (kinds, flips) in _candidates(model).items():
        scores[name] = dice(views.mask(kinds, flips), case.mask)
    return scores


class _Views:
    """What all networks see in one image; each looks once at every patch, as the refiner would."""

    def __init__(
        self, model: RefinerModel, image: GrayImage, boxes: Sequence[GrayBox], class_id: int
    ) -> None:
        self._model, self._image, self._boxes, self._class_id = model, image, boxes, class_id
        self._rois = [box.roi.clip(image.shape) for box in boxes]
        self._on_patches: dict[tuple[RoiBox, ...], Looks] = {}
        self._on_scene: Looks = {}
        if model.on_scene is not None:
            seen = patch_of(image, RoiBox.of_image(image.shape), None, model.frame.scene)
            self._on_scene = self._looks(model.on_scene, seen[None])

    def mask(self, kinds: Sequence[Kind], flips: bool) -> Mask:
        """Return the mask that some of the networks make together."""
        model, shape = self._model, self._image.shape
        scene = _averaged(self._on_scene, kinds, flips)
        rois = self._rois if scene is None else placed(self._rois, scene, shape)
        logits = None
        if model.on_patches is not None and set(kinds) - {SCENE}:
            logits = _averaged(self._at(model.on_patches, tuple(rois)), kinds, flips)
        pieces = [(roi, None if logits is None else logits[i, None]) for i, roi in enumerate(rois)]
        return painted(pieces, model.frame, shape, scene)

    def _at(self, model: RefinerModel, rois: tuple[RoiBox, ...]) -> Looks:
        if rois not in self._on_patches:
            pairs = zip(rois, self._boxes, strict=True)
            patches = [patch_of(self._image, roi, box, model.frame) for roi, box in pairs]
            self._on_patches[rois] = self._looks(model, np.stack(patches))
        return self._on_patches[rois]

    def _looks(self, model: RefinerModel, patches: npt.NDArray[np.float32]) -> Looks:
        class_ids = torch.full((len(patches),), self._class_id)
        with torch.inference_mode():
            return looks_of(model, torch.from_numpy(patches), class_ids)


def _averaged(looks: Looks, kinds: Sequence[Kind], flips: bool) -> Tensor | None:
    used = [v for (kind, flip), v in looks.items() if kind in kinds and flip <= flips]
    return average_logits(used) if used else None
