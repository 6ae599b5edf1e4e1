"""Training of refiners: step by step, seeded, able to stop at any moment and to go on later.

Loss: binary cross entropy plus soft Dice (Milletari et al., "V-Net", 3DV 2016) over the pixels of
the image; AdamW on one cycle; what is kept is the moving average of the weights.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_graydet.errors import ModelError
from napari_graydet.models.box_detector import BoxModel
from napari_graydet.models.device import choose_device, has_bfloat16
from napari_graydet.models.point_head import PointHead
from napari_graydet.models.refiner_model import Kind, RefinerModel, build, check_frame
from napari_graydet.models.refiner_patch import Frame
from napari_graydet.models.refiner_samples import (
    Augmentation,
    Deck,
    RefinerSample,
    draw,
)

Arrays = dict[str, npt.NDArray[Any]]


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
    frozen_trunk
        Whether point features that were taken over from a box detector or a start stay as they
        are: a training step takes half the time.
    """

    steps: int = 600
    batch: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    frame: Frame = field(default_factory=Frame)
    augmentation: Augmentation = field(default_factory=Augmentation)
    sizes: Mapping[Kind, Mapping[str, Any]] = field(default_factory=dict)
    frozen_trunk: bool = True


_WARM_UP = 0.1
_AVERAGE_OVER = 100
"""Steps over which the moving average of the weights forgets at most; a tenth of the steps."""


