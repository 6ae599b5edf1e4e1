"""The loop that every training here runs in: budget, checkpoints, held-out scores, trouble.

What is trained says how a step is made (`Learner`); everything around it is the same for all:

- it stops within a batch when its watcher raises, and goes on from its checkpoint to the bit;
- held-out images are scored at equal distances, the best weights win, and when they have long been
  the best the rest is saved;
- out of memory halves the batch; a loss that is not finite stops the training and leaves the last
  good weights as a checkpoint.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from napari_graydet.errors import CancelledError, ModelError
from napari_graydet.models.device import is_out_of_memory
from napari_graydet.models.learning.checkpoints import (
    Checkpoints,
    Snapshot,
    arrays_of,
    arrays_of_optimiser,
    load_module,
    random_state,
    restore_optimiser,
    restore_random_state,
    tensors_in,
)
from napari_graydet.models.learning.group import Group, current

T = TypeVar("T")
Check = Callable[[], None]
"""Called in long computations; stops them by raising."""

Scores = dict[str, float]
"""Figures on held-out images by name; weights are chosen by the first one, more is better."""


@dataclass(frozen=True)
class Step:
    """Where a training stands: steps made, share of the budget, loss, seconds in all its lives."""

    step: int
    share: float
    loss: float
    seconds: float


def _ignore(*_: object) -> None:
    """Take anything and do nothing."""


@dataclass(frozen=True)
class Watch:
    """Who watches a training.

    Parameters
    ----------
    step
        Called after every step; stops the training by raising `CancelledError`.
    validated
        Called with step, share, scores, and whether they are the best so far.
    notice
        Told what the user should know.
    checkpoints
        Where they go; what is there is gone on from. None for none.
    check
        Called in long computations between steps; stops them by raising `CancelledError`.
    """

    step: Callable[[Step], None] = _ignore
    validated: Callable[[int, float, Scores, bool], None] = _ignore
    notice: Callable[[str], None] = _ignore
    checkpoints: Checkpoints | None = None
    check: Check = _ignore


@dataclass(frozen=True)
class Budget:
    """How long to train, and how often to look at held-out images.

    Parameters
    ----------
    steps, minutes
        Exactly one of the two. Only with steps does the same seed give the same weights.
    validations
        How often held-out images are scored, at equal distances, the end included; 0 for never.
    patience
        Stop after so many validations without a new best one.
    """

    steps: int | None = None
    minutes: float | None = None
    validations: int = 0
    patience: int | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ModelError("Training needs a budget: either epochs or minutes.")

    def share(self, step: int, seconds: float) -> float:
        """Return how much of it is used up."""
        if self.steps is not None:
            return step / self.steps
        assert self.minutes is not None
        return seconds / (60 * self.minutes)


class Learner(ABC):
    """What is trained, and how one step is made.

    Attributes
    ----------
    network, optimiser
        What the optimiser steps on.
    rng
        Where the data's randomness comes from.
    batch, least_batch
        Pictures a step, and the fewest that make sense.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    rng: np.random.Generator
    batch: int
    least_batch: int = 1

    @property
    def result(self) -> nn.Module:
        """What is scored and kept: the network, or its moving average."""
        return self.network

    @abstractmethod
    def prepare(self, step: int, share: float) -> None:
        """Set learning rates and frozen layers for the step after `step` steps."""

    @abstractmethod
    def loss(self) -> Tensor:
        """Draw a batch and return its loss, a scalar with a gradient."""

    def shown(self, loss: float) -> float:
        """Return a loss as it is told: independent of the batch's size."""
        return loss

    def before_update(self) -> None:
        """Change gradients before the optimiser steps: clipping."""
        return

    def after_step(self, step: int) -> None:
        """Do what follows every step: the moving average."""
        return

    def validate(self) -> Scores:
        """Score `result` on held-out images; must leave no trace in the training."""
        raise NotImplementedError

    def memory(self) -> dict[str, Any]:
        """Return what else the next step depends on, in plain JSON types, for a checkpoint."""
        return {}

    def recall(self, memory: Mapping[str, Any], step: int, seconds: float) -> None:
        """Take back what `memory` returned after `step` steps in `seconds` of earlier lives."""
        return


