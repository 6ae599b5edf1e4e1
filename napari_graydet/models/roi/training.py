"""Training of the ROI detector: its stages, its start, and the weights it leaves.

A loop of our own around ultralytics' network and loss: no files, plots or network, seeded, and
able to stop within a batch and to go on. Source: the paper, "ROI extraction" (stage 1 with all but
the last 3 layers frozen, stage 2 with everything trained, Adam); METHOD.md, section 3 (the start
from COCO weights is decisive).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from torch import nn

from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import ModelError, WeightsError
from napari_graydet.io.weights import (
    WeightsCard,
    check_kind,
    load_weights,
    read_card,
    save_weights,
)
from napari_graydet.models.device import choose_device
from napari_graydet.models.learning.loop import Budget, Watch, fit
from napari_graydet.models.roi.augmentation import Example
from napari_graydet.models.roi.darknet import darknet_architecture, read_darknet
from napari_graydet.models.roi.detector import RoiSettings, YoloRoiDetector
from napari_graydet.models.roi.learner import BATCH, RoiLearner, Stage
from napari_graydet.models.roi.metrics import RoiSample, roi_metrics, roi_scores
from napari_graydet.models.roi.threshold import LOWEST, choose_min_score
from napari_graydet.models.roi.yolo import build_yolo, restore_state

PRESETS: dict[str, tuple[Stage, ...]] = {
    "default": (
        Stage(0.04, "backbone", (1e-3, 1e-3), (256,)),
        Stage(0.26, 5, (6e-4, 5e-4), (256, 320)),
        Stage(0.35, 5, (5e-4, 3e-4), (320, 416)),
        Stage(0.35, 5, (3e-4, 3e-6), (320, 384, 416, 448)),
    ),
    "fast": (
        Stage(0.4, "backbone", (1e-3, 3e-4), (320,), views=96),
        Stage(0.3, 5, (4e-4, 3e-4), (256, 320)),
        Stage(0.3, 5, (3e-4, 3e-6), (320, 384, 416)),
    ),
    "paper": (Stage(0.5, -3, (1e-3, 1e-3), (416,)), Stage(0.5, 0, (1e-4, 1e-4), (416,))),
}
"""Stages by name. "default" makes the shipped weights; it keeps COCO's first layers: edges are
edges, and their gradients at full resolution cost most. "fast" fits weights of ours to a project's
images in minutes; its first stage runs on the frozen backbone's features, computed once. "paper"
has the paper's rates and halves (its 25 + 25 epochs are `epochs=50`)."""


def train_roi(
    samples: Iterable[RoiSample],
    *,
    start: Path,
    out: Path,
    seed: int,
    epochs: float | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    classes: Sequence[str] = ("bone", "lung"),
    held_out: Iterable[RoiSample] = (),
    validation: Sequence[RoiSample] = (),
    validations: int = 0,
    patience: int | None = None,
    preset: str = "default",
    architecture: str | None = None,
    settings: RoiSettings | None = None,
    data: Sequence[str] = (),
    device: str = "auto",
    watch: Watch | None = None,
) -> WeightsCard:
    """Train an ROI detector and save it.

    Parameters
    ----------
    samples
        Images with true ROIs; read once.
    start
        Where the weights start: a darknet `.weights` file (backbone and neck), or safetensors of
        the same architecture. Classes are taken over by name; a new one begins as the mean of
        those that the start knows.
    out
        The safetensors file to write, at the end.
    seed
        Of initialisation, order and augmentation. With `epochs` or `steps`, the same seed gives
        the same weights on the same machine.
    epochs, minutes, steps
        Budget; exactly one of the three.
    classes
        Class names in the order of their ids.
    held_out
        Samples on which the figures of the card are computed at the end.
    validation, validations, patience
        Samples that choose the best weights on the way, how often they are scored, and after how
        many times without a better score to stop.
    preset
        One of `PRESETS`.
    architecture, settings
        Network, and how the detector will look at images; None takes the start's.
    data
        Names of the data sets, for the card.
    device
        See `choose_device`.
    watch
        More about the training, and checkpoints; its `step` is called as well.

    Returns
    -------
    WeightsCard
        The card as saved.

    Raises
    ------
    ModelError
        If there is nothing to train on, the budget or preset is not one, memory runs out, or the
        loss is not finite.
    WeightsError
        If the start does not fit, or a file cannot be written.
    CancelledError
        From `on_progress` or `watch`; nothing is written but a checkpoint.
    """
    if preset not in PRESETS:
        raise ModelError(f"Expected a preset among {', '.join(PRESETS)}, got {preset!r}.")
    if sum(budget is not None for budget in (epochs, minutes, steps)) != 1:
        raise ModelError("Training needs a budget: either epochs or minutes.")
    examples = examples_of(samples, classes)
    if not examples:
        raise ModelError("There is nothing to train on: no sample was given.")
    if epochs is not None:
        steps = math.ceil(epochs * len(examples) / BATCH)
    known, looks = described(start)
    if preset == "paper":  # YOLOv3 is shown pictures of one size
        looks = looks.model_copy(update={"image_size": PRESETS[preset][-1].sizes[0]})
    architecture, settings = architecture or known, settings or looks
    if preset == "paper":  # and looks once
        once = {"mirrored": False, "voting_iou": 1.0, "coarse_size": None}
        settings = settings.model_copy(update=once)
    torch.manual_seed(seed)
    network = build_yolo(architecture, len(classes))
    start_from(network, start, classes)
    learner = RoiLearner(
        network,
        PRESETS[preset],
        examples,
        choose_device(device),
        seed,
        held_out=validation,
        labels=classes,
        settings=settings,
        check=Watch.check if watch is None else watch.check,
    )
    budget = Budget(steps, minutes, validations if validation else 0, patience)
    scores = fit(learner, budget, watch or Watch())
    if preset != "paper":
        settings = _with_threshold(settings, learner.result, classes, validation, device)
        if validation:  # of the detector as it is saved
            trained = _detector(learner.result, classes, settings, device)
            scores = roi_scores(trained, validation)
    card = WeightsCard(
        kind="roi",
        architecture=architecture,
        configuration=settings.model_dump(),
        classes=list(classes),
        data=list(data),
        metrics=dict(scores),
        seed=seed,
        versions={name: version(name) for name in ("torch", "ultralytics")},
    )
    tensors = tensors_of(learner.result)
    save_weights(out, tensors, card)
    held = list(held_out)
    if held:
        detector = YoloRoiDetector.from_weights(out, device=device)
        card = card.model_copy(update={"metrics": scores | roi_metrics(detector, held)})
        save_weights(out, tensors, card)
    return card


