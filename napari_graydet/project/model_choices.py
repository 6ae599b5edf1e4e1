"""Which models are in use, and what was before: `active.json`, a history that can be undone."""

from __future__ import annotations

from pathlib import Path

from napari_graydet.errors import DamagedProjectError, ProjectError
from napari_graydet.io.files import atomic_write_text
from napari_graydet.io.weights import SHIPPED
from napari_graydet.project.model_entry import FORMAT, read_record
from napari_graydet.project.schema import Record

ACTIVE_FILE = "active.json"

MOST_STEPS_BACK = 200

Choice = dict[str, str]
"""By kind of weights the id of the run in use; a kind that is missing uses shipped weights."""


class _Active(Record):
    """Contents of `active.json`: every choice ever made, the last one counts."""

    format: int = FORMAT
    history: tuple[Choice, ...] = ()


class ModelChoices:
    """The choices of a project, each on top of the one before.

    Parameters
    ----------
    folder
        ``<project>/models``.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ACTIVE_FILE

    def history(self) -> tuple[Choice, ...]:
        """Return all choices, the last one in use.

        Raises
        ------
        DamagedProjectError
            If the file is damaged; it is kept as it is.
        NewerSchemaError
            If a newer version of the program wrote it.
        """
        if not self._path.exists():
            return ()
        try:
            return read_record(self._path, _Active).history
        except DamagedProjectError as error:
            raise DamagedProjectError(
                f"{error} Rename it to begin again with the {SHIPPED} models, and choose anew."
            ) from error

    def now(self) -> Choice:
        """Return what is in use."""
        history = self.history()
        return dict(history[-1]) if history else {}

    def before(self) -> Choice | None:
        """Return what was in use before the last choice; None if there was none."""
        history = self.history()
        if not history:
            return None
        return dict(history[-2]) if len(history) > 1 else {}

    def choose(self, choice: Choice) -> Choice:
        """Use these from now on; a choice that changes nothing is not remembered."""
        if choice != self.now():
            self._write((*self.history(), choice)[-MOST_STEPS_BACK:])
        return choice

    def undo(self) -> None:
        """Forget the last choice."""
        self._write(self.history()[:-1])

    def _write(self, history: tuple[Choice, ...]) -> None:
        text = _Active(history=history).model_dump_json(indent=2)
        atomic_write_text(self._path, text + "\n", error=ProjectError)
