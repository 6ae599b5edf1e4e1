"""Training and use of the whole-image baselines (networks.py): one loop for all of them.

They get what the program's own networks get: the same images, tone curves and noise
(`boxes.samples.disturb_gray`), mirror images, small turns and scales; soft Dice and cross entropy;
AdamW on one cycle; bfloat16 where the machine has it. Budgets are iterations or minutes. The loop
around a step is that of learning/loop.py: checkpoints, smaller batches when memory runs out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.errors import ModelError
from napari_graydet.models.baselines.networks import DIVISOR, build_baseline, parameters_of
from napari_graydet.models.boxes.samples import Disturbance, disturb_gray
from napari_graydet.models.device import autocast, choose_device
from napari_graydet.models.learning.loop import Budget, Learner, Watch, fit
from napari_graydet.models.learning.losses import dice_by_class
from napari_graydet.models.learning.schedules import cosine_cycle

Mask = npt.NDArray[np.bool_]


class MaskedImage(Protocol):
    """What training needs to know about one label of an image."""

    @property
    def image(self) -> GrayImage:
        """The image."""
        ...

    @property
    def label(self) -> str:
        """Class of the mask."""
        ...

    @property
    def mask(self) -> Mask:
        """The true (H, W) mask."""
        ...


@dataclass(frozen=True)
class BaselineTraining:
    """How a baseline is trained.

    Parameters
    ----------
    iterations, minutes
        Budget; exactly one of the two.
    size
        Side of the square that every image is fitted into, pixels.
    batch
        Images a step.
    learning_rate
        Peak of the one-cycle schedule.
    weight_decay
        Of AdamW.
    turn, scale, shift
        Largest turn in degrees, largest change of scale as a factor, largest shift as a share of
        the image.
    gray
        Tone curves and noise; the same as the program's own networks get.
    """

    iterations: int | None = None
    minutes: float | None = None
    size: int = 256
    batch: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    turn: float = 12.0
    scale: float = 1.2
    shift: float = 0.06
    gray: Disturbance = field(default_factory=Disturbance)

    def __post_init__(self) -> None:
        if (self.iterations is None) == (self.minutes is None):
            raise ModelError("A baseline's training needs a budget: either iterations or minutes.")
        if (self.iterations or self.minutes or 0) <= 0:
            raise ModelError("A baseline's training needs a budget of more than nothing.")
        if self.size < 2 * DIVISOR or self.size % DIVISOR:  # instance norm needs two pixels
            raise ModelError(
                f"A baseline's size is a multiple of {DIVISOR} from {2 * DIVISOR} on, got "
                f"{self.size}."
            )


# --- Whole images as squares ------------------------------------------------------------------


def fit_square(layers: Tensor, size: int) -> Tensor:
    """Scale (C, H, W) layers so that the longer side is `size`, and pad at the right and bottom.

    Returns
    -------
    (C, size, size) float32
        Averaged where it gets smaller; 0 outside the image.
    """
    height, width = layers.shape[1:]
    new = _fitted((height, width), size)
    scaled = functional.interpolate(layers[None], new, mode="bilinear", antialias=True)[0]
    return functional.pad(scaled, (0, size - new[1], 0, size - new[0]))


def _fitted(shape: tuple[int, int], size: int) -> tuple[int, int]:
    scale = size / max(shape)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as a baseline learns from it.

    Parameters
    ----------
    gray
        (S, S) float32 unit gray.
    masks
        (K, S, S) float32, share of each class, 0..1.
    valid
        (S, S) float32, 1 inside the image.
    """

    gray: Tensor
    masks: Tensor
    valid: Tensor

    @classmethod
    def of(cls, samples: Sequence[MaskedImage], classes: Sequence[str], size: int) -> Picture:
        """Fit an image with the masks of its labels into a square; a label not given is empty."""
        image = samples[0].image
        layers = np.zeros((len(classes) + 2, *image.shape), dtype=np.float32)
        layers[0], layers[1] = image.unit(), 1
        for sample in samples:
            if sample.label not in classes:
                raise ModelError(
                    f"A sample is labelled {sample.label!r}; expected {', '.join(classes)}."
                )
            layers[2 + list(classes).index(sample.label)] = sample.mask
        fitted = fit_square(torch.from_numpy(layers), size)
        return cls(fitted[0], fitted[2:], fitted[1])


