"""Several processes that train one network, each on its share of every batch; torchrun starts them.

The first one leads: it alone has the optimiser's state, scores held-out images, writes checkpoints
and weights. Before each step the others get its weights, and give their gradients back. A process
that fails takes all with it, and the run goes on from the leader's checkpoint.
"""

from __future__ import annotations

import datetime
import importlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from napari_graydet.errors import CancelledError, ModelError
from napari_graydet.io.files import reason_of
from napari_graydet.models.device import choose_device

PATIENCE = datetime.timedelta(hours=2)
"""How long a process waits for the others: the leader scores held-out images meanwhile."""

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """The processes of a training, and which of them this one is.

    Parameters
    ----------
    rank, size
        This process's number, and how many there are.
    device
        Where tensors are while they are exchanged.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this is the process that decides and writes."""
        return self.rank == 0

    def share(self, batch: int, least: int) -> int:
        """Return how many of a batch's pictures each process draws."""
        return max(-(-batch // self.size), min(least, batch))

    def say(self, what: T) -> T:
        """Return what the leader says, to all.

        Raises
        ------
        CancelledError
            If another process has ended.
        """
        if self.size == 1:
            return what
        said = [what]
        with _together():
            dist.broadcast_object_list(said, src=0, device=torch.device("cpu"))
        return said[0]

    def send(self, module: nn.Module) -> None:
        """Give all processes the leader's parameters and buffers."""
        if self.size == 1:
            return
        with torch.no_grad():
            for values in _by_type(module.state_dict().values()):
                flat = torch.cat([value.reshape(-1) for value in values]).to(self.device)
                with _together():
                    dist.broadcast(flat, src=0)
                for value, part in zip(values, _parts(flat, values), strict=True):
                    value.copy_(part)

    def average(self, module: nn.Module, loss: float) -> float:
        """Give all processes the mean of their gradients, and of their losses.

        A parameter that no process has a gradient for keeps having none.

        Returns
        -------
        float
            The mean loss: not finite if a single one is not.
        """
        if self.size == 1:
            return loss
        learned = [p for p in module.parameters() if p.requires_grad]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in learned]
        told = [loss, *(float(p.grad is not None) for p in learned)]
        pieces = [torch.tensor(told, device=self.device)]
        pieces += [grad.detach().reshape(-1).float().to(self.device) for grad in grads]
        flat = torch.cat(pieces)
        with _together():
            dist.all_reduce(flat)
        there = flat[1 : len(told)].tolist()
        means = _parts(flat[len(told) :] / self.size, learned)
        for parameter, has_one, mean in zip(learned, there, means, strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(mean) if has_one else None
        return float(flat[0]) / self.size


ALONE = Group()
_current = ALONE


def current() -> Group:
    """Return the group that this process trains in."""
    return _current


@contextmanager
def joined(device: str = "auto") -> Iterator[Group]:
    """Train together with the other processes that torchrun has started, if there are any.

    Parameters
    ----------
    device
        As for `choose_device`. On CUDA every process gets a GPU of its own.

    Raises
    ------
    ModelError
        If there are more processes than GPUs, or they do not find each other.
    """
    global _current
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    where = choose_device(device).type
    if where == "cuda":
        _take_a_gpu(int(os.environ.get("LOCAL_RANK", "0")))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", str(size)))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // here))  # torchrun says one
    # Every optimiser imports it. Imported in a group it keeps the group alive beyond its end, and
    # the group's threads then let go of tensors while Python ends, which aborts the process.
    importlib.import_module("torch._dynamo")
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if where == "cuda" else "gloo", timeout=PATIENCE
        )
        group = Group(dist.get_rank(), size, "cuda" if where == "cuda" else "cpu")
        dist.all_reduce(torch.zeros(1, device=group.device))  # what is wrong shows now
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"The {size} processes did not find each other ({reason_of(error)}); start them with "
            "torchrun."
        ) from error
    try:
        _current = group
        yield group
    finally:
        _current = ALONE
    # Only in peace: to leave waits for the others, who may be waiting for a process that failed.
    dist.destroy_process_group()


@contextmanager
def _together() -> Iterator[None]:
    """Say in one line that another process has ended."""
    try:
        yield
    except RuntimeError as error:  # whatever the backend calls it
        raise CancelledError(
            f"Another process of this training has ended ({reason_of(error)})."
        ) from error


def _take_a_gpu(number: int) -> None:
    count = torch.cuda.device_count()
    if number >= count:
        raise ModelError(
            f"Expected at most {count} processes on this machine, one a GPU, got more; start fewer "
            "(torchrun --nproc-per-node)."
        )
    torch.cuda.set_device(number)


def _by_type(values: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    groups: dict[torch.dtype, list[Tensor]] = {}
    for value in values:
        groups.setdefault(value.dtype, []).append(value)
    return groups.values()


def _parts(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Cut a flat tensor into the shapes of others."""
    parts = torch.split(flat, [value.numel() for value in like])
    return [part.reshape(value.shape) for part, value in zip(parts, like, strict=True)]
