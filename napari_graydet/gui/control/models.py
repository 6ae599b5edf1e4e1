"""The trained models of a project as the window shows them, read in a worker."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_graydet.project.model_entry import ModelEntry
from napari_graydet.project.model_registry import ModelRegistry
from napari_graydet.project.schema import ImageEntry, State
from napari_graydet.workflows.training.job import (
    FAST_BOX_STEPS,
    FAST_REFINER_STEPS,
    FAST_ROI_STEPS,
    grown,
)
from napari_graydet.workflows.training.parts import PARTS

SHIPPED_NAME = "the shipped model"

LEAST_IMAGES = 5
"""Accepted images from which on the window offers training: with fewer, one would be held out to
judge the result, and what is left is too little to learn from."""

STEPS = {"roi": FAST_ROI_STEPS, "boxes": FAST_BOX_STEPS, "refiner": FAST_REFINER_STEPS}
"""Steps of each part in preset `fast` on few images."""

STEP_SECONDS = {"roi": 0.67, "boxes": 0.29, "refiner": 0.19}
"""Of each part on a CPU, for a first training: 73 minutes for 6,585 steps and 48 for 10,000, as the
shipped weights were made; 0.12, 0.3 and 0.25 s of CPU a step of the refiner's three networks."""

SLOWER = 3.0
"""How much longer it may take on a busy machine: 777 s, where the steps alone come to 250
(benchmarks/results/loop.json)."""


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
    alive
        Ids of the runs that a process is at: this window's, or another's.
    stopping
        Those of them that were asked to stop.
    needed
        By id why others cannot be deleted.
    """

    folder: Path | None = None
    entries: tuple[ModelEntry, ...] = ()
    damaged: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] | None = None
    alive: frozenset[str] = frozenset()
    stopping: frozenset[str] = frozenset()
    needed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Models:
        """Read the registry of a project (in a worker); raises `ProjectError` if it is damaged."""
        registry = ModelRegistry(folder)
        entries = tuple(registry.entries())
        open_ids = (entry.id for entry in entries if entry.status != "done")
        alive = frozenset(run_id for run_id in open_ids if registry.is_training(run_id))
        return cls(
            folder,
            entries,
            registry.damaged(),
            registry.choices(),
            registry.previous(),
            alive,
            frozenset(run_id for run_id in alive if registry.is_to_stop(run_id)),
            registry.needed(),
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
        """Return the accepted images that no model in use was trained on or judged by.

        One that was changed and accepted again since then is among them.
        """
        seen: dict[str, float] = {}
        for run_id in self.in_use:
            entry = self.entry(run_id)
            if entry is not None and entry.split is not None:
                for path in (*entry.split.train, *entry.split.validation):
                    then = entry.revisions.get(path, math.inf)  # older models do not know
                    seen[path] = max(seen.get(path, -1), then)
        return [
            e for e in entries if e.state is State.ACCEPTED and e.revision > seen.get(e.path, -1)
        ]


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
    seconds = measured(count, models, parts, preset)
    if seconds is not None:
        takes = f"Training takes {about(seconds)}, judging by the last one."
    elif preset == "paper":
        takes = "Preset paper takes hours on a CPU."
    else:
        takes = _rough(count, parts)
    if models.alive:  # of another process: while this window trains, nobody is invited
        takes = f"{takes} {_busy(models.alive)}"
    return f"{takes} You can go on annotating meanwhile.".strip()


def _busy(alive: Collection[str]) -> str:
    """Say which trainings other processes are at."""
    ids = sorted(alive, key=int)
    who, what = ("Model", "is") if len(ids) == 1 else ("Models", "are")
    return f"{who} {', '.join(ids)} {what} being trained by another process: that slows both."


def measured(count: int, models: Models, parts: Sequence[str], preset: str) -> float | None:
    """Return about how many seconds a training on `count` images takes; None before the first one.

    The last training with the preset is the witness: it ran on this machine. Other parts, and more
    images, are reckoned from it.
    """
    for entry in reversed(models.entries):
        free = not (entry.request.get("minutes") or entry.request.get("epochs"))
        if entry.preset == preset and entry.status == "done" and entry.split is not None and free:
            then = len(entry.split.train) + len(entry.split.validation)
            share = _work(parts) / _work(entry.parts)
            return entry.seconds * share * grown(1000, count) / grown(1000, then)
    return None


def _work(parts: Sequence[str]) -> float:
    return sum(PARTS[part].effort for part in parts if part in PARTS) or 1.0


def _rough(count: int, parts: Sequence[str]) -> str:
    """Say what the steps of a first training may take, from slow to fast machines."""
    if any(part not in STEPS for part in parts):
        return ""
    seconds = sum(grown(STEPS[part], count) * STEP_SECONDS[part] for part in parts)
    low = max(1, round(seconds / 60))
    return (
        f"Roughly {low} to {round(SLOWER * low)} minutes on two CPU cores, less on a GPU; the time "
        "left is told as soon as it runs."
    )


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
