"""What is known of a training run: the contents of `run.json`."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, JsonValue, ValidationError

from napari_graydet.errors import DamagedProjectError, NewerSchemaError
from napari_graydet.io.files import read_bytes, reason_of
from napari_graydet.project.schema import Record

FORMAT = 1

RANDOM = "random"
"""Parent of a run that started from random weights."""

MOST_BYTES = 32 << 20
"""No run.json, with the names of all images, comes near this."""

Status = Literal["running", "done", "failed", "cancelled"]
Scores = dict[str, float]
T = TypeVar("T", bound=Record)


def main_figures(scores: Scores) -> Scores:
    """Return the figures of what is used, without those of the candidates: "DSC, none" is one."""
    return {name: value for name, value in scores.items() if ", " not in name}


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
    machine
        What it was computed on (`models.machine`); of the last life of a run that was resumed.
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
    machine: dict[str, str | int | bool] = Field(default_factory=dict)
    started: datetime
    ended: datetime | None = None
    seconds: Annotated[float, Field(ge=0)] = 0.0
    weights: dict[str, str] = Field(default_factory=dict)
    scores: dict[str, Scores] = Field(default_factory=dict)
    parent_scores: dict[str, Scores] = Field(default_factory=dict)
    notes: dict[str, str] = Field(default_factory=dict)
    message: str | None = None


def read_record(path: Path, kind: type[T]) -> T:
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
