"""Checkpoints of a training: all that its next step depends on, on disk whole or not at all.

A checkpoint is a safetensors file (network, optimiser, moving average, best weights so far, torch's
random state) and a JSON file (step, clock, numpy's random state, ...) that carries the digests of
both. It is there once its JSON is, which is written last. The one before it is kept: if the newest
turns out damaged, a training falls back on that. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as serialise_tensors
from torch import nn

from napari_graydet.errors import GraydetError, WeightsError
from napari_graydet.io.files import atomic_write_bytes, atomic_write_text, read_bytes, reason_of
from napari_graydet.io.limits import MAX_CARD_BYTES, MAX_WEIGHTS_BYTES
from napari_graydet.io.weights import Tensors

KEPT = 2
SECONDS = 45.0
"""Time between checkpoints: what a kill costs at most."""

_OPTIMISER = "optimiser"
_NAME = re.compile(r"step-(\d{9})\.json")
_MOST_BYTES = 4 * MAX_WEIGHTS_BYTES  # network, average, best, two moments of Adam


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of a training.

    Parameters
    ----------
    tensors
        Arrays by name.
    state
        Everything else, in plain JSON types.
    """

    tensors: Tensors
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training, in a folder of their own.

    Parameters
    ----------
    folder
        Made with the first checkpoint.
    seconds
        Time between checkpoints; 0 saves at every step.
    """

    def __init__(self, folder: Path, *, seconds: float = SECONDS) -> None:
        self.folder = Path(folder)
        self.seconds = seconds
        self._saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._saved >= self.seconds

    def save(self, step: int, snapshot: Snapshot) -> None:
        """Write a checkpoint, then drop those older than the last `KEPT`.

        Raises
        ------
        WeightsError
            If it cannot be written; the ones before it are as they were.
        """
        data = serialise_tensors(dict(snapshot.tensors))
        path = self.folder / f"step-{step:09d}.safetensors"
        state = json.dumps(snapshot.state, allow_nan=False)
        seal = {"tensors": _digest(data), "state": _digest(state.encode())}
        atomic_write_bytes(path, data, error=WeightsError)
        document = json.dumps({"seal": seal, "state": state})
        atomic_write_text(path.with_suffix(".json"), document, error=WeightsError)
        for old in self._steps()[:-KEPT]:
            for suffix in (".json", ".safetensors"):
                (self.folder / f"step-{old:09d}{suffix}").unlink(missing_ok=True)
        self._saved = time.monotonic()

    def load(self, notice: Callable[[str], None]) -> Snapshot | None:
        """Return the newest sound checkpoint; None if there is none.

        Parameters
        ----------
        notice
            Told of each damaged one that was passed over.
        """
        for step in reversed(self._steps()):
            try:
                return self._read(step)
            except GraydetError as error:
                notice(f"The checkpoint of step {step} is damaged and passed over: {error}")
        return None

    def _steps(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def _read(self, step: int) -> Snapshot:
        path = self.folder / f"step-{step:09d}.safetensors"
        text = _bytes(path.with_suffix(".json"), MAX_CARD_BYTES)
        data = _bytes(path, _MOST_BYTES)
        try:
            document = json.loads(text)
            state, seal = document["state"], document["seal"]
            if seal != {"tensors": _digest(data), "state": _digest(state.encode())}:
                raise ValueError("another SHA-256 than was written")
            return Snapshot(parse_tensors(data), json.loads(state))
        except (SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise WeightsError(f"{path.name}: {reason_of(error)}.") from error


def _bytes(path: Path, most: int) -> bytes:
    return read_bytes(path, max_bytes=most, error=WeightsError, limit_error=WeightsError)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- networks, optimisers and random numbers as arrays and JSON -----------------------------------


def arrays_of(state: Mapping[str, torch.Tensor], prefix: str) -> Tensors:
    """Return copies of named tensors as arrays, each name behind a prefix."""
    return {f"{prefix}.{name}": _array(value) for name, value in state.items()}


def tensors_in(arrays: Tensors, prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors that `arrays_of` put behind a prefix."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): torch.from_numpy(np.array(array))
        for name, array in arrays.items()
        if name.startswith(start)
    }


def arrays_of_optimiser(optimiser: torch.optim.Optimizer) -> Tensors:
    """Return what an optimiser remembers of each parameter: Adam's moments and step counts."""
    remembered = optimiser.state_dict()["state"]
    return {
        f"{_OPTIMISER}.{index}.{name}": _array(value)
        for index, values in remembered.items()
        for name, value in values.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, arrays: Tensors) -> None:
    """Give an optimiser back what it remembered; its groups stay as they were set up."""
    remembered: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors_in(arrays, _OPTIMISER).items():
        index, _, key = name.partition(".")
        remembered.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict(optimiser.state_dict() | {"state": remembered})


def load_module(module: nn.Module, arrays: Tensors, prefix: str) -> None:
    """Load a module's state from behind a prefix.

    Raises
    ------
    WeightsError
        If the state is of another network.
    """
    try:
        module.load_state_dict(tensors_in(arrays, prefix))
    except RuntimeError as error:
        raise WeightsError(
            "The checkpoint is of another network than the one in training; start a new training."
        ) from error


def random_state(rng: np.random.Generator) -> tuple[Tensors, dict[str, Any]]:
    """Return the state of numpy's generator and of torch's, as arrays and JSON."""
    arrays: Tensors = {"random.cpu": _array(torch.get_rng_state())}
    if torch.cuda.is_available():
        arrays["random.cuda"] = _array(torch.cuda.get_rng_state())
    return arrays, {"rng": dict(rng.bit_generator.state)}


def restore_random_state(
    rng: np.random.Generator, arrays: Tensors, state: Mapping[str, Any]
) -> None:
    """Set the generators to what `random_state` returned."""
    rng.bit_generator.state = state["rng"]
    torch.set_rng_state(torch.from_numpy(np.array(arrays["random.cpu"])))
    if "random.cuda" in arrays and torch.cuda.is_available():
        torch.cuda.set_rng_state(torch.from_numpy(np.array(arrays["random.cuda"])))


def _array(value: torch.Tensor) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = value.detach().to("cpu", copy=True).contiguous().numpy()
    return array
