"""One step of an ROI detector's training: varied pictures, YOLO's loss, moving average."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_graydet.models.device import autocast
from napari_graydet.models.learning.group import current
from napari_graydet.models.learning.loop import Check, Learner, Scores, Watch
from napari_graydet.models.roi.augmentation import Boxes, Example, Ints, augment, empty_scene
from napari_graydet.models.roi.detector import RoiSettings, YoloRoiDetector
from napari_graydet.models.roi.metrics import RoiSample, roi_scores

BATCH = 8
EMPTY_SHARE = 0.03
"""Share of pictures without any object, so that noise and blank films propose nothing."""

_AVERAGE_OVER = 400
"""Steps over which the moving average of the weights forgets."""


T = TypeVar("T")


@dataclass(frozen=True)
class Stage:
    """One stage of a training.

    Parameters
    ----------
    share
        Share of the whole budget.
    frozen
        Number of first layers that keep their weights; a negative one leaves so many last ones
        free, and "backbone" freezes the backbone.
    rates
        Learning rate at its start and at its end, a half cosine in between.
    sizes
        Picture sizes in pixels, multiples of 32; one is drawn per step.
    views
        If not 0, this many varied pictures are drawn beforehand for the whole stage, and what the
        frozen layers make of them is computed once: its steps cost next to nothing.
    """

    share: float
    frozen: int | Literal["backbone"]
    rates: tuple[float, float]
    sizes: tuple[int, ...]
    views: int = 0

    def frozen_layers(self, network: Any) -> int:
        """Return the number of first layers of an ultralytics network that are frozen."""
        if self.frozen == "backbone":
            return len(network.yaml["backbone"])
        return self.frozen if self.frozen >= 0 else len(network.model) + self.frozen


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of one size, ready for the network, with their boxes.

    Parameters
    ----------
    gray
        (N, size, size) float32 in 0..1.
    boxes, class_ids
        For each picture (n, 4) shares of the canvas and (n,) classes.
    """

    gray: Tensor
    boxes: list[Boxes]
    class_ids: list[Ints]


