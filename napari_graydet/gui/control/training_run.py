"""What a running training has told so far: its place, its curves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from napari_graydet.workflows.training.events import Event
from napari_graydet.workflows.training.parts import PARTS

TITLES = {
    "roi": "ROI detector: where the objects are",
    "boxes": "3D box detector: which grays belong to them",
    "refiner": "Refiner: what no gray range can reach",
}

MOST_POINTS = 600
"""Points of a curve; older ones are thinned out, a screen has no more pixels."""

EARLIEST_ESTIMATE = 0.03
"""Share of the run before which nothing is said about the time left."""

Points = list[tuple[float, float]]


@dataclass
class Curve:
    """Loss and held-out scores of one part, over the share of it that is done (0..1).

    Scores stand by name: where a part is several networks, each has its own.
    """

    part: str
    loss: Points = field(default_factory=list)
    scores: dict[str, Points] = field(default_factory=dict)

    @property
    def score_name(self) -> str:
        """What is scored now; empty before the first score."""
        return next(reversed(self.scores), "")

    @property
    def score(self) -> Points:
        """The points of what is scored now."""
        return self.scores.get(self.score_name, [])

    def add_loss(self, share: float, value: float) -> None:
        """Add a point, and thin the curve out when it has too many."""
        self.loss.append((share, value))
        if len(self.loss) > MOST_POINTS:
            self.loss = self.loss[::2]


@dataclass
class Run:
    """A training, event by event.

    Parameters
    ----------
    id
        Of the run, once it has begun.
    train, validation
        How many images are learned from, and held out.
    part, number, of
        Which part of how many is being trained.
    overall
        Share of the run that is done, 0..1; None before the first step.
    curves
        By part.
    notices
        What the user should know.
    """

    clock: Callable[[], float] = time.monotonic
    id: str | None = None
    train: int = 0
    validation: int = 0
    part: str = ""
    number: int = 0
    of: int = 0
    overall: float | None = None
    curves: dict[str, Curve] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    _began: tuple[float, float] | None = None

    def take(self, event: Event) -> None:
        """Learn from an event (`workflows.training_events`)."""
        kind = event["event"]
        if kind == "start":
            self.id = event["run"]
            self.train, self.validation = event["images"]["train"], event["images"]["validation"]
        elif kind == "part":
            self.part, self.number, self.of = event["part"], event["number"], event["of"]
        elif kind == "progress":
            self._progress(event)
        elif kind == "validation":
            self._validation(event)
        elif kind == "notice":
            self.notices.append(event["message"])

    def _curve(self, part: str) -> Curve:
        return self.curves.setdefault(part, Curve(part))

    def _progress(self, event: Event) -> None:
        self.overall = event["overall"]
        self._began = self._began or (self.clock(), event["overall"])
        self._curve(event["part"]).add_loss(event["share"], event["loss"])

    def _validation(self, event: Event) -> None:
        """Take the first figure: it is the one that weights are chosen by."""
        if not event["scores"]:
            return
        name, value = next(iter(event["scores"].items()))
        points = self._curve(event["part"]).scores.setdefault(name, [])
        points.append((event["share"], value))

    @property
    def seconds_left(self) -> float | None:
        """About how long it still takes, None if that cannot be told yet."""
        if self._began is None or self.overall is None:
            return None
        since, share = self._began
        done = self.overall - share
        if done < EARLIEST_ESTIMATE:
            return None
        return (self.clock() - since) * (1 - self.overall) / done


def part_title(name: str) -> str:
    """Return what a part is, for people; one that nobody has named here describes itself."""
    part = PARTS.get(name)
    about = part.about.removeprefix("the ") if part else name
    return TITLES.get(name, about[:1].upper() + about[1:])
