"""Old and new model side by side on the held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_graydet.errors import CancelledError, DatasetError, GraydetError
from napari_graydet.gui.control.images import read_entry_image
from napari_graydet.gui.control.scored import LabelMap, Scored, as_dice, evaluate_project
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows.events import OnProgress, Progress, ShouldCancel, one_line
from napari_graydet.workflows.mask_folder import mask_file

SAME = 0.0005
"""Scores that differ by less are the same: a table shows three digits."""

PICTURE = 380
"""Longest side of a picture, pixels."""

Gray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Change:
    """One held-out image and class: DSC of both models, and how much the mask has changed.

    `ceiling` is the DSC of the best gray range of each part; `changed` is 1 - IoU of the two masks
    of the image; figures that don't exist are None. Where `nothing` is to be found and neither
    model found something, there is nothing to compare.
    """

    image: str
    label: str
    old: float | None
    new: float | None
    ceiling: float | None
    changed: float | None
    nothing: bool = False

    @property
    def gain(self) -> float | None:
        """New DSC minus old."""
        return None if self.old is None or self.new is None else self.new - self.old

    @property
    def counts(self) -> bool:
        """Whether both models were scored, and there was something to find or found."""
        return self.gain is not None and not self.nothing


@dataclass(frozen=True, eq=False)
class Comparison:
    """What the new model does on the held-out images, and what the one in use does.

    Parameters
    ----------
    run_id
        The new model.
    new, old
        Their evaluations; no old one if it cannot be used on these images at all.
    why_no_old
        Why not.
    changes
        One per image and class, those whose masks changed most first.
    """

    run_id: str
    new: Scored
    old: Scored | None
    why_no_old: str
    changes: tuple[Change, ...]

    @property
    def verdict(self) -> str:
        """Say in a sentence which one is better, on what both of them were scored on."""
        if self.old is None:
            return (
                f"{self.why_no_old} The new model reaches a mean DSC of "
                f"{_shown(self.new.mean('dice'))} on {_images(len(self.new.images))}"
                f"{self._best_ranges}."
            )
        gains = self._gains()
        better, worse = sum(g > SAME for g in gains), sum(g < -SAME for g in gains)
        left_out = len({c.image for c in self.changes if c.gain is None})
        missing = f" {left_out} could not be scored with both." if left_out else ""
        same = len(gains) - better - worse
        return (
            f"Mean DSC {_shown(self._mean('old'))} → {_shown(self._mean('new'))} on "
            f"{_images(len(gains))}{self._best_ranges}: "
            f"better on {better}, worse on {worse}, same on {same}.{missing}{self._favour}"
        )

    @property
    def better(self) -> bool | None:
        """Whether the new model is better in the mean; None if there is no telling."""
        old, new = self._mean("old"), self._mean("new")
        return None if old is None or new is None else new > old

    def _mean(self, model: Literal["old", "new"]) -> float | None:
        """Return a model's mean DSC over what counts."""
        values = [getattr(change, model) for change in self.changes if change.counts]
        return fmean(values) if values else None

    @property
    def _favour(self) -> str:
        """Warn of images whose accepted mask is the old model's to the pixel: it cannot be beaten.

        They were accepted as proposed, so they tell how it was judged, not how good it is.
        """
        count = 0 if self.old is None else self.old.as_drawn
        if not count:
            return ""
        what = "One of them was" if count == 1 else f"{count} of them were"
        return f" {what} accepted just as the model in use draws it, which favours that model."

    def _gains(self) -> list[float]:
        """Return for each image what the new model wins in it, in the mean over its classes."""
        gains: dict[str, list[float]] = {}
        for change in self.changes:
            if change.counts:
                gains.setdefault(change.image, []).append(change.gain or 0.0)
        return [fmean(of_image) for of_image in gains.values()]

    @property
    def _best_ranges(self) -> str:
        """What the best gray ranges give there, in brackets."""
        known = [c.ceiling for c in self.changes if c.ceiling is not None and not c.nothing]
        return f" (the best gray range of each part: {_shown(fmean(known))})" if known else ""


def _images(count: int) -> str:
    return f"{count} held-out image{'' if count == 1 else 's'}"


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def compare_models(
    project: Path,
    run_id: str,
    in_use: str,
    place: Path,
    progress: OnProgress,
    should_cancel: ShouldCancel,
    *,
    device: str = "auto",
    command: Sequence[str] | None = None,
) -> Comparison:
    """Evaluate a trained model and those in use on the held-out images (in a worker).

    Parameters
    ----------
    project, run_id
        Where the new model is.
    in_use
        What is in use, in words.
    place
        Folder for the masks.

    Raises
    ------
    CancelledError, ModelError
        As `evaluate_project`, for the new model.
    DatasetError
        If somebody changed the held-out images between the two evaluations.
    """
    arguments: list[str | Path] = [project, "--split", "validation", "--device", device]

    def half(number: int) -> OnProgress:
        return lambda p: progress(Progress(number * p.total + p.done, 2 * p.total, p.name))

    new = evaluate_project(
        [*arguments, "--model", run_id],
        place / "new",
        f"model {run_id}",
        half(0),
        should_cancel,
        command=command,
    )
    old, why = None, ""
    try:
        old = evaluate_project(
            arguments, place / "old", in_use, half(1), should_cancel, command=command
        )
    except CancelledError:
        raise
    except GraydetError as error:
        why = f"The model in use cannot be compared: {one_line(error)}"
    if old is not None and old.document["data"] != new.document["data"]:
        raise DatasetError("the held-out images were changed meanwhile; compare once more.")
    return Comparison(run_id, new, old, why, tuple(_changes(new, old)))


def _changes(new: Scored, old: Scored | None) -> list[Change]:
    before = {(row["image"], row["label"]): row for row in old.rows} if old else {}
    amounts = {name: _amount(name, new, old) for name in new.images}
    changes = [
        Change(
            row["image"],
            row["label"],
            before.get((row["image"], row["label"]), {}).get("dice"),
            row["dice"],
            as_dice(row["ceiling"]),
            amounts[row["image"]],
            row["nothing"] and before.get((row["image"], row["label"]), row)["nothing"],
        )
        for row in new.rows
    ]
    return sorted(changes, key=lambda c: -1.0 if c.changed is None else c.changed, reverse=True)


def _amount(name: str, new: Scored, old: Scored | None) -> float | None:
    """Return how much the masks of an image differ, 0..1."""
    if old is None or name not in old.images:
        return None
    files = [mask_file(one.masks, one.images[name]) for one in (old, new)]
    if not all(file.exists() for file in files):
        return None
    first, second = (np.asarray(Image.open(file)) for file in files)  # we have just written them
    both = (first > 0) & (first == second)
    either = (first > 0) | (second > 0)
    return 1.0 - (float(both.sum() / either.sum()) if either.any() else 1.0)


def pictures(
    store: ProjectStore, name: str, models: Sequence[Scored]
) -> list[tuple[Gray, LabelMap]]:
    """Return for each model a small gray picture of an image and the map of its errors.

    In a worker; raises `GraydetError` if image or mask cannot be read.
    """
    entry = next(e for e in store.entries() if e.path == name)
    image = read_entry_image(store, entry.id)
    record = store.annotation(entry.id)[0]
    step = max(1, -(-max(image.shape) // PICTURE))
    gray = image.display8()[::step, ::step]
    return [(gray, m.errors(name, record, image.pixels)[::step, ::step]) for m in models]
