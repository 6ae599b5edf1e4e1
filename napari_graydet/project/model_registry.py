"""Trained models of a project: one folder a run, never overwritten, and which of them are in use.

    models/active.json       which run is in use for each kind, and what was before
    models/deleted           the highest number that was deleted: none is given twice
    models/0003/run.json     parent, parts, preset, data, split, seed, versions, scores, status
    models/0003/roi.safetensors, roi.json, boxes.safetensors, boxes.json, ...

A run's folder holds weights only once it has ended well: whatever was cancelled, killed or failed
can be seen in the list, and can never be put in use. While it runs, its checkpoints stand in
`work` below its folder and its process holds `lock`; a file `stop` asks it to stop within a batch.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from napari_graydet.errors import DamagedProjectError, ProjectError
from napari_graydet.io.files import atomic_write_text, reason_of, sha256_of
from napari_graydet.io.lock import exclusive
from napari_graydet.io.weights import KINDS, SHIPPED, read_card
from napari_graydet.project.model_choices import Choice, ModelChoices
from napari_graydet.project.model_entry import ModelEntry, Status, read_record

FOLDER, RUN_FILE, DELETED_FILE = "models", "run.json", "deleted"
STOP_FILE, LOCK_FILE, LOG_FILE, WORK_FOLDER = "stop", "lock", "log.jsonl", "work"

_WAY_OUT = f"use another model, or the {SHIPPED} one"


class ModelRegistry:
    """The models of a project, or of any folder that training is told to write to.

    Parameters
    ----------
    folder
        The project folder; the models stand in ``models`` below it.

    Attributes
    ----------
    folder
        ``<project>/models``; made when the first run starts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).absolute() / FOLDER
        self._chosen = ModelChoices(self.folder)

    # --- runs ---------------------------------------------------------------------------------

    def begin(
        self,
        parts: Iterable[str],
        *,
        preset: str,
        seed: int,
        request: Mapping[str, JsonValue],
        versions: Mapping[str, str],
    ) -> ModelEntry:
        """Make a folder for a new run and return its entry, status "running".

        Raises
        ------
        ProjectError
            If the folder cannot be written.
        """
        run_id = self._new_folder()
        with contextlib.ExitStack() as undo:
            undo.callback(self._remove_empty, run_id)  # it would look like a damaged run for ever
            entry = ModelEntry(
                id=run_id,
                status="running",
                parts=tuple(parts),
                preset=preset,
                seed=seed,
                request=dict(request),
                versions=dict(versions),
                started=datetime.now(UTC),
            )
            self.write(entry)
            undo.pop_all()
        return entry

    def write(self, entry: ModelEntry) -> None:
        """Write an entry's `run.json`, whole or not at all."""
        path = self.run_folder(entry.id) / RUN_FILE
        atomic_write_text(path, entry.model_dump_json(indent=2) + "\n", error=ProjectError)

    def end(self, entry: ModelEntry, status: Status, message: str | None = None) -> ModelEntry:
        """Write how a run ended; only "done" has weights, whose digests are taken now.

        Returns
        -------
        ModelEntry
            The entry as written.
        """
        folder = self.run_folder(entry.id)
        files = sorted(folder.glob("*.safetensors")) if status == "done" else []
        entry = entry.model_copy(
            update={
                "status": status,
                "ended": datetime.now(UTC),
                "weights": {path.stem: sha256_of(path, error=ProjectError) for path in files},
                "message": message,
            }
        )
        self.write(entry)
        (folder / STOP_FILE).unlink(missing_ok=True)
        return entry

    def delete(self, run_id: str) -> None:
        """Delete a run with all that it holds.

        Raises
        ------
        ProjectError
            If there is none of that id, it is in use, would be after `roll_back`, or is being
            trained; or if it cannot be deleted.
        """
        if run_id not in self._ids():
            self.entry(run_id)  # says what there is
        if (why := self.needed().get(run_id)) is not None:
            raise ProjectError(f"Model {run_id} cannot be deleted: {why}.")
        if self.is_training(run_id):
            raise ProjectError(f"Model {run_id} is being trained; stop it first.")
        try:
            self._remember(int(run_id))
            aside = self.folder / f".deleted-{run_id}"
            if aside.exists():  # of a deletion that was cut off
                shutil.rmtree(aside)
            shutil.rmtree(self.run_folder(run_id).replace(aside))
        except OSError as error:
            raise ProjectError(f"Cannot delete model {run_id}: {reason_of(error)}.") from error

    def needed(self) -> dict[str, str]:
        """Return by id why a run cannot be done without; a model's training is no reason here."""
        reasons = {
            parent: f"model {entry.id} started from it and is not done; finish it, or delete it"
            for entry in self.entries()
            for parent in entry.parents.values()
            if entry.status != "done"
        }
        back = "rolling back would use it again; choose another one first"
        reasons |= dict.fromkeys((self.previous() or {}).values(), back)
        return reasons | dict.fromkeys(self.choices().values(), "it is in use; use another one")

    def entries(self) -> list[ModelEntry]:
        """Return all runs that can be read, oldest first; `damaged` names the others."""
        return self._read_all()[0]

    def damaged(self) -> dict[str, str]:
        """Return by id why a run cannot be read; one that is in use may also be gone."""
        damaged = self._read_all()[1]
        for kind, run_id in self.choices().items():
            if run_id not in damaged and not self.run_folder(run_id).is_dir():
                damaged[run_id] = (
                    f"Its folder is gone, but its {kind} weights are in use: {_WAY_OUT}."
                )
        return damaged

    def entry(self, run_id: str) -> ModelEntry:
        """Return one run.

        Raises
        ------
        ProjectError
            If there is none of that id.
        DamagedProjectError
            If its `run.json` is damaged; it is kept as it is.
        NewerSchemaError
            If a newer version of the program wrote it.
        """
        if run_id not in self._ids():
            known = ", ".join(self._ids()) or "none yet"
            raise ProjectError(f"There is no model {run_id!r} in {self.folder}, only: {known}.")
        path = self.run_folder(run_id) / RUN_FILE
        entry = read_record(path, ModelEntry)
        if entry.id != run_id:
            raise DamagedProjectError(
                f"{path} is of run {entry.id}, not of {run_id}; it was kept as it is."
            )
        return entry

    def run_folder(self, run_id: str) -> Path:
        """Return a run's folder."""
        return self.folder / run_id

    def weights_path(self, run_id: str, kind: str) -> Path:
        """Return where a run's weights of a kind stand."""
        return self.run_folder(run_id) / f"{kind}.safetensors"

    def is_training(self, run_id: str) -> bool:
        """Return whether a process is at a run now, as "running" alone does not say.

        The lock is tried, and let go at once; a share without locks always says no.
        """
        lock = self.run_folder(run_id) / LOCK_FILE
        if not lock.exists():
            return False
        try:
            with exclusive(lock, error=ProjectError, taken=run_id):
                return False
        except ProjectError as error:  # else it cannot be written: then nobody trains there
            return str(error) == run_id

    def request_stop(self, run_id: str) -> None:
        """Ask a running training to stop within a batch."""
        atomic_write_text(self.run_folder(run_id) / STOP_FILE, "stop\n", error=ProjectError)

    def is_to_stop(self, run_id: str) -> bool:
        """Return whether a running training was asked to stop."""
        return (self.run_folder(run_id) / STOP_FILE).exists()

    # --- what is in use -----------------------------------------------------------------------

    def active(self, kind: str) -> ModelEntry | None:
        """Return the run whose weights of a kind are in use; None for the shipped weights.

        Raises
        ------
        ProjectError
            If that run or the list of choices is gone or damaged.
        """
        run_id = self.choices().get(kind)
        if run_id is None:
            return None
        with _with_way_out(kind):
            return self.entry(run_id)

    def active_weights(self, kind: str) -> Path | None:
        """Return the weights of a kind that are in use; None for the shipped ones.

        Raises
        ------
        ProjectError
            If they are gone, damaged or not those of the run.
        """
        entry = self.active(kind)
        if entry is None:
            return None
        with _with_way_out(kind):
            self._check(entry, kind)
        return self.weights_path(entry.id, kind)

    def choices(self) -> Choice:
        """Return by kind the id of the run in use; a kind that is missing uses shipped weights."""
        return self._chosen.now()

    def activate(self, run_id: str, kinds: Iterable[str] | None = None) -> Choice:
        """Put a run's weights in use, all of them or those of some kinds; or the `SHIPPED` ones.

        Where a run found out that the boxes alone are better than its refiner, none is in use
        afterwards; nor with boxes of preset "paper", which has none.

        Returns
        -------
        dict of str to str
            By kind the id of the run in use from now on.

        Raises
        ------
        ProjectError
            If the run has not ended well, has no such weights, or they are damaged.
        """
        if run_id == SHIPPED:
            return self._choose_shipped(kinds)
        entry = self.entry(run_id)
        wanted = list(entry.weights) if kinds is None else list(kinds)
        if entry.status != "done" or not wanted:
            raise ProjectError(
                f"Model {run_id} is {entry.status} and has no weights to use; resume or repeat it."
            )
        return self._chosen.choose(self._choices_with(entry, wanted))

    def choices_with(self, run_id: str) -> Choice:
        """Return by kind the run that would be in use after `activate`.

        Raises
        ------
        ProjectError
            If weights are gone or damaged.
        """
        entry = self.entry(run_id)
        return self._choices_with(entry, list(entry.weights))

    def _choose_shipped(self, kinds: Iterable[str] | None) -> Choice:
        choices = self.choices()
        wanted = list(choices) if kinds is None else list(kinds)
        if unknown := [kind for kind in wanted if kind not in KINDS]:
            raise ProjectError(f"Expected one of {', '.join(KINDS)}, got {unknown[0]!r}.")
        return self._chosen.choose({k: run_id for k, run_id in choices.items() if k not in wanted})

    def _choices_with(self, entry: ModelEntry, wanted: Sequence[str]) -> Choice:
        choices = self.choices()
        for kind in wanted:
            self._check(entry, kind)
            choices[kind] = entry.id
            if not read_card(self.weights_path(entry.id, kind)).is_of_use:
                del choices[kind]
        if "boxes" in wanted and entry.preset == "paper" and "refiner" not in wanted:
            choices.pop("refiner", None)
        return choices

    def previous(self) -> Choice | None:
        """Return what `roll_back` would put in use; None if there is nothing to undo."""
        return self._chosen.before()

    def roll_back(self) -> Choice:
        """Undo the last `activate`; return by kind the id of the run in use from now on.

        Raises
        ------
        ProjectError
            If there is nothing to undo, or a model that would be used again is gone or damaged.
        """
        before = self.previous()
        if before is None:
            raise ProjectError("The shipped models are in use; there is nothing to roll back to.")
        for kind, run_id in before.items():
            with _with_way_out(kind):
                self._check(self.entry(run_id), kind)
        self._chosen.undo()
        return before

    # --- inside -------------------------------------------------------------------------------

    def _new_folder(self) -> str:
        """Make the folder of the next free number; two processes never get the same one."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            number = max((int(run_id) for run_id in (*self._ids(), *self._mentioned())), default=0)
            while True:
                number += 1
                try:
                    (self.folder / f"{number:04d}").mkdir()
                except FileExistsError:
                    continue
                return f"{number:04d}"
        except OSError as error:
            raise ProjectError(
                f"Cannot make a folder in {self.folder}: {reason_of(error)}; "
                "choose another place for models."
            ) from error

    def _remove_empty(self, run_id: str) -> None:
        with contextlib.suppress(OSError):
            self.run_folder(run_id).rmdir()

    def _ids(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        names = (path.name for path in self.folder.iterdir() if path.is_dir())
        return sorted((n for n in names if _is_id(n)), key=int)

    def _mentioned(self) -> set[str]:
        """Return ids that choices and parents speak of: a new run must not be taken for one."""
        history: tuple[Choice, ...] = ()
        with contextlib.suppress(ProjectError):  # damaged: it is told where it is used
            history = self._chosen.history()
        chosen = (choices.values() for choices in history)
        parents = (entry.parents.values() for entry in self.entries())
        named = {name for names in (*chosen, *parents) for name in names if _is_id(name)}
        return named | {self._remembered()}

    def _remember(self, number: int) -> None:
        """Note the highest number of a run that was deleted."""
        if number > int(self._remembered()):
            atomic_write_text(self.folder / DELETED_FILE, f"{number}\n", error=ProjectError)

    def _remembered(self) -> str:
        try:
            said = (self.folder / DELETED_FILE).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return "0"
        return said if _is_id(said) else "0"

    def _read_all(self) -> tuple[list[ModelEntry], dict[str, str]]:
        sound, damaged = [], {}
        for run_id in self._ids():
            try:
                sound.append(self.entry(run_id))
            except ProjectError as error:
                damaged[run_id] = str(error)
        return sound, damaged

    def _check(self, entry: ModelEntry, kind: str) -> None:
        """Refuse weights that are not, to the bit, those that the run ended with."""
        path = self.weights_path(entry.id, kind)
        if kind not in entry.weights:
            has = ", ".join(entry.weights) or "none"
            raise ProjectError(f"Model {entry.id} has no {kind} weights, only: {has}.")
        digest = sha256_of(path, error=ProjectError)
        if digest != entry.weights[kind] or read_card(path).sha256 != digest:
            raise DamagedProjectError(
                f"{path} is damaged: its SHA-256 is not the one that the run ended with; it was "
                "kept as it is."
            )


@contextlib.contextmanager
def _with_way_out(kind: str) -> Iterator[None]:
    """Say what can be done where a model that was chosen cannot be used."""
    try:
        yield
    except ProjectError as error:
        told = str(error).rstrip(".")
        raise type(error)(f"{told}. It was chosen for {kind}: {_WAY_OUT}.") from error


def _is_id(name: str) -> bool:
    return name.isascii() and name.isdecimal()