def _with_threshold(
    settings: RoiSettings,
    network: nn.Module,
    classes: Sequence[str],
    validation: Sequence[RoiSample],
    device: str,
) -> RoiSettings:
    """Return the settings with the score threshold that held-out images choose."""
    everything = settings.model_copy(update={"min_score": LOWEST})
    chosen = choose_min_score(_detector(network, classes, everything, device), validation)
    return settings if chosen is None else settings.model_copy(update={"min_score": chosen})


def _detector(
    network: nn.Module, classes: Sequence[str], settings: RoiSettings, device: str
) -> YoloRoiDetector:
    return YoloRoiDetector(
        copy.deepcopy(network), classes, name="trained", settings=settings, device=device
    )


def examples_of(samples: Iterable[RoiSample], classes: Sequence[str]) -> list[Example]:
    """Return the pictures of samples: successive ones of one image make one picture.

    Raises
    ------
    ModelError
        If a sample is of another class.
    """
    examples: list[Example] = []
    open_: list[RoiSample] = []

    def close() -> None:
        if open_:
            rois: list[tuple[RoiBox, int]] = [
                (roi, _class_id(s.label, classes)) for s in open_ for roi in s.rois
            ]
            boxes, ids = [roi for roi, _ in rois], [class_id for _, class_id in rois]
            examples.append(Example.of(open_[0].image, boxes, ids, open_[0].kind))
            open_.clear()

    for sample in samples:
        _class_id(sample.label, classes)
        if open_ and sample.image is not open_[0].image:
            close()
        open_.append(sample)
    close()
    return examples


def _class_id(label: str, classes: Sequence[str]) -> int:
    if label not in classes:
        raise ModelError(f"A sample is labelled {label!r}; expected {', '.join(classes)}.")
    return list(classes).index(label)


# --- where the weights start ----------------------------------------------------------------------


def described(start: Path) -> tuple[str, RoiSettings]:
    """Return the architecture of a start, and how a detector of it looks at images.

    Raises
    ------
    WeightsError
        If the start is of another kind, or cannot be read.
    """
    if start.suffix == ".weights":
        return darknet_architecture(start), RoiSettings()
    card = read_card(start)
    check_kind(card, "roi", start)
    try:
        return card.architecture, RoiSettings.model_validate(card.configuration)
    except ValidationError as error:
        raise WeightsError(f"The card of {start.name} describes no YOLO; copy it again.") from error


def start_from(network: nn.Module, start: Path, classes: Sequence[str]) -> None:
    """Load the start of a training into a network; see `train_roi`.

    Raises
    ------
    WeightsError
        If the file does not fit the network.
    """
    if start.suffix == ".weights":
        tensors = read_darknet(start)
        state = network.state_dict()
        misfit = [k for k, v in tensors.items() if k not in state or state[k].shape != v.shape]
        if misfit:
            raise WeightsError(
                f"{start.name} fits {darknet_architecture(start)} only; start another architecture "
                "from its own safetensors."
            )
        arrays = {name: torch.from_numpy(v.copy()) for name, v in tensors.items()}
        network.load_state_dict(arrays, strict=False)
        return
    tensors, card = load_weights(start)
    check_kind(card, "roi", start)
    if card.classes != list(classes):
        wanted = class_layers(network, len(classes))
        tensors = {
            name: rows_of_classes(values, card.classes, classes) if name in wanted else values
            for name, values in tensors.items()
        }
    restore_state(network, tensors, start.name)


def class_layers(network: nn.Module, n_classes: int) -> set[str]:
    """Return the names of a YOLO's tensors that have one row per class."""
    return {
        f"{name}.{which}"
        for name, module in network.named_modules()
        if "cv3." in name and isinstance(module, nn.Conv2d) and module.out_channels == n_classes
        for which in ("weight", "bias")
    }


def rows_of_classes(
    values: npt.NDArray[Any], known: Sequence[str], classes: Sequence[str]
) -> npt.NDArray[Any]:
    """Return the rows of classes by name; a class that is new gets the mean of all rows."""
    mean = values.mean(axis=0)
    return np.stack([values[known.index(c)] if c in known else mean for c in classes])


def tensors_of(network: nn.Module) -> dict[str, npt.NDArray[Any]]:
    """Return a network's arrays for saving: kernels as float16, all else as float32."""
    tensors = {}
    for name, value in network.state_dict().items():
        if name.endswith("_tracked"):
            continue
        array = value.detach().float().cpu().contiguous().numpy()
        tensors[name] = array.astype(np.float16) if array.ndim > 1 else array
    return tensors
