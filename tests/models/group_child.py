"""Trainings in a group of two processes, as torchrun would start them."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_graydet.errors import CancelledError, GraydetError
from napari_graydet.models.learning.checkpoints import Checkpoints
from napari_graydet.models.learning.group import Group, current, joined
from napari_graydet.models.learning.loop import Budget, Learner, Scores, Step, Watch, fit
from tests.models.learners import Tiny, weights_of

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])

STEPS, STOP_AT, SLOWEST = 12, 5, 120.0

Outcome = dict[str, Any]


class Towards(Learner):
    """Goes towards a place of its rank; notes how it drew. Its second weight is in no loss."""

    def __init__(self, rank: int) -> None:
        self.network = nn.Module()
        self.network.w = nn.Parameter(torch.zeros(3))
        self.network.unused = nn.Parameter(torch.ones(2))
        self.optimiser = torch.optim.SGD(self.network.parameters(), lr=0.1, weight_decay=0.1)
        self.rng, self.batch, self.least_batch = np.random.default_rng(0), 7, 1
        self.place = torch.tensor([1.0, 2.0, 4.0]) * (1 if rank else 3)

    def prepare(self, step: int, share: float) -> None:
        return

    def loss(self) -> Tensor:
        return ((self.network.w - self.place) ** 2).sum()


def towards(rank: int, folder: Path) -> Outcome:
    """Train towards two places at once."""
    learner = Towards(rank)
    fit(learner, Budget(STEPS))
    return {"weights": weights_of(learner), "batch": learner.batch}


def tiny(rank: int, folder: Path) -> Outcome:
    """Train the small learner to its end; checkpoints go on from where they are."""
    learner = Tiny(seed=3)
    scores = fit(learner, Budget(STEPS, validations=3), Watch(checkpoints=_checkpoints(folder)))
    return {"weights": weights_of(learner), "scores": scores, "validated": learner.validated}


def stopped(rank: int, folder: Path) -> Outcome:
    """The same, stopped by the leader."""

    def stop(at: Step) -> None:
        if at.step == STOP_AT:
            raise CancelledError("stop")

    watch = Watch(stop, checkpoints=_checkpoints(folder))
    return {"scores": fit(Tiny(seed=3), Budget(STEPS, validations=3), watch)}


class Diverging(Tiny):
    """Its loss is no number in the second process from some step on."""

    def loss(self) -> Tensor:
        loss = super().loss()
        return loss * float("nan") if current().rank and self.steps >= STOP_AT else loss


def diverging(rank: int, folder: Path) -> Outcome:
    """Train a learner of which another process's loss is no number."""
    return {"scores": fit(Diverging(seed=3), Budget(STEPS))}


class Hungry(Tiny):
    """Has memory for batches of four in the second process."""

    def loss(self) -> Tensor:
        if current().rank and self.batch > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().loss()


def hungry(rank: int, folder: Path) -> Outcome:
    """Train where one process has less memory than the other."""
    learner, notices = Hungry(seed=3), list[str]()
    scores: Scores = fit(learner, Budget(STEPS), Watch(notice=notices.append))
    return {"batch": learner.batch, "weights": weights_of(learner), "scores": scores}


def _checkpoints(folder: Path) -> Checkpoints:
    return Checkpoints(folder / "checkpoints", seconds=0.0)


def _run(
    work: Callable[[int, Path], Outcome], rank: int, size: int, port: int, folder: Path
) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    try:
        with joined("cpu") as group:
            assert group == Group(rank, size, "cpu")
            outcome = work(rank, folder)
        outcome["left"] = _threads_of_gloo()
    except GraydetError as error:
        outcome = {"error": f"{type(error).__name__}: {error}"}
    torch.save(outcome, folder / f"{work.__name__}{rank}.pt")


def _threads_of_gloo() -> list[str]:
    """Return the names of the group's own threads in this process, where Linux tells them."""
    names = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]


def in_group(work: Callable[[int, Path], Outcome], folder: Path, size: int = 2) -> list[Outcome]:
    """Do something in a group of processes; return what each has to say."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [
        _CONTEXT.Process(target=_run, args=(work, rank, size, port, folder), daemon=True)
        for rank in range(size)
    ]
    for child in children:
        child.start()
    try:
        for child in children:
            child.join(SLOWEST)
            assert child.exitcode == 0
    finally:
        for child in children:
            child.kill()
    return [torch.load(folder / f"{work.__name__}{rank}.pt") for rank in range(size)]
