"""Trained models of a project: one folder a run, never overwritten, and which of them are in use.

    models/active.json       which run is in use for each kind, and what was before
    models/0003/run.json     parent, parts, preset, data, split, seed, versions, scores, status
    models/0003/roi.safetensors, roi.json, boxes.safetensors, boxes.json, ...

A run's folder holds weights only once it has ended well: whatever was cancelled, killed or failed
can be seen in the list, and can never be put in use. While it runs, its checkpoints stand in
`work` below its folder and its process holds `lock`; a file `stop` asks it to stop within a batch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, JsonValue, ValidationError

from napari_graydet.errors import DamagedProjectError, NewerSchemaError, ProjectError
from napari_graydet.io.files import atomic_write_text, read_bytes, reason_of, sha256_of
from napari_graydet.io.lock import exclusive
from napari_graydet.io.weights import read_card
from napari_graydet.project.schema import Record

FOLDER, RUN_FILE, ACTIVE_FILE = "models", "run.json", "active.json"
STOP_FILE, LOCK_FILE, LOG_FILE, WORK_FOLDER = "stop", "lock", "log.jsonl", "work"
FORMAT = 1

SHIPPED = "shipped"
"""Parent of a run that started from the weights that come with the package."""

RANDOM = "random"
"""Parent of a run that started from random weights."""

MOST_BYTES = 32 << 20
"""No run.json, with the names of all images, comes near this."""

MOST_STEPS_BACK = 200

Status = Literal["running", "done", "failed", "cancelled"]
Scores = dict[str, float]
T = TypeVar("T", bound=Record)


class SplitNote(Record):
    """Names of the images on each side of a run's split."""

    seed: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()


class ModelEntry(Record):
    """One training run, as `run.json` keeps it.

    Parameters
    ----------
    id
        Name of its folder.
    status
        "running" also after a kill, until it is resumed.
    parts, preset, seed
        What was trained and how.
    parents
        By kind what it started from, or worked with: a run's id, `SHIPPED`, `RANDOM`, or the name
        of a weights file.
    classes
        Labels that it learned.
    data
        SHA-256 over image hashes and labels: the data's snapshot.
    split
        Who was trained on, who chose the moment to stop, who was left alone.
    revisions
        Of the images then, in a project: one that was changed since is news.
    request
        What was asked for: enough to go on after a kill.
    versions
        Package versions.
    started, ended, seconds
        When, and how long it computed (over all resumptions).
    weights
        By kind the SHA-256 of ``<kind>.safetensors``.
    scores, parent_scores
        By kind the figures on the held-out (validation) images, of this run and of its parent.
    notes
        By kind what there is to know about the new weights.
    message
        Why it failed.
    """

    format: int = FORMAT
    id: str
    status: Status
    parts: tuple[str, ...]
    preset: str
    seed: int
    parents: dict[str, str] = Field(default_factory=dict)
    classes: tuple[str, ...] = ()
    data: str = ""
    split: SplitNote | None = None
    revisions: dict[str, int] = Field(default_factory=dict)
    request: dict[str, JsonValue] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    started: datetime
    ended: datetime | None = None
    seconds: Annotated[float, Field(ge=0)] = 0.0
    weights: dict[str, str] = Field(default_factory=dict)
    scores: dict[str, Scores] = Field(default_factory=dict)
    parent_scores: dict[str, Scores] = Field(default_factory=dict)
    notes: dict[str, str] = Field(default_factory=dict)
    message: str | None = None


