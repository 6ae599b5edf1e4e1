"""Training of the ROI detector: stages, augmentation, moving average, checkpoints.

A loop of our own around ultralytics' network and loss: no files, plots or network, seeded, and
able to stop at any moment with usable weights. Source: the paper, "ROI extraction" (stage 1 with
all but the last layers frozen, stage 2 with everything trained, Adam); METHOD.md, section 3 (the
start from COCO weights is decisive).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.roi import RoiBox, pairwise_iou_2d
from napari_graydet.errors import ModelError, WeightsError
from napari_graydet.io.weights import WeightsCard, load_weights, save_weights
from napari_graydet.models.darknet import read_darknet
from napari_graydet.models.device import choose_device, is_out_of_memory
from napari_graydet.models.roi_augmentation import Example, augment, empty_scene
from napari_graydet.models.roi_detector import (
    DEFAULT_ARCHITECTURE,
    RoiDetector,
    RoiSettings,
    YoloRoiDetector,
    build_yolo,
    restore_state,
)

BATCH = 8
CHECKPOINT_SECONDS = 180.0
EMPTY_SHARE = 0.03
"""Share of pictures without any object, so that noise and blank films propose nothing."""

_AVERAGE_OVER = 400
"""Steps over which the moving average of the weights forgets."""


class RoiSample(Protocol):
    """What training needs to know about an image."""

    @property
    def image(self) -> GrayImage:
        """The image."""
        ...

    @property
    def label(self) -> str:
        """Class of all its ROIs."""
        ...

    @property
    def kind(self) -> str:
        """Where it comes from; kinds are drawn more evenly than they are numerous."""
        ...

    @property
    def rois(self) -> list[RoiBox]:
        """The true ROIs."""
        ...


@dataclass(frozen=True)
class Stage:
    """One stage of a training.

    Parameters
    ----------
    share
        Share of the whole budget.
    frozen
        Number of first layers that keep their weights.
    rates
        Learning rate at its start and at its end, a half cosine in between.
    sizes
        Picture sizes in pixels, multiples of 32; one is drawn per step.
    """

    share: float
    frozen: int
    rates: tuple[float, float]
    sizes: tuple[int, ...]


PRESETS: dict[str, tuple[Stage, ...]] = {
    "default": (
        Stage(0.04, 13, (1e-3, 1e-3), (256,)),
        Stage(0.26, 5, (6e-4, 5e-4), (256, 320)),
        Stage(0.35, 5, (5e-4, 3e-4), (320, 416)),
        Stage(0.35, 5, (3e-4, 3e-6), (320, 384, 416, 448)),
    ),
    "paper": (Stage(0.5, 18, (1e-3, 1e-3), (416,)), Stage(0.5, 0, (1e-4, 1e-4), (416,))),
}
"""Stages by name. The default keeps COCO's first layers: edges are edges, and their gradients at
full resolution cost most. "paper" has the paper's rates and halves (its 25 + 25 epochs are
`epochs=50`)."""


@dataclass(frozen=True)
class RoiProgress:
    """Where a training stands."""

    step: int
    share: float
    loss: float
    size: int
    seconds: float


def train_roi(
    samples: Iterable[RoiSample],
    *,
    start: Path,
    out: Path,
    seed: int,
    epochs: float | None = None,
    minutes: float | None = None,
    classes: Sequence[str] = ("bone", "lung"),
    held_out: Iterable[RoiSample] = (),
    preset: str = "default",
    architecture: str = DEFAULT_ARCHITECTURE,
    settings: RoiSettings | None = None,
    data: Sequence[str] = (),
    device: str = "auto",
    on_progress: Callable[[RoiProgress], None] | None = None,
) -> WeightsCard:
    """Train an ROI detector and save it.

    Parameters
    ----------
    samples
        Images with true ROIs; read once.
    start
        Where the weights start: a darknet `.weights` file (backbone and neck), or safetensors of
        the same architecture and classes.
    out
        The safetensors file to write; also written in between, so that a stopped training leaves
        usable weights.
    seed
        Of initialisation, order and augmentation. With `epochs`, the same seed gives the same
        weights on the same machine.
    epochs, minutes
        Budget; exactly one of the two.
    classes
        Class names in the order of their ids.
    held_out
        Samples on which the figures of the card are computed at the end.
    preset
        One of `PRESETS`.
    architecture, settings
        Network, and how the detector will look at images.
    data
        Names of the data sets, for the card.
    device
        See `choose_device`.
    on_progress
        Called after every step; stops the training by raising `CancelledError`.

    Returns
    -------
    WeightsCard
        The card as saved.

    Raises
    ------
    ModelError
        If there is nothing to train on, the budget or preset is not one, or memory runs out.
    WeightsError
        If the start does not fit, or the file cannot be written.
    CancelledError
        From `on_progress`; the last checkpoint stays.
    """
    if (epochs is None) == (minutes is None):
        raise ModelError("Training needs a budget: either epochs or minutes.")
    if preset not in PRESETS:
        raise ModelError(f"Expected a preset among {', '.join(PRESETS)}, got {preset!r}.")
    examples = [Example.of(s.image, s.rois, _class_id(s.label, classes), s.kind) for s in samples]
    if not examples:
        raise ModelError("There is nothing to train on: no sample was given.")
    torch.manual_seed(seed)
    network = build_yolo(architecture, len(classes))
    start_from(network, start, classes)
    card = WeightsCard(
        kind="roi",
        architecture=architecture,
        configuration=(settings or RoiSettings()).model_dump(),
        classes=list(classes),
        data=list(data),
        seed=seed,
        versions={name: version(name) for name in ("torch", "ultralytics")},
    )
    run = _Run(network, PRESETS[preset], choose_device(device), np.random.default_rng(seed))
    saved = time.monotonic()
    try:
        for progress in run.steps(examples, epochs, minutes):
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_weights(out, tensors_of(run.average), card)
                saved = time.monotonic()
            if on_progress is not None:
                on_progress(progress)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(f"Out of memory on {run.device.type}; train on the CPU.") from error
    save_weights(out, tensors_of(run.average), card)
    held = list(held_out)
    if held:
        detector = YoloRoiDetector.from_weights(out, device=device)
        card = card.model_copy(update={"metrics": dict(roi_metrics(detector, held))})
        save_weights(out, tensors_of(run.average), card)
    return card


def _class_id(label: str, classes: Sequence[str]) -> int:
    if label not in classes:
        raise ModelError(f"A sample is labelled {label!r}; expected {', '.join(classes)}.")
    return list(classes).index(label)


def start_from(network: nn.Module, start: Path, classes: Sequence[str]) -> None:
    """Load the start of a training into a network; see `train_roi`.

    Raises
    ------
    WeightsError
        If the file does not fit the network or the classes.
    """
    if start.suffix == ".weights":
        tensors = read_darknet(start)
        state = network.state_dict()
        misfit = [k for k, v in tensors.items() if k not in state or state[k].shape != v.shape]
        if misfit:
            raise WeightsError(
                f"{start.name} fits {DEFAULT_ARCHITECTURE} only; start another architecture from "
                "its own safetensors."
            )
        arrays = {name: torch.from_numpy(v.copy()) for name, v in tensors.items()}
        network.load_state_dict(arrays, strict=False)
        return
    tensors, card = load_weights(start)
    if card.kind != "roi" or card.classes != list(classes):
        raise WeightsError(
            f"{start.name} holds a {card.kind} model of {', '.join(card.classes)}; expected an roi "
            f"model of {', '.join(classes)}."
        )
    restore_state(network, tensors, start.name)


def tensors_of(network: nn.Module) -> dict[str, npt.NDArray[Any]]:
    """Return a network's arrays for saving: kernels as float16, all else as float32."""
    tensors = {}
    for name, value in network.state_dict().items():
        if name.endswith("_tracked"):
            continue
        array = value.detach().float().cpu().contiguous().numpy()
        tensors[name] = array.astype(np.float16) if array.ndim > 1 else array
    return tensors


