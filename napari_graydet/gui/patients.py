"""Whose images they are, as the panel Train says and asks it. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from napari_graydet.project.kept_patients import KeptPatients
from napari_graydet.project.patients import people
from napari_graydet.project.schema import ImageEntry, State
from napari_graydet.project.settings import is_table

if TYPE_CHECKING:
    from napari_graydet.gui.controller import Controller


@dataclass(frozen=True)
class Owners:
    """What the panel says about patients, and whether a training could be split by them."""

    text: str
    known: bool


def owners(entries: Sequence[ImageEntry], kept: KeptPatients | None) -> Owners:
    """Say how many patients the accepted images are of."""
    accepted = [entry for entry in entries if entry.state is State.ACCEPTED]
    if kept is None or kept.text is None:
        return Owners("Each image counts as its own patient.", True)
    if kept.rule is None:
        return Owners(" ".join(kept.notices), False)
    missing = [entry.path for entry in accepted if not entry.patient]
    if missing:
        return Owners(
            f"{len(missing)} of {len(accepted)} accepted images have no patient, such as "
            f"{missing[0]}: complete the rule.",
            False,
        )
    count = len(set(people(accepted).values()))
    of = f"of {count} patient{'' if count == 1 else 's'}"
    return Owners(f"The accepted images are {of}." if accepted else "Patients are known.", True)


def question(entries: Sequence[ImageEntry]) -> str:
    """Ask for a rule, and say what it does."""
    names = [PurePosixPath(entry.path).stem for entry in entries[:2]]
    return (
        "Whose image is it? All images of a patient are learned from, or all are held out:\n"
        "a model that is judged by the other knee of a patient looks better than it is.\n\n"
        "Write a regular expression that finds the patient in the file names, in parentheses,\n"
        "such as  ^([^_]+)_  for ann_left.png and ann_right.png;\n"
        "or the path of a CSV file with a line  image,patient  for each image (it is copied).\n\n"
        f"File names of this project: {', '.join(names)}, …"
    )


def set_rule(controller: Controller, text: str) -> None:
    """Give the project a rule of patients (in a worker), and say what came of it."""
    recorder, text = controller.recorder, text.strip()
    if recorder is None or not text:
        return
    store = recorder.store
    rule = str(Path(text).expanduser()) if is_table(text) else text

    def done(notices: tuple[str, ...]) -> None:
        if controller.recorder is recorder:  # no other project was opened meanwhile
            recorder.refresh_entries()
            controller.say(" ".join(notices), "info" if len(notices) == 1 else "warning")

    controller.jobs.run(
        lambda _progress, _cancel: store.set_patients(rule), done=done, failed=controller.fail
    )
