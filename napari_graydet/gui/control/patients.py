"""Whose images they are, as the panel Train says and asks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from napari_graydet.errors import DatasetError
from napari_graydet.project.kept_patients import KeptPatients
from napari_graydet.project.patients import PatientRule, people
from napari_graydet.project.schema import ImageEntry, State
from napari_graydet.project.settings import is_table

if TYPE_CHECKING:
    from napari_graydet.gui.control.controller import Controller


LOOKED_AT = 1000
"""Images that a rule is tried on while it is written."""

EXAMPLES = 3
"""Patients that are shown then, and images of each."""

ALONE = "each image counts as its own patient"

USUAL = {
    "What comes before the first _": r"^([^_]+)_",
    "What comes before the first -": r"^([^-]+)-",
    "The first number in the name": r"(\d+)",
    "The folder": r"^(.+)/",
}
"""Rules that people have."""


@dataclass(frozen=True)
class Owners:
    """What the panel says about patients, and whether a training could be split by them."""

    text: str
    known: bool


def owners(entries: Sequence[ImageEntry], kept: KeptPatients | None) -> Owners:
    """Say how many patients the accepted images are of."""
    accepted = [entry for entry in entries if entry.state is State.ACCEPTED]
    if kept is None or kept.text is None:
        return Owners(f"{ALONE.capitalize()}.", True)
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


@dataclass(frozen=True)
class Preview:
    """What a rule would say of a project's images, and whether the project could keep it."""

    text: str
    fits: bool
    patients: int = 0


def preview(
    entries: Sequence[ImageEntry], rule: str, folder: Path, *, kept: bool = False
) -> Preview:
    """Try a rule on the images of a project, of many on the first `LOOKED_AT`.

    No rule fits where one is `kept`, which is taken away then.
    """
    tried = list(entries[:LOOKED_AT])
    if not rule.strip():
        return Preview(f"No rule{'' if kept else ' yet'}: {ALONE}.", kept)
    try:
        given = PatientRule.given(_as_given(rule, folder))
        given.require(entry.path for entry in tried)
    except DatasetError as error:
        return Preview(str(error), False)
    found = [e.model_copy(update={"patient": given.find(e.path)}) for e in tried]
    of = people(found)
    groups: dict[str, list[ImageEntry]] = {}
    for entry in found:
        groups.setdefault(of[entry.path], []).append(entry)
    count = len(groups)
    head = (
        f"{'The first ' if len(tried) < len(entries) else ''}{len(tried)} images are of {count} "
        f"patient{'' if count == 1 else 's'}"
    )
    shown = [_example(group) for group in list(groups.values())[:EXAMPLES]]
    return Preview("\n".join([f"{head}:", *shown, *(["…"] * (count > EXAMPLES))]), True, count)


def _example(group: Sequence[ImageEntry]) -> str:
    """Return a patient and the first images of it."""
    names = [PurePosixPath(entry.path).stem for entry in group[:EXAMPLES]]
    more = f" and {len(group) - EXAMPLES} more" if len(group) > EXAMPLES else ""
    return f"{group[0].patient}: {', '.join(names)}{more}"


def suggestions(entries: Sequence[ImageEntry]) -> dict[str, str]:
    """Return rules that bring some images of a project together, but not all, by what they mean."""
    found = {}
    for meaning, rule in USUAL.items():
        tried = preview(entries, rule, Path())
        if tried.fits and 1 < tried.patients < len(entries[:LOOKED_AT]):
            found[f"{meaning}: {tried.patients} patients"] = rule
    return found


def set_rule(controller: Controller, text: str) -> None:
    """Give the project a rule of patients, or none (in a worker), and say what came of it."""
    recorder, text = controller.recorder, text.strip()
    if recorder is None:
        return
    store = recorder.store
    rule = _as_given(text, store.folder)

    def done(notices: tuple[str, ...]) -> None:
        if controller.recorder is recorder:  # no other project was opened meanwhile
            recorder.refresh_entries()
            controller.say(" ".join(notices), "info" if len(notices) == 1 else "warning")

    controller.jobs.run(
        lambda _progress, _cancel: store.set_patients(rule) if rule else store.drop_patients(),
        done=done,
        failed=controller.fail,
    )


def _as_given(text: str, folder: Path) -> str:
    """Return a rule as it is meant: ~ is the user's folder, and the project's own file is known."""
    text = text.strip()
    if not is_table(text):
        return text
    path = Path(text).expanduser()
    return str(folder / path if (folder / path).is_file() else path)