class RoiLearner(Learner):
    """A YOLO in training, its optimiser and its moving average.

    Parameters
    ----------
    network
        From `build_yolo`, with the weights to start from.
    stages
        One after the other.
    examples
        What to learn from.
    device
        Where.
    seed
        Of pictures and their variation.
    held_out
        Samples to score, and the labels by id and settings to do so with.
    check
        Called at every picture that is drawn; it stops by raising.
    """

    def __init__(
        self,
        network: nn.Module,
        stages: Sequence[Stage],
        examples: Sequence[Example],
        device: torch.device,
        seed: int,
        *,
        held_out: Sequence[RoiSample] = (),
        labels: Sequence[str] = (),
        settings: RoiSettings | None = None,
        check: Check = Watch.check,
    ) -> None:
        self._check = check
        self.batch = BATCH
        self.device, self.rng = device, np.random.default_rng(seed)
        self.network: Any = network.to(device)
        self.network.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(_groups(network), lr=0.0)
        self._stages, self._examples = stages, examples
        self._odds = _odds(examples)
        self._held_out, self._labels, self._settings = held_out, labels, settings
        self._seed = seed
        self._stage: Stage | None = None
        self._views: _FrozenViews | None = None

    @property
    def result(self) -> nn.Module:
        """The moving average."""
        return self.average

    def prepare(self, step: int, share: float) -> None:
        """Set the learning rate, and freeze what the stage freezes."""
        stage, rate = self._schedule(share)
        if stage is not self._stage:
            self._enter(stage)
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def loss(self) -> Tensor:
        """Return YOLO's detection loss on a batch, summed over its pictures."""
        assert self._stage is not None  # prepared
        views = self._views
        if views is not None:
            places = self.rng.choice(len(views), self.batch)
            with autocast(self.device):
                outputs = views.outputs(places)
            return self._loss_of(outputs, views.targets(places))
        size = int(self.rng.choice(self._stage.sizes))
        pictures = self._draw(size, self.batch, self.rng)
        images = _channels(pictures.gray).to(self.device)
        with autocast(self.device):
            outputs = self.network(images)
        return self._loss_of(outputs, targets(pictures, range(len(pictures.boxes))))

    def before_update(self) -> None:
        """Clip the gradient."""
        nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Let the average follow the weights: quickly at first, slowly later."""
        keep = 1 - 1 / min(_AVERAGE_OVER, 1 + step / 4)
        state = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(state[name].to(value.device), 1 - keep)

    def validate(self) -> Scores:
        """Score the moving average on the held-out samples."""
        detector = YoloRoiDetector(
            copy.deepcopy(self.average),
            self._labels,
            name="in training",
            settings=self._settings,
            device=self.device.type,
        )
        return roi_scores(detector, self._held_out)

    def _schedule(self, share: float) -> tuple[Stage, float]:
        """Return stage and learning rate at a share of the budget."""
        begin = 0.0
        for stage in self._stages:
            inside = (share - begin) / stage.share
            if inside < 1 or stage is self._stages[-1]:
                break
            begin += stage.share
        first, last = stage.rates
        return stage, last + (first - last) * (1 + math.cos(math.pi * min(inside, 1))) / 2

    def _enter(self, stage: Stage) -> None:
        frozen = stage.frozen_layers(self.network)
        self._freeze(frozen)
        self._views = None
        if stage.views:
            # A generator of their own: a training that goes on later draws the same ones.
            rng = np.random.default_rng([self._seed, stage.views])
            pictures = self._draw(stage.sizes[0], stage.views, rng)
            chunks = torch.split(pictures.gray, self.batch)
            self._views = _FrozenViews(
                self.network, frozen, pictures, self._checked(chunks), self.device
            )
        self._stage = stage  # not before: who was stopped or out of memory there does it again

    def _checked(self, items: Iterable[T]) -> Iterator[T]:
        """Give items one by one until somebody asks to stop."""
        for item in items:
            self._check()
            yield item

    def _freeze(self, count: int) -> None:
        self.network.train()
        for index, layer in enumerate(self.network.model):
            layer.requires_grad_(index >= count)
            if index < count:
                layer.eval()
        for name, parameter in self.network.named_parameters():
            if ".dfl" in name:  # the fixed integral of the distance distribution
                parameter.requires_grad_(False)

    def _draw(self, size: int, count: int, rng: np.random.Generator) -> Pictures:
        """Draw and vary pictures."""
        grays, boxes, class_ids = [], [], []
        for chosen in self._checked(rng.choice(len(self._examples), count, p=self._odds)):
            if rng.random() < EMPTY_SHARE:
                gray = empty_scene(size, rng)
                found, ids = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
            else:
                gray, found, ids = augment(self._examples[chosen], size, rng)
            grays.append(gray)
            boxes.append(found)
            class_ids.append(ids)
        return Pictures(torch.stack(grays), boxes, class_ids)

    def _loss_of(self, outputs: Any, wanted: dict[str, Tensor]) -> Tensor:
        losses, _ = self.network.loss(wanted, _as_float(outputs))
        loss: Tensor = losses.sum() * current().size  # a sum over pictures, not their mean
        return loss

    def shown(self, loss: float) -> float:
        """Return the loss per picture."""
        return loss / self.batch / current().size


class _FrozenViews:
    """Varied pictures, and what the frozen layers make of them."""

    def __init__(
        self,
        network: Any,
        frozen: int,
        pictures: Pictures,
        chunks: Iterable[Tensor],
        device: torch.device,
    ) -> None:
        self._network, self._frozen, self._pictures = network, frozen, pictures
        self._device = device
        wanted = {frozen - 1, *(index for index in network.save if index < frozen)}
        kept: dict[int, list[Tensor]] = {index: [] for index in sorted(wanted)}
        with torch.no_grad():
            for gray in chunks:
                made = run_layers(network, _channels(gray).to(device), 0, frozen, {})
                for index, parts in kept.items():
                    parts.append(made[index].cpu())
        self._kept = {index: torch.cat(parts) for index, parts in kept.items()}

    def __len__(self) -> int:
        return len(self._pictures.boxes)

    def outputs(self, places: npt.NDArray[np.int64]) -> Any:
        """Return what the whole network makes of some pictures."""
        at = torch.from_numpy(places)
        layout = torch.channels_last
        made = {
            index: value[at].to(self._device, memory_format=layout)
            for index, value in self._kept.items()
        }
        layers = len(self._network.model)
        return run_layers(self._network, made[self._frozen - 1], self._frozen, layers, made)[
            layers - 1
        ]

    def targets(self, places: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        """Return their boxes as the loss wants them."""
        return targets(self._pictures, places.tolist())


def run_layers(network: Any, x: Any, first: int, stop: int, made: dict[int, Any]) -> dict[int, Any]:
    """Run layers `first` to `stop` of an ultralytics network, as its own forward does.

    Parameters
    ----------
    x
        What layer `first` - 1 made; the pictures for `first` 0.
    made
        What earlier layers made, by index, as far as later ones ask for it.

    Returns
    -------
    dict
        `made`, with the layers that were run.
    """
    made = dict(made)
    for index in range(first, stop):
        layer = network.model[index]
        if layer.f != -1:
            sources = [layer.f] if isinstance(layer.f, int) else layer.f
            inputs = [x if source == -1 else made[source % index] for source in sources]
            x = inputs[0] if isinstance(layer.f, int) else inputs
        x = layer(x)
        made[index] = x
    return made


def targets(pictures: Pictures, places: Sequence[int]) -> dict[str, Tensor]:
    """Return the boxes of some pictures as ultralytics' loss wants them."""
    boxes = [pictures.boxes[place] for place in places]
    class_ids = [pictures.class_ids[place] for place in places]
    owners = np.repeat(np.arange(len(boxes)), [len(found) for found in boxes])
    return {
        "batch_idx": torch.from_numpy(owners).float(),
        "cls": torch.from_numpy(np.concatenate(class_ids)).float()[:, None],
        "bboxes": torch.from_numpy(np.concatenate(boxes)),
    }