class _Active(Record):
    """Contents of `active.json`: every choice ever made, the last one counts."""

    format: int = FORMAT
    history: tuple[dict[str, str], ...] = ()


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
        entry = ModelEntry(
            id=self._new_folder(),
            status="running",
            parts=tuple(parts),
            preset=preset,
            seed=seed,
            request=dict(request),
            versions=dict(versions),
            started=datetime.now(UTC),
        )
        self.write(entry)
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

    def entries(self) -> list[ModelEntry]:
        """Return all runs that can be read, oldest first; `damaged` names the others."""
        return self._read_all()[0]

    def damaged(self) -> dict[str, str]:
        """Return by id why a run cannot be read."""
        return self._read_all()[1]

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
        entry = _read(path, ModelEntry)
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
        return None if run_id is None else self.entry(run_id)

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
        self._check(entry, kind)
        return self.weights_path(entry.id, kind)

    def choices(self) -> dict[str, str]:
        """Return by kind the id of the run in use; a kind that is missing uses shipped weights."""
        history = self._active().history
        return dict(history[-1]) if history else {}

    def activate(self, run_id: str, kinds: Iterable[str] | None = None) -> dict[str, str]:
        """Put a run's weights in use, all of them or those of some kinds.

        Where a run found out that the boxes alone are better than its refiner, none is in use
        afterwards; nor with boxes of preset "paper", which has none.

        Returns
        -------
        dict
            By kind the id of the run in use from now on.

        Raises
        ------
        ProjectError
            If the run has not ended well, has no such weights, or they are damaged.
        """
        entry = self.entry(run_id)
        wanted = list(entry.weights) if kinds is None else list(kinds)
        if entry.status != "done" or not wanted:
            raise ProjectError(
                f"Model {run_id} is {entry.status} and has no weights to use; resume or repeat it."
            )
        return self._choose(self._choices_with(entry, wanted))

    def choices_with(self, run_id: str) -> dict[str, str]:
        """Return by kind the run that would be in use after `activate`.

        Raises
        ------
        ProjectError
            If weights are gone or damaged.
        """
        entry = self.entry(run_id)
        return self._choices_with(entry, list(entry.weights))

    def _choices_with(self, entry: ModelEntry, wanted: Sequence[str]) -> dict[str, str]:
        choices = self.choices()
        for kind in wanted:
            self._check(entry, kind)
            choices[kind] = entry.id
            if not read_card(self.weights_path(entry.id, kind)).is_of_use:
                del choices[kind]
        if "boxes" in wanted and entry.preset == "paper" and "refiner" not in wanted:
            choices.pop("refiner", None)
        return choices

    def previous(self) -> dict[str, str] | None:
        """Return what `roll_back` would put in use; None if there is nothing to undo."""
        history = self._active().history
        if not history:
            return None
        return dict(history[-2]) if len(history) > 1 else {}

    def roll_back(self) -> dict[str, str]:
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
            self._check(self.entry(run_id), kind)
        self._write_active(self._active().history[:-1])
        return before

    # --- inside -------------------------------------------------------------------------------

    def _new_folder(self) -> str:
        """Make the folder of the next free number; two processes never get the same one."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            number = max((int(run_id) for run_id in self._ids()), default=0)
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

    def _ids(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        names = (path.name for path in self.folder.iterdir() if path.is_dir())
        return sorted((n for n in names if n.isascii() and n.isdecimal()), key=int)

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
                "kept as it is, use another model."
            )

    def _active(self) -> _Active:
        path = self.folder / ACTIVE_FILE
        return _read(path, _Active) if path.exists() else _Active()

    def _choose(self, choices: dict[str, str]) -> dict[str, str]:
        if choices != self.choices():
            self._write_active((*self._active().history, choices)[-MOST_STEPS_BACK:])
        return choices

    def _write_active(self, history: tuple[dict[str, str], ...]) -> None:
        text = _Active(history=history).model_dump_json(indent=2)
        atomic_write_text(self.folder / ACTIVE_FILE, text + "\n", error=ProjectError)


def _read(path: Path, kind: type[T]) -> T:
    """Read a JSON file of ours; it is never taken for empty."""
    text = read_bytes(
        path, max_bytes=MOST_BYTES, error=DamagedProjectError, limit_error=DamagedProjectError
    )
    try:
        values = json.loads(text)
        version = values.get("format") if isinstance(values, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise NewerSchemaError(
                f"{path} has format {version}, this version of napari-graydet knows up to "
                f"{FORMAT}; update napari-graydet. It was left untouched."
            )
        return kind.model_validate(values)
    except (ValueError, RecursionError, ValidationError) as error:
        reason = reason_of(error)
        raise DamagedProjectError(f"{path} is damaged ({reason}); it was kept as it is.") from error
