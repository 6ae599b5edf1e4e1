"""The trained models of a project as the window shows them: read in a worker, no Qt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_graydet.project.models import ModelEntry, ModelRegistry
from napari_graydet.project.schema import ImageEntry, State
from napari_graydet.workflows.train_job import FEW

SHIPPED_NAME = "the model that comes with the program"

LEAST_IMAGES = 5
"""Accepted images from which on the window offers training: with fewer, one would be held out to
judge the result, and what is left is too little to learn from."""

FAST_SECONDS = {"roi": 260.0, "boxes": 60.0, "regressor": 15.0, "refiner": 150.0}
"""Time of each part in preset `fast` on `FEW` images and two CPU cores, loading included."""


@dataclass(frozen=True)
class Models:
    """What the registry of a project says.

    Parameters
    ----------
    folder
        The project's; None before one is open.
    entries
        All runs that can be read, oldest first.
    damaged
        By id why others cannot be read.
    choices
        By kind the id of the run in use; the shipped weights where a kind is missing.
    before
        What would be in use after rolling back; None if there is nothing to go back to.
    """

    folder: Path | None = None
    entries: tuple[ModelEntry, ...] = ()
    damaged: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] | None = None

    @classmethod
    def read(cls, folder: Path) -> Models:
        """Read the registry of a project (in a worker); raises `ProjectError` if it is damaged."""
        registry = ModelRegistry(folder)
        return cls(
            folder,
            tuple(registry.entries()),
            registry.damaged(),
            registry.choices(),
            registry.previous(),
        )

    def entry(self, run_id: str | None) -> ModelEntry | None:
        """Return a run, None if there is none of that id."""
        return next((entry for entry in self.entries if entry.id == run_id), None)

    @property
    def in_use(self) -> tuple[str, ...]:
        """Ids of the runs in use, the newest last."""
        return tuple(sorted(set(self.choices.values()), key=int))

    @property
    def name(self) -> str:
        """What is in use, in words."""
        return name_of(self.choices)

    def weights(self, kind: str) -> str | None:
        """Return the file of the weights in use, None for the shipped ones.

        Whether they are sound is seen by whoever loads them: nothing is replaced silently.
        """
        run_id = self.choices.get(kind)
        if run_id is None or self.folder is None:
            return None
        return str(ModelRegistry(self.folder).weights_path(run_id, kind))

    def unseen(self, entries: Sequence[ImageEntry]) -> list[ImageEntry]:
        """Return the accepted images that no model in use was trained on or judged by."""
        seen: set[str] = set()
        for run_id in self.in_use:
            entry = self.entry(run_id)
            if entry is not None and entry.split is not None:
                seen |= {*entry.split.train, *entry.split.validation}
        return [e for e in entries if e.state is State.ACCEPTED and e.path not in seen]


def name_of(choices: Mapping[str, str]) -> str:
    """Return in words which models a choice stands for."""
    ids = sorted(set(choices.values()), key=int)
    return f"model {' and '.join(ids)}" if ids else SHIPPED_NAME


@dataclass(frozen=True)
class Invitation:
    """What the panel says before a training: the state, what it takes, and whether it can start."""

    text: str
    hint: str
    ready: bool


def invitation(
    entries: Sequence[ImageEntry], models: Models, parts: Sequence[str], preset: str
) -> Invitation:
    """Say what is new, how long a training takes, or what is missing for it."""
    accepted = [entry for entry in entries if entry.state is State.ACCEPTED]
    if (missing := LEAST_IMAGES - len(accepted)) > 0:
        return Invitation(
            f"{_images(len(accepted))} accepted. Training needs at least {LEAST_IMAGES}: "
            f"accept {missing} more.",
            "Detect, correct and accept images in the tab Annotate; ten or more are better.",
            False,
        )
    if len({entry.patient or entry.sha256 for entry in accepted}) < 2:
        return Invitation(
            f"{_images(len(accepted))} accepted, all of one patient.",
            "Accept images of another patient, too: some are held out to judge the new model.",
            False,
        )
    if not parts:
        return Invitation(_news(accepted, entries, models), "Choose what to train.", False)
    return Invitation(
        _news(accepted, entries, models), _effort(len(accepted), models, parts, preset), True
    )


def _news(accepted: Sequence[ImageEntry], entries: Sequence[ImageEntry], models: Models) -> str:
    new = len(models.unseen(entries))
    if not models.choices:
        return f"{_images(len(accepted))} accepted, none of them known to {SHIPPED_NAME}."
    if not new:
        return f"Nothing new: {models.name} knows all {len(accepted)} accepted images."
    return f"{_images(new)} accepted since {models.name} was trained ({len(accepted)} in all)."


def _effort(count: int, models: Models, parts: Sequence[str], preset: str) -> str:
    seconds = estimate(count, models, parts, preset)
    if seconds is None:
        takes = "Preset paper takes hours on a CPU." if preset == "paper" else ""
    else:
        takes = f"Training takes {about(seconds)}."
    return f"{takes} You can go on annotating meanwhile.".strip()


def estimate(count: int, models: Models, parts: Sequence[str], preset: str) -> float | None:
    """Return about how many seconds a training on `count` images takes, None if nothing is known.

    The last training of the same kind is the best witness: it ran on this machine.
    """
    for entry in reversed(models.entries):
        alike = (entry.preset, set(entry.parts)) == (preset, set(parts))
        if alike and entry.status == "done" and entry.split is not None:
            then = len(entry.split.train) + len(entry.split.validation)
            return entry.seconds * _growth(count) / _growth(then)
    if preset != "fast":
        return None
    known = [FAST_SECONDS[part] for part in parts if part in FAST_SECONDS]
    return sum(known) * _growth(count) if len(known) == len(parts) else None


def _growth(images: int) -> float:
    """Return how much longer than on few images: steps grow with the root (`train_parts.grown`)."""
    return math.sqrt(max(images, FEW) / FEW)


def about(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 50:
        return "less than a minute"
    if seconds < 5400:
        minutes = max(1, round(seconds / 60))
        return f"about {minutes} minute{'s' if minutes > 1 else ''}"
    return f"about {round(seconds / 3600)} hours"


def _images(count: int) -> str:
    return f"{count or 'No'} image{'s' if count > 1 else ''}"