def _channels(gray: Tensor) -> Tensor:
    """Return (N, H, W) gray as (N, 3, H, W) in the order of memory that convolutions like."""
    stacked = gray[:, None].expand(-1, 3, -1, -1)
    return stacked.contiguous(memory_format=torch.channels_last)


def _groups(network: nn.Module) -> list[dict[str, Any]]:
    """Return parameter groups: weight decay for kernels only."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": 5e-4}, {"params": others, "weight_decay": 0.0}]


def _odds(examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """Chance of every example, so that what is rare is not drowned by what is frequent.

    A kind counts with the root of its number (few real images, many phantoms), and within a kind
    an example the more, by the same root, the rarer its rarest class is there.
    """
    classes = [{int(class_id) for class_id in example.class_ids} for example in examples]
    kinds = np.array([example.kind for example in examples])
    weights = np.zeros(len(examples))
    for kind in set(kinds):
        places = np.flatnonzero(kinds == kind)
        with_class = Counter(class_id for place in places for class_id in classes[place])
        rarest = [min((with_class[c] for c in classes[p]), default=len(places)) for p in places]
        rarity = np.array(rarest) ** -0.5
        weights[places] = rarity / rarity.sum() * len(places) ** 0.5
    return np.asarray(weights / weights.sum())


def _as_float(outputs: Any) -> Any:
    """Turn nested outputs to float32, in which the loss is computed."""
    if isinstance(outputs, dict):
        return {name: _as_float(value) for name, value in outputs.items()}
    if isinstance(outputs, list | tuple):
        return [_as_float(value) for value in outputs]
    return outputs.float() if isinstance(outputs, torch.Tensor) else outputs