class _Run:
    """A network in training, its optimiser and its moving average."""

    def __init__(
        self,
        network: nn.Module,
        stages: Sequence[Stage],
        device: torch.device,
        rng: np.random.Generator,
    ) -> None:
        self.network: Any = network.to(device)
        self.network.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.stages = stages
        self.device = device
        self.rng = rng
        self.optimiser = torch.optim.AdamW(_groups(network), lr=0.0)

    def steps(
        self, examples: Sequence[Example], epochs: float | None, minutes: float | None
    ) -> Iterable[RoiProgress]:
        """Train, and tell after every step."""
        total = math.ceil((epochs or 0) * len(examples) / BATCH)
        odds = _odds(examples)
        began = time.monotonic()
        step, stage = 0, None
        while True:
            seconds = time.monotonic() - began
            share = step / total if minutes is None else seconds / (60 * minutes)
            if share >= 1:
                return
            now, rate = self._schedule(share)
            if now is not stage:
                self._freeze(now.frozen)
                stage = now
            size = int(self.rng.choice(now.sizes))
            loss = self._step(self._batch(examples, odds, size), rate)
            step += 1
            self._follow(step)
            yield RoiProgress(step, share, loss, size, time.monotonic() - began)

    def _schedule(self, share: float) -> tuple[Stage, float]:
        """Return stage and learning rate at a share of the budget."""
        begin = 0.0
        for stage in self.stages:
            inside = (share - begin) / stage.share
            if inside < 1 or stage is self.stages[-1]:
                break
            begin += stage.share
        first, last = stage.rates
        return stage, last + (first - last) * (1 + math.cos(math.pi * min(inside, 1))) / 2

    def _freeze(self, count: int) -> None:
        self.network.train()
        for index, layer in enumerate(self.network.model):
            layer.requires_grad_(index >= count)
            if index < count:
                layer.eval()
        for name, parameter in self.network.named_parameters():
            if ".dfl" in name:  # the fixed integral of the distance distribution
                parameter.requires_grad_(False)

    def _batch(
        self, examples: Sequence[Example], odds: npt.NDArray[np.float64], size: int
    ) -> dict[str, torch.Tensor]:
        pictures, indices, classes, boxes = [], [], [], []
        for place, chosen in enumerate(self.rng.choice(len(examples), BATCH, p=odds)):
            example = examples[chosen]
            if self.rng.random() < EMPTY_SHARE:
                picture, found = empty_scene(size, self.rng), np.zeros((0, 4), np.float32)
            else:
                picture, found = augment(example, size, self.rng)
            pictures.append(picture)
            boxes.append(found)
            indices += [place] * len(found)
            classes += [example.class_id] * len(found)
        stacked = torch.stack(pictures)[:, None].expand(-1, 3, -1, -1)
        return {
            "img": stacked.contiguous(memory_format=torch.channels_last).to(self.device),
            "batch_idx": torch.tensor(indices, dtype=torch.float32),
            "cls": torch.tensor(classes, dtype=torch.float32)[:, None],
            "bboxes": torch.from_numpy(np.concatenate(boxes)),
        }

    def _step(self, batch: dict[str, torch.Tensor], rate: float) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=_has_bfloat16(self.device)):
            outputs = self.network(batch["img"])
        losses, _ = self.network.loss(batch, _as_float(outputs))
        loss = losses.sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimiser.step()
        return float(loss.detach()) / BATCH

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Let the average follow the weights: quickly at first, slowly later."""
        keep = 1 - 1 / min(_AVERAGE_OVER, 1 + step / 4)
        state = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(state[name].to(value.device), 1 - keep)


def _groups(network: nn.Module) -> list[dict[str, Any]]:
    """Return parameter groups: weight decay for kernels only."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": 5e-4}, {"params": others, "weight_decay": 0.0}]


