"""How a refiner learns, step by step; the loop around it is that of learning/loop.py.

Loss: binary cross entropy plus soft Dice over the pixels of the image; AdamW on one cycle; what is
kept is the moving average of the weights, and a share of those that it started from (Wortsman et
al., "Robust fine-tuning of zero-shot models", CVPR 2022; docs/decisions/0014).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_graydet.errors import ModelError
from napari_graydet.models.boxes.detector import BoxModel
from napari_graydet.models.device import autocast, choose_device
from napari_graydet.models.learning.loop import Learner, Scores
from napari_graydet.models.learning.losses import dice_by_image
from napari_graydet.models.learning.schedules import linear_cycle
from napari_graydet.models.refiner.choice import HeldOut, compare_refiners
from napari_graydet.models.refiner.model import SCENE, RefinerKind, RefinerModel, build, check_frame
from napari_graydet.models.refiner.patch import Frame
from napari_graydet.models.refiner.point_head import PointHead
from napari_graydet.models.refiner.samples import (
    Augmentation,
    Deck,
    RefinerSample,
    draw,
)
from napari_graydet.models.refiner.yolo_unet import YoloUNet


@dataclass(frozen=True)
class RefinerTraining:
    """How a refiner is trained.

    Parameters
    ----------
    steps, batch
        Optimiser steps, patches a step.
    learning_rate
        Peak of the one-cycle schedule.
    weight_decay
        Of all kernels.
    frame
        The grid of the patches.
    augmentation
        How patches are disturbed.
    sizes
        Sizes of the network by kind, where they are not the default.
    backbone
        Tensors of a YOLOv3-tiny that new U-Nets start from, whose encoder is its backbone; None
        for random ones.
    frozen_trunk
        Whether point features that were taken over from a box detector or a start stay as they
        are: a training step takes half the time.
    start_counts
        How many images a start counts for: of its weights as large a share is kept, so that what
        it knew of other images is not lost on the few that are at hand. A mean of two weights
        serves as long as one was trained on from the other.
    validations, patience
        How often held-out images are scored, and how often in vain before the rest is saved.
    """

    steps: int = 600
    batch: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    frame: Frame = field(default_factory=Frame)
    augmentation: Augmentation = field(default_factory=Augmentation)
    sizes: Mapping[RefinerKind, Mapping[str, Any]] = field(default_factory=dict)
    backbone: Mapping[str, npt.NDArray[Any]] | None = None
    frozen_trunk: bool = True
    start_counts: float = 4.0
    validations: int = 5
    patience: int | None = None


OF_BACKBONE = 0.1
"""Learning rate of a backbone, which knows much already, as a share of that of the rest."""

_AVERAGE_OVER = 100
"""Steps over which the moving average of the weights forgets at most; a tenth of the steps."""


class RefinerLearner(Learner):
    """One network in training; what is kept is the moving average of its weights, and of its start.

    Parameters
    ----------
    network
        With the weights to start from.
    kind, classes
        Which network, and class names by id.
    samples
        Parts to learn from.
    training
        Settings.
    seed
        Of order and disturbances.
    of_start
        Share of the weights to start from in those that are kept.
    held_out
        Images on which `validate` scores.
    device
        See `choose_device`.

    Raises
    ------
    ModelError
        If there is nothing to learn from, or patches do not fit the network.
    """

    least_batch = 2  # batch norm inside the T-Nets sees one row per cloud

    def __init__(
        self,
        network: nn.Module,
        kind: RefinerKind,
        classes: Sequence[str],
        samples: Sequence[RefinerSample],
        training: RefinerTraining,
        seed: int,
        *,
        of_start: float = 0.0,
        held_out: Sequence[HeldOut] = (),
        device: str = "auto",
    ) -> None:
        self._frame = training.frame.scene if kind == SCENE else training.frame
        check_frame(self._frame, network)
        self._deck, self._training = Deck(samples), training
        self._augmentation = training.augmentation
        if isinstance(network, YoloUNet):  # it is to say what the boxes do not
            self._augmentation = replace(training.augmentation, no_box=1.0)
        self.kind, self.classes = kind, tuple(classes)
        self.batch, self.rng = training.batch, np.random.default_rng(seed)
        self._held_out = held_out
        self._device = choose_device(device)
        self.network: Any = network.to(self._device)
        self.network.to(memory_format=torch.channels_last)
        self._average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self._start, self._of_start = copy.deepcopy(self._average.state_dict()), of_start
        self.optimiser = torch.optim.AdamW(_groups(network, training.weight_decay), lr=0.0)

    @property
    def result(self) -> nn.Module:
        """The moving average."""
        return self._average

    def prepare(self, step: int, share: float) -> None:
        """Set the learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._training.learning_rate * linear_cycle(share) * group["share"]

    def loss(self) -> Tensor:
        """Draw a batch and return its loss."""
        drawn = [
            draw(sample, self._frame, self._augmentation, self.rng)
            for sample in self._deck.draw(self.batch, self.rng)
        ]
        patches = torch.from_numpy(np.stack([d.channels for d in drawn])).to(
            self._device, memory_format=torch.channels_last
        )
        class_ids = torch.tensor([d.class_id for d in drawn], device=self._device)
        target = torch.from_numpy(np.stack([d.target for d in drawn])).to(self._device)
        with autocast(self._device):
            logits, wanted = self.network.learn(patches, class_ids, target)
        return dice_by_image(logits.float(), wanted)

    def before_update(self) -> None:
        """Clip gradients."""
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Let the average follow the weights: quickly at first, slowly later."""
        _approach(self._average, self.network.state_dict(), 1 / min(_AVERAGE_OVER, 1 + step / 4))

    def validate(self) -> Scores:
        """Return the mean DSC of held-out images."""
        return {"DSC": compare_refiners([self.model()], self._held_out)[self.kind]}

    @torch.no_grad()
    def model(self) -> RefinerModel:
        """Return the moving average, with its share of the start, as a model of its own."""
        network = copy.deepcopy(self._average)
        if self._of_start:
            _approach(network, self._start, self._of_start)
        network = network.float().cpu().eval()
        return RefinerModel({self.kind: network}, self._training.frame, self.classes)


def _approach(network: nn.Module, state: Mapping[str, Tensor], share: float) -> None:
    """Move a network's weights by a share of the way to others; what is counted is theirs."""
    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(state[name], share)
        else:
            value.copy_(state[name])


