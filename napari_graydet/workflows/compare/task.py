"""What a method that takes part in a comparison gets for its training, and gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from napari_graydet.core.sample import Sample
from napari_graydet.errors import ModelError, WeightsError
from napari_graydet.io.lock import exclusive
from napari_graydet.io.weights import read_card
from napari_graydet.workflows.dataset import Dataset
from napari_graydet.workflows.evaluation.measuring import Cost
from napari_graydet.workflows.evaluation.methods import Method
from napari_graydet.workflows.events import ShouldCancel, check_cancelled, never_cancel

Tell = Callable[[str, float], None]
"""Takes what is being trained and the share of it that is done."""


def ignore_step(what: str, share: float) -> None:
    """Take progress and do nothing."""


@dataclass(frozen=True)
class Task:
    """What the training of a method gets.

    Parameters
    ----------
    train
        The images to learn from, including those that a method holds out for its own choices.
    seed
        Of everything random.
    folder
        Where trained parts are kept, and found again: one folder for each set of images and seed.
    iterations, minutes
        Budget of a whole-image network, exactly one of the two. Ours and the rivals take minutes
        only; with iterations they train as long as their preset says, and tell their steps.
    size
        Side of the square that whole-image networks look at, pixels; None is their default.
    device
        "auto", "cuda", "mps" or "cpu".
    starts
        Weights to start from: of "roi", "boxes", "refiner", and "pointnet" for the paper's boxes.
        Missing ones are the shipped, but that the paper's boxes start from random weights, as a
        refiner of None does.
    tell, should_cancel
        Told of the progress, and asked whether to stop.

    Raises
    ------
    WeightsError
        If a start is not there: that is found out before anything is trained.
    """

    train: Dataset
    seed: int
    folder: Path
    iterations: int | None = None
    minutes: float | None = None
    size: int | None = None
    device: str = "auto"
    starts: Mapping[str, Path | None] = field(default_factory=dict)
    tell: Tell = ignore_step
    should_cancel: ShouldCancel = never_cancel

    def __post_init__(self) -> None:
        for name, path in self.starts.items():
            if path is not None and not path.exists():
                raise WeightsError(
                    f"Expected weights that {name} starts from in {path}, found no file; "
                    "check its name."
                )

    def samples(self) -> list[list[Sample]]:
        """Read the images with their masks, one list a case."""
        read = []
        for case in self.train.cases:
            check_cancelled(self.should_cancel)
            read.append(case.samples())
        return read

    def step(self, what: str, share: float) -> None:
        """Tell of a step, and stop if that is wanted."""
        check_cancelled(self.should_cancel)
        self.tell(what, share)


@dataclass(frozen=True)
class Trained:
    """A method, and what its training took.

    Parameters
    ----------
    method
        Ready to segment.
    weights
        Number of weights of its networks, None for methods without.
    steps
        Optimiser steps by part.
    cost
        Of all parts, those included that were trained for another method before.
    notes
        What to know when its scores are compared with others'.
    """

    method: Method
    weights: int | None = None
    steps: Mapping[str, int] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    notes: tuple[str, ...] = ()


def starts_of(files: Sequence[Path]) -> dict[str, Path]:
    """Return what weights files start, as `Task.starts` names it.

    Raises
    ------
    WeightsError
        If one is not there or damaged, or two start the same.
    """
    found: dict[str, Path] = {}
    for path in files:
        if not path.is_file():
            raise WeightsError(f"There is no weights file {path}; check its name.")
        name = "roi" if path.suffix == ".weights" else read_card(path).kind
        if name in found:
            raise WeightsError(
                f"{found[name].name} and {path.name} both start {name}; give one of them."
            )
        found[name] = path
    return found


def alone(path: Path) -> AbstractContextManager[None]:
    """Keep other processes from training what is kept under a path meanwhile.

    Raises
    ------
    ModelError
        If one is at it, or the folder cannot be written.
    """
    with suppress(OSError):  # the lock says what is wrong
        path.parent.mkdir(parents=True, exist_ok=True)
    return exclusive(
        path.with_name(f"{path.name}.lock"),
        error=ModelError,
        taken=f"{path} is being trained by another process; wait for its end, or stop it.",
    )