def _odds(examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """Chance of every example: a kind counts with the root of its number, so that few real
    images are not drowned by many phantoms."""
    kinds = [example.kind for example in examples]
    weight = np.array([kinds.count(kind) ** -0.5 for kind in kinds])
    return np.asarray(weight / weight.sum())


def _has_bfloat16(device: torch.device) -> bool:
    """Tell whether the device multiplies bfloat16 in hardware (twice as fast in training)."""
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def _as_float(outputs: Any) -> Any:
    """Turn nested outputs to float32, in which the loss is computed."""
    if isinstance(outputs, dict):
        return {name: _as_float(value) for name, value in outputs.items()}
    if isinstance(outputs, list | tuple):
        return [_as_float(value) for value in outputs]
    return outputs.float() if isinstance(outputs, torch.Tensor) else outputs


def matched_ious(truth: Sequence[RoiBox], found: Sequence[RoiBox]) -> npt.NDArray[np.float64]:
    """Return for every true ROI the IoU with the found one that is matched to it, 0 if missed.

    Every found ROI is matched once at most; of all matchings the one with the largest sum counts.
    """
    ious = np.zeros(len(truth))
    if truth and found:
        overlap = pairwise_iou_2d(truth, found)
        rows, cols = linear_sum_assignment(overlap, maximize=True)
        ious[rows] = overlap[rows, cols]
    return ious


def roi_metrics(detector: RoiDetector, samples: Iterable[RoiSample]) -> dict[str, float]:
    """Return per kind ``roi_iou_<kind>`` (mean over true parts, missed = 0) and
    ``roi_extra_<kind>`` (ROIs per image beyond the number of true ones)."""
    ious: dict[str, list[float]] = {}
    extra: dict[str, list[int]] = {}
    for sample in samples:
        found = [p.roi for p in detector.detect(sample.image) if p.label == sample.label]
        truth = sample.rois
        ious.setdefault(sample.kind, []).extend(matched_ious(truth, found))
        extra.setdefault(sample.kind, []).append(max(0, len(found) - len(truth)))
    metrics = {f"roi_iou_{k}": round(float(np.mean(v)), 4) for k, v in ious.items()}
    return metrics | {f"roi_extra_{k}": round(float(np.mean(v)), 3) for k, v in extra.items()}