def fit(learner: Learner, budget: Budget, watch: Watch | None = None) -> Scores:
    """Train to the end of the budget; afterwards `learner.result` holds the best weights.

    In a group of processes each makes its share of every batch; all end with the same weights.

    Returns
    -------
    Scores
        Of those weights; empty without validations.

    Raises
    ------
    CancelledError
        From the watcher; a checkpoint of this very step is written.
    ModelError
        If the loss is not finite, or memory runs out even with the smallest batch.
    WeightsError
        If a checkpoint cannot be written, or is of another network.
    """
    group = current()
    learner.batch = group.share(learner.batch, learner.least_batch)
    if group.leads:
        scores = _Fit(learner, budget, watch or Watch(), group).run()
        group.say(None)
    else:
        scores = {}
        _follow(learner, watch or Watch(), group)
    group.send(learner.result)
    return group.say(scores)


def _follow(learner: Learner, watch: Watch, group: Group) -> None:
    """Make gradients for the process that leads, until it has done."""
    seed = int(learner.rng.integers(2**31))
    here: tuple[int, float] | None = None
    while (at := group.say(here)) is not None:
        step, share = at
        group.send(learner.network)
        _prepare(learner, step, share, watch)
        # Of rank and step alone: a training that goes on later draws what it would have drawn.
        rng = np.random.default_rng([seed, group.rank, step])
        torch.manual_seed(int(rng.integers(2**31)))
        learner.rng.bit_generator.state = rng.bit_generator.state
        group.average(learner.network, _gradients(learner, watch))


def _prepare(learner: Learner, step: int, share: float, watch: Watch) -> None:
    """Prepare a step; where frozen features are computed for it, memory may run out as well."""
    _within_memory(lambda: learner.prepare(step, share), learner, watch)


def _gradients(learner: Learner, watch: Watch) -> float:
    """Make the gradients of a batch, of a smaller one if memory runs out; return the loss."""

    def gradients() -> float:
        loss = learner.loss()
        learner.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    return _within_memory(gradients, learner, watch)


def _within_memory(compute: Callable[[], T], learner: Learner, watch: Watch) -> T:
    """Compute something, with ever smaller batches while memory runs out."""
    while True:
        try:
            return compute()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            _halve(learner, watch, error)