def new_network(
    kind: RefinerKind,
    classes: Sequence[str],
    training: RefinerTraining,
    start: RefinerModel | None,
    trunk: BoxModel | None,
) -> nn.Module:
    """Return the network to train: that of a start, or a new one, perhaps with a trunk.

    The point features of a start or a trunk are frozen if the settings say so.
    """
    if start is not None:
        network = continued(start, kind, classes)
    else:
        sizes = dict(training.sizes.get(kind, {}))
        if trunk is not None and kind == "points":
            config = trunk.network.config
            sizes |= {"global_width": config.global_width, "tnet_width": config.tnet_width}
        network = build(kind, len(classes), sizes)
        if trunk is not None and isinstance(network, PointHead):
            network.take_trunk(trunk.network)
        if training.backbone is not None and isinstance(network, YoloUNet):
            network.take_backbone(training.backbone)
    network.train()
    if isinstance(network, PointHead) and training.frozen_trunk and (start or trunk):
        network.freeze_trunk()
    return network


def continued(start: RefinerModel, kind: RefinerKind, classes: Sequence[str]) -> nn.Module:
    """Return a copy of a trained network for other classes.

    What it knows of a class by name it keeps; a new class starts as the mean of the known ones.

    Raises
    ------
    ModelError
        If the start has no network of this kind.
    """
    if kind not in start.networks:
        raise ModelError(
            f"Expected a start with a network of kind {kind!r}, got {', '.join(start.networks)}."
        )
    network: Any = copy.deepcopy(start.networks[kind]).cpu()
    known = network.classes.weight.detach()
    rows = [
        known[start.classes.index(name)] if name in start.classes else known.mean(dim=0)
        for name in classes
    ]
    network.classes = nn.Embedding(len(classes), known.shape[1], _weight=torch.stack(rows))
    network.config = type(network.config)(**{**vars(network.config), "n_classes": len(classes)})
    return network.requires_grad_(True)  # type: ignore[no-any-return]


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Return parameter groups: weight decay for kernels only, small steps for a backbone."""
    backbone = network.encoder.parameters() if isinstance(network, YoloUNet) else ()
    slow = {id(parameter) for parameter in backbone}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            key = (parameter.ndim > 1, id(parameter) in slow)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": decay if kernels else 0.0,
            "share": OF_BACKBONE if of_backbone else 1.0,
        }
        for (kernels, of_backbone), parameters in sorted(groups.items(), reverse=True)
    ]