class RefinerRun:
    """One network in training: `step` until done, `model` at any moment.

    `arrays` and `restore` carry all of its state, so that a run that goes on from them takes the
    same steps as one that was never stopped.

    Parameters
    ----------
    samples
        Parts to learn from.
    classes
        Class names by id.
    kind
        Which network.
    seed
        Of initialisation, order and disturbances.
    training
        Settings.
    start
        Model whose network of this kind is trained on; its classes may be others.
    trunk
        Box detector whose point features the point head starts from.
    device
        See `choose_device`.

    Raises
    ------
    ModelError
        If there is nothing to learn from, or patches do not fit the network.
    """

    def __init__(
        self,
        samples: Sequence[RefinerSample],
        classes: Sequence[str],
        kind: Kind,
        *,
        seed: int,
        training: RefinerTraining,
        start: RefinerModel | None = None,
        trunk: BoxModel | None = None,
        device: str = "auto",
    ) -> None:
        self.kind, self.classes, self.training = kind, tuple(classes), training
        self._deck = Deck(samples)
        self._rng = np.random.default_rng(seed)
        self._device = choose_device(device)
        torch.manual_seed(seed)
        network = _network(kind, self.classes, training, start, trunk)
        check_frame(training.frame, network)
        self._network: Any = network.to(self._device).train()
        self._network.to(memory_format=torch.channels_last)
        if isinstance(network, PointHead) and training.frozen_trunk and (start or trunk):
            network.freeze_trunk()
        self._average = copy.deepcopy(self._network).eval().requires_grad_(False)
        self._optimiser = torch.optim.AdamW(_groups(network, training.weight_decay), lr=0.0)
        self.done = 0

    def step(self, share: float | None = None) -> float:
        """Take one step and return its loss.

        Parameters
        ----------
        share
            How much of the budget is used up, 0..1; None counts steps.

        Raises
        ------
        ModelError
            If the loss is not finite; `model` still gives the average of the steps before.
        """
        if share is None:
            share = self.done / self.training.steps
        for group in self._optimiser.param_groups:
            group["lr"] = self.training.learning_rate * one_cycle(share)
        patches, class_ids, target = self._batch()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=has_bfloat16(self._device)):
            logits, wanted = self._network.learn(patches, class_ids, target)
        loss = loss_of(logits.float(), wanted)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                f"The training of the refiner diverged at step {self.done + 1} (loss {value}); "
                "train with a smaller learning rate."
            )
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimiser.step()
        self.done += 1
        self._follow()
        return value

    def model(self) -> RefinerModel:
        """Return the moving average as a model of its own."""
        network = copy.deepcopy(self._average).float().cpu().eval()
        return RefinerModel({self.kind: network}, self.training.frame, self.classes)

    def arrays(self) -> Arrays:
        """Return the whole state as arrays by name: networks, optimiser, step, generator."""
        state: Arrays = {"done": np.array(self.done)}
        rng = json.dumps(self._rng.bit_generator.state).encode()
        state["rng"] = np.frombuffer(rng, dtype=np.uint8).copy()
        for prefix, network in (("network", self._network), ("average", self._average)):
            for name, value in network.state_dict().items():
                state[f"{prefix}.{name}"] = value.detach().cpu().numpy().copy()
        for index, moments in self._optimiser.state_dict()["state"].items():
            for name, value in moments.items():
                state[f"optimiser.{index}.{name}"] = value.detach().cpu().numpy().copy()
        return state

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go back to a state that `arrays` returned, of a run made with the same arguments.

        Raises
        ------
        ModelError
            If it does not fit.
        """
        try:
            self.done = int(state["done"])
            self._rng.bit_generator.state = json.loads(state["rng"].tobytes())
            for prefix, network in (("network", self._network), ("average", self._average)):
                network.load_state_dict(_part(state, prefix))
            moments: dict[int, dict[str, Tensor]] = {}
            for name, value in _part(state, "optimiser").items():
                index, moment = name.split(".")
                moments.setdefault(int(index), {})[moment] = value
            groups = self._optimiser.state_dict()["param_groups"]
            self._optimiser.load_state_dict({"state": moments, "param_groups": groups})
        except (KeyError, ValueError, RuntimeError) as cause:
            raise ModelError(
                f"The checkpoint does not fit this training ({str(cause).splitlines()[0]}); "
                "start it anew."
            ) from cause

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        frame, augmentation = self.training.frame, self.training.augmentation
        chosen = self._deck.draw(self.training.batch, self._rng)
        drawn = [draw(sample, frame, augmentation, self._rng) for sample in chosen]
        patches = torch.from_numpy(np.stack([d.channels for d in drawn]))
        target = torch.from_numpy(np.stack([d.target for d in drawn]))
        class_ids = torch.tensor([d.class_id for d in drawn])
        return (
            patches.to(self._device, memory_format=torch.channels_last),
            class_ids.to(self._device),
            target.to(self._device),
        )

    @torch.no_grad()
    def _follow(self) -> None:
        """Let the average follow the weights: quickly at first, slowly later."""
        keep = 1 - 1 / min(_AVERAGE_OVER, 1 + self.done / 4)
        state = self._network.state_dict()
        for name, value in self._average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(state[name], 1 - keep)
            else:
                value.copy_(state[name])


def _part(state: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, Tensor]:
    dot = f"{prefix}."
    return {
        name.removeprefix(dot): torch.from_numpy(np.array(value))
        for name, value in state.items()
        if name.startswith(dot)
    }


def _network(
    kind: Kind,
    classes: tuple[str, ...],
    training: RefinerTraining,
    start: RefinerModel | None,
    trunk: BoxModel | None,
) -> nn.Module:
    if start is not None:
        return continued(start, kind, classes)
    sizes = dict(training.sizes.get(kind, {}))
    if trunk is not None and kind == "points":
        config = trunk.network.config
        sizes |= {"global_width": config.global_width, "tnet_width": config.tnet_width}
    network = build(kind, len(classes), sizes)
    if trunk is not None and isinstance(network, PointHead):
        network.take_trunk(trunk.network)
    return network


def continued(start: RefinerModel, kind: Kind, classes: Sequence[str]) -> nn.Module:
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
    """Return parameter groups: weight decay for kernels only."""
    learning = [p for p in network.parameters() if p.requires_grad]
    kernels = [p for p in learning if p.ndim > 1]
    others = [p for p in learning if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def one_cycle(share: float) -> float:
    """Return the learning rate at a share of the budget, as a share of its peak.

    Source: Smith and Topin, "Super-convergence", 2018: up, then down along a cosine.
    """
    if share < _WARM_UP:
        return 0.04 + 0.96 * share / _WARM_UP
    down = min((share - _WARM_UP) / (1 - _WARM_UP), 1.0)
    return max(1e-3, (1 + math.cos(math.pi * down)) / 2)


def loss_of(logits: Tensor, target: Tensor) -> Tensor:
    """Return cross entropy + soft Dice, (B, H, W) logits and shares 0..1 -> scalar."""
    entropy = functional.binary_cross_entropy_with_logits(logits, target)
    found = logits.sigmoid().flatten(1)
    wanted = target.flatten(1)
    overlap = 2 * (found * wanted).sum(dim=1) + 1
    dice = overlap / (found.sum(dim=1) + wanted.sum(dim=1) + 1)
    return entropy + (1 - dice).mean()
