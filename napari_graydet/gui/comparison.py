"""Old and new model side by side on the held-out images. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_graydet.errors import CancelledError, GraydetError
from napari_graydet.gui.images import read_entry_image
from napari_graydet.gui.scored import LabelMap, Scored, as_dice, evaluate_project
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

    `ceiling` is the best DSC that one gray range per part can reach in the image; `changed` is
    1 - IoU of the two masks of the image; figures that don't exist are None.
    """

    image: str
    label: str
    old: float | None
    new: float | None
    ceiling: float | None
    changed: float | None

    @property
    def gain(self) -> float | None:
        """New DSC minus old."""
        return None if self.old is None or self.new is None else self.new - self.old


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
        """Say in a sentence which one is better."""
        new = self.new.mean("dice")
        count = len(self.new.images)
        where = f"{count} held-out image{'' if count == 1 else 's'}"
        if self.old is None:
            return (
                f"{self.why_no_old} The new model reaches a mean DSC of {_shown(new)} on {where}"
                f"{self._at_best}."
            )
        old = self.old.mean("dice")
        gains = [change.gain for change in self.changes if change.gain is not None]
        better, worse = sum(g > SAME for g in gains), sum(g < -SAME for g in gains)
        return (
            f"Mean DSC {_shown(old)} → {_shown(new)} on {where}{self._at_best}: "
            f"better on {better}, worse on {worse}, same on {len(gains) - better - worse}."
        )

    @property
    def _at_best(self) -> str:
        """What gray ranges alone can reach there, in brackets."""
        known = [change.ceiling for change in self.changes if change.ceiling is not None]
        return f" (gray ranges alone: {_shown(sum(known) / len(known))} at best)" if known else ""

    @property
    def better(self) -> bool | None:
        """Whether the new model is better in the mean; None if there is no telling."""
        old, new = self.old.mean("dice") if self.old else None, self.new.mean("dice")
        return None if old is None or new is None else new > old


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
