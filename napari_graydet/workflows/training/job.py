"""What the training of one part gets, and how long it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from napari_graydet.core.sample import Sample
from napari_graydet.project.model_entry import Scores
from napari_graydet.workflows.dataset import Dataset
from napari_graydet.workflows.events import ShouldCancel, check_cancelled

if TYPE_CHECKING:
    from napari_graydet.models.learning.loop import Budget, Watch

Preset = Literal["fast", "paper"]
T = TypeVar("T")

FAST_ROI_STEPS, FAST_BOX_STEPS, FAST_REFINER_STEPS = 200, 400, 1800
"""steps of preset `fast` on `FEW` images, of all refiners together; more images get more, see
`grown`."""

FEW = 20
PAPER_ROI_EPOCHS = 50.0
VALIDATIONS, PATIENCE = 10, 6
"""How often held-out images are scored, and how often in vain before the rest is saved."""

SCORED_IMAGES = 60
"""Held-out images, at most, on which ROIs are scored on the way."""

LONGEST = 640
"""Longest side at which held-out images are kept for that, at least."""


def grown(steps: int, images: int) -> int:
    """Return steps for a number of images: they grow with its root."""
    return round(steps * math.sqrt(max(images, FEW) / FEW))


@dataclass(frozen=True)
class PartJob:
    """What the training of one part gets.

    Parameters
    ----------
    train, validation
        The images to learn from, and those that choose when to stop.
    classes
        Labels by id.
    preset, seed, epochs, minutes, device
        As asked for; `epochs` and `minutes` are budgets of this part, at most one is given.
    start
        The weights to start from; None for random ones.
    out
        Where the part's weights go.
    checkpoints
        Folder for its checkpoints; those that are there are gone on from.
    tell
        Takes events; adds the part's name.
    should_cancel
        Whether to stop now.
    uses
        Weights of other kinds that the part works with.
    """

    train: Dataset
    validation: Dataset
    classes: tuple[str, ...]
    preset: Preset
    seed: int
    start: Path | None
    out: Path
    checkpoints: Path
    tell: Callable[..., None]
    should_cancel: ShouldCancel
    epochs: float | None = None
    minutes: float | None = None
    device: str = "auto"
    uses: Mapping[str, Path] = field(default_factory=dict)

    @property
    def weights(self) -> Path:
        """The start of a part that never starts from random weights."""
        assert self.start is not None  # the plan found one
        return self.start

    def watch(self) -> Watch:
        """Return who watches the part's training: events out, the wish to stop in, checkpoints."""
        from napari_graydet.models.learning.checkpoints import Checkpoints
        from napari_graydet.models.learning.loop import Step, Watch

        def step(at: Step) -> None:
            self.tell(
                "progress",
                step=at.step,
                share=round(at.share, 5),
                loss=round(at.loss, 5),
                seconds=round(at.seconds, 2),
            )
            check_cancelled(self.should_cancel)

        def validated(step: int, share: float, scores: Scores, best: bool) -> None:
            rounded = {name: round(value, 5) for name, value in scores.items()}
            self.tell("validation", step=step, share=round(share, 5), scores=rounded, best=best)

        return Watch(
            step,
            validated,
            lambda message: self.tell("notice", message=message),
            Checkpoints(self.checkpoints),
            self.check,
        )

    def check(self) -> None:
        """Raise `CancelledError` if somebody asks to stop."""
        check_cancelled(self.should_cancel)

    def roi_budget(self) -> dict[str, Any]:
        """Return the budget of the ROI detector's training, as `train_roi` takes it."""
        if self.minutes is not None:
            return {"minutes": self.minutes}
        if self.epochs is not None or self.preset == "paper":
            return {"epochs": self.epochs or PAPER_ROI_EPOCHS}
        return {"steps": grown(FAST_ROI_STEPS, len(self.train.cases))}

    def box_budget(self, parts: int) -> Budget:
        """Return the budget of the box detector's training on a number of parts."""
        from napari_graydet.models.boxes.training import BoxTraining
        from napari_graydet.models.learning.loop import Budget

        steps = grown(FAST_BOX_STEPS, len(self.train.cases))
        if self.epochs is not None:
            steps = math.ceil(self.epochs * parts / BoxTraining().batch)
        return Budget(
            None if self.minutes is not None else steps, self.minutes, VALIDATIONS, PATIENCE
        )

    @property
    def refiner_steps(self) -> int:
        """Steps of all refiners together, where no other budget is given."""
        return grown(FAST_REFINER_STEPS, len(self.train.cases))

    def watched(self, held_out: Sequence[T]) -> Sequence[T]:
        """Return held-out images that are given one by one until somebody asks to stop.

        To score them all takes many times as long as a step.
        """
        return _Watched(held_out, self.should_cancel)

    def samples(self, data: Dataset) -> Iterator[Sample]:
        """Read the images one by one, until asked to stop."""
        for case in data.cases:
            self.check()
            yield from (s for s in case.samples() if s.label in self.classes)


@dataclass(frozen=True)
class PartResult:
    """Figures on the held-out images: of the new weights and of those it started from.

    `note` is what there is to know about the new weights.
    """

    scores: Scores = field(default_factory=dict)
    parent_scores: Scores = field(default_factory=dict)
    note: str | None = None


class _Watched(Sequence[T]):
    def __init__(self, items: Sequence[T], should_cancel: ShouldCancel) -> None:
        self._items, self._should_cancel = items, should_cancel

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: Any) -> Any:
        check_cancelled(self._should_cancel)
        return self._items[place]


def some(data: Dataset) -> Dataset:
    """Return at most `SCORED_IMAGES` cases, evenly chosen."""
    step = -(-len(data.cases) // SCORED_IMAGES)
    return Dataset(data.cases[:: max(1, step)], data.classes)