def _halve(learner: Learner, watch: Watch, error: BaseException) -> None:
    smaller = learner.batch // 2
    if smaller < learner.least_batch:
        raise ModelError(
            f"Out of memory with a batch of {learner.batch}; close other programs, or train on "
            "another device."
        ) from error
    learner.batch = smaller
    learner.optimiser.zero_grad(set_to_none=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    watch.notice(f"Out of memory: going on with batches of {smaller}.")


def _finite_gradients(network: nn.Module) -> bool:
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    return bool(torch.isfinite(nn.utils.get_total_norm(grads)).item()) if grads else True


class _Fit:
    """One training and its clock, in the process that leads."""

    def __init__(self, learner: Learner, budget: Budget, watch: Watch, group: Group) -> None:
        self.learner, self.budget, self.watch, self.group = learner, budget, watch, group
        self.step = 0
        self.validations, self.unimproved = 0, 0
        self.best: dict[str, Tensor] | None = None
        self.scores: Scores = {}
        self._earlier = 0.0  # seconds of earlier lives
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._earlier + time.monotonic() - self._began

    def run(self) -> Scores:
        self._restore()
        while True:
            share = self.budget.share(self.step, self.seconds)
            if self._validate(share) or share >= 1:
                break
            self.group.say((self.step, share))
            self.group.send(self.learner.network)
            self._prepare(share)
            loss = self._one_step()
            self.step += 1
            self.learner.after_step(self.step)
            self._tell(loss)
        if self.best is not None:
            self.learner.result.load_state_dict(self.best)
        return self.scores

    def _prepare(self, share: float) -> None:
        try:
            _prepare(self.learner, self.step, share, self.watch)
        except CancelledError:  # while frozen features were computed; who goes on does that again
            if self.step:
                self._save()
            raise

    def _tell(self, loss: float) -> None:
        share = self.budget.share(self.step, self.seconds)
        try:
            self.watch.step(Step(self.step, min(share, 1.0), loss, self.seconds))
        except CancelledError:
            self._save()
            raise
        if self.watch.checkpoints is not None and self.watch.checkpoints.due:
            self._save()

    def _one_step(self) -> float:
        learner = self.learner
        while True:
            value = self.group.average(learner.network, _gradients(learner, self.watch))
            if not math.isfinite(value):
                self._stop_unusable(f"The loss became {value} at step {self.step + 1}")
            if not _finite_gradients(learner.network):  # before they spoil the weights
                self._stop_unusable(f"The gradient is not finite at step {self.step + 1}")
            try:
                learner.before_update()
                learner.optimiser.step()
                return learner.shown(value)
            except (RuntimeError, MemoryError) as error:
                if self.group.size > 1 or not is_out_of_memory(error):
                    raise
                _halve(learner, self.watch, error)

    def _stop_unusable(self, what: str) -> None:
        if self.step and self._is_sound():  # else the checkpoint before it is the last good one
            self._save()
        raise ModelError(
            f"{what}; the training was stopped. Look for images with extreme grays, or train with "
            "another seed or start; the last good weights are kept as a checkpoint."
        )

    def _is_sound(self) -> bool:
        values = [*self.learner.network.state_dict().values()]
        return all(bool(torch.isfinite(v).all()) for v in values if v.is_floating_point())

    # --- held-out images ------------------------------------------------------------------------

    def _validate(self, share: float) -> bool:
        """Score held-out images if it is time to; return whether to stop early."""
        due = math.floor(min(share, 1.0) * self.budget.validations + 1e-9)
        if due <= self.validations:
            return False
        try:
            scores = self.learner.validate()
        except CancelledError:  # who goes on scores them then
            self._save()
            raise
        self.validations = due  # a long step may have passed several
        score = next(iter(scores.values()))
        better = not self.scores or score >= next(iter(self.scores.values()))
        if better:
            self.scores, self.unimproved = scores, 0
            state = self.learner.result.state_dict()
            self.best = {name: value.detach().clone() for name, value in state.items()}
        else:
            self.unimproved += 1
        self.watch.validated(self.step, min(share, 1.0), scores, better)
        patience = self.budget.patience
        return patience is not None and self.unimproved >= patience

    # --- checkpoints ----------------------------------------------------------------------------

    def _save(self) -> None:
        if self.watch.checkpoints is None:
            return
        if not self._is_sound():
            raise ModelError(
                f"The weights are not finite after step {self.step}; the training was stopped, its "
                "checkpoint of earlier weights is kept."
            )
        learner = self.learner
        tensors, state = random_state(learner.rng)
        tensors |= arrays_of(learner.network.state_dict(), "network")
        tensors |= arrays_of_optimiser(learner.optimiser)
        if learner.result is not learner.network:
            tensors |= arrays_of(learner.result.state_dict(), "result")
        if self.best is not None:
            tensors |= arrays_of(self.best, "best")
        state |= {
            "step": self.step,
            "seconds": self.seconds,
            "batch": learner.batch,
            "processes": self.group.size,
            "validations": self.validations,
            "unimproved": self.unimproved,
            "scores": self.scores,
            "learner": learner.memory(),
        }
        self.watch.checkpoints.save(self.step, Snapshot(tensors, state))

    def _restore(self) -> None:
        if self.watch.checkpoints is None:
            return
        snapshot = self.watch.checkpoints.load(self.watch.notice)
        if snapshot is None:
            return
        learner, tensors, state = self.learner, snapshot.tensors, snapshot.state
        load_module(learner.network, tensors, "network")
        if learner.result is not learner.network:
            load_module(learner.result, tensors, "result")
        restore_optimiser(learner.optimiser, tensors)
        restore_random_state(learner.rng, tensors, state)
        self.best = tensors_in(tensors, "best") or None
        self._take(state)
        self.watch.notice(f"Going on from the checkpoint of step {self.step}.")

    def _take(self, state: dict[str, Any]) -> None:
        self.step, self._earlier = int(state["step"]), float(state["seconds"])
        if int(state.get("processes", 1)) == self.group.size:
            self.learner.batch = int(state["batch"])
        self.validations, self.unimproved = int(state["validations"]), int(state["unimproved"])
        self.scores = {str(k): float(v) for k, v in state["scores"].items()}
        self.learner.recall(state.get("learner", {}), self.step, self._earlier)