def augment(
    picture: Picture, training: BaselineTraining, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return a varied (1, S, S) picture and its (K, S, S) masks."""
    layers = torch.cat([picture.gray[None], picture.valid[None], picture.masks])
    turned = functional.grid_sample(
        layers[None], _grid(training, rng), padding_mode="zeros", align_corners=False
    )[0]
    gray = disturb_gray(turned[0].numpy(), training.gray, rng)
    return torch.from_numpy(gray)[None] * turned[1:2], turned[2:]


def _grid(training: BaselineTraining, rng: np.random.Generator) -> Tensor:
    """Return the (1, S, S, 2) places that a mirrored, turned, scaled, shifted picture reads."""
    angle = math.radians(rng.uniform(-training.turn, training.turn))
    zoom = math.exp(rng.uniform(-1, 1) * math.log(training.scale))
    cos, sin = math.cos(angle) * zoom, math.sin(angle) * zoom
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    dx, dy = rng.uniform(-1, 1, 2) * 2 * training.shift
    affine = torch.tensor(
        [[[cos * mirror, -sin, dx], [sin * mirror, cos, dy]]], dtype=torch.float32
    )
    return functional.affine_grid(affine, [1, 1, training.size, training.size], align_corners=False)


# --- Training ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Baseline:
    """A trained baseline.

    Parameters
    ----------
    name
        One of `networks.BASELINES`.
    network
        In evaluation mode, on `device`.
    classes
        Class of each channel.
    size
        Side of the square that images are fitted into.
    device
        Where it computes.
    steps
        Optimiser steps that it was trained for.
    earlier_seconds
        What its training took before it was interrupted and gone on with.
    notes
        What to know when it is compared with others.
    """

    name: str
    network: nn.Module
    classes: tuple[str, ...]
    size: int
    device: torch.device
    steps: int
    earlier_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return parameters_of(self.network)

    def probability(self, image: GrayImage) -> npt.NDArray[np.float32]:
        """Return the (K, H, W) probability of each class at the image's own resolution."""
        square = fit_square(torch.from_numpy(image.unit())[None], self.size)[None]
        with torch.inference_mode():
            logits = self.network(square.to(self.device)).float().cpu()
        height, width = _fitted(image.shape, self.size)
        scaled = functional.interpolate(
            logits[:, :, :height, :width].sigmoid(), image.shape, mode="bilinear"
        )
        return np.asarray(scaled[0].numpy(), dtype=np.float32)

    def segment(self, image: GrayImage) -> dict[str, Mask]:
        """Return the (H, W) mask of every class."""
        masks = self.probability(image) >= 0.5
        return dict(zip(self.classes, masks, strict=True))


def train_baseline(
    name: str,
    images: Sequence[Sequence[MaskedImage]],
    classes: Sequence[str],
    *,
    seed: int,
    training: BaselineTraining,
    device: str = "auto",
    watch: Watch | None = None,
) -> Baseline:
    """Train a baseline on whole images; with iterations the same seed gives the same weights.

    That holds on the CPU, and also where a training was stopped and gone on with.

    Parameters
    ----------
    name
        One of `networks.BASELINES`.
    images
        For each image its samples, one a label.
    classes
        Class names, a channel each.
    seed
        Of initialisation, order and augmentation.
    training
        Budget and settings.
    device
        See `choose_device`.
    watch
        Told of the progress; stops the training by raising `CancelledError`. Its checkpoints must
        be of this very training: name, images, classes, seed, settings.

    Raises
    ------
    CancelledError
        From the watcher.
    ModelError
        If there is nothing to train on, the name is unknown, MONAI is missing, memory runs out
        even with single images, or the loss is no number any more.
    WeightsError
        If a checkpoint cannot be written, or is of another network.
    """
    if not images:
        raise ModelError("There is nothing to train a baseline on: no image was given.")
    where = choose_device(device)
    torch.manual_seed(seed)
    network = build_baseline(name, len(classes)).to(where).train()
    pictures = [Picture.of(samples, classes, training.size) for samples in images]
    learner = BaselineLearner(network, pictures, training, where, seed)
    fit(learner, Budget(training.iterations, training.minutes), watch)
    return Baseline(
        name,
        network.eval(),
        tuple(classes),
        training.size,
        where,
        learner.steps,
        learner.earlier_seconds,
        learner.notes,
    )


class BaselineLearner(Learner):
    """A baseline in training: every picture once before any comes again.

    Parameters
    ----------
    network
        With the weights to start from, in training mode, on `device`.
    pictures, training
        What to learn from, and how.
    device
        Where.
    seed
        Of order and augmentation.

    Attributes
    ----------
    steps, earlier_seconds, notes
        As in `Baseline`.
    """

    def __init__(
        self,
        network: nn.Module,
        pictures: Sequence[Picture],
        training: BaselineTraining,
        device: torch.device,
        seed: int,
    ) -> None:
        self.network = network
        self.optimiser = torch.optim.AdamW(network.parameters(), weight_decay=training.weight_decay)
        self.batch, self.rng = training.batch, np.random.default_rng(seed)
        self.steps, self.earlier_seconds = 0, 0.0
        self._pictures, self._training, self._device = pictures, training, device
        self._order: list[int] = []

    def prepare(self, step: int, share: float) -> None:
        """Set the learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._training.learning_rate * cosine_cycle(share)

    def loss(self) -> Tensor:
        """Draw a batch and return its loss."""
        while len(self._order) < self.batch:
            self._order += self.rng.permutation(len(self._pictures)).tolist()
        chosen, self._order = self._order[: self.batch], self._order[self.batch :]
        drawn = [augment(self._pictures[i], self._training, self.rng) for i in chosen]
        pictures, masks = (torch.stack(part).to(self._device) for part in zip(*drawn, strict=True))
        with autocast(self._device):
            logits = self.network(pictures)
        return dice_by_class(logits.float(), masks)

    @property
    def notes(self) -> tuple[str, ...]:
        """Whether it saw fewer images than it was to see."""
        wanted = self._training.batch
        if self.batch == wanted:
            return ()
        return (f"memory ran out: batches of {self.batch} in the end instead of {wanted}",)

    def after_step(self, step: int) -> None:
        """Count."""
        self.steps = step

    def memory(self) -> dict[str, Any]:
        """Return the pictures that are still to come in this round."""
        return {"order": self._order}

    def recall(self, memory: Mapping[str, Any], step: int, seconds: float) -> None:
        """Go on in the middle of a round."""
        self._order = [int(place) for place in memory["order"]]
        self.steps, self.earlier_seconds = step, seconds
