"""Running verbs in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from napari_graydet.cli import app
from napari_graydet.models import loading
from tests.workflows.fakes import BrightHalf, FakeRois


@dataclass
class Outcome:
    """Exit status, standard output and standard error of a verb."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def error_lines(self) -> list[str]:
        return self.err.splitlines()


def run(*args: object) -> Outcome:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    return Outcome(result.exit_code, result.stdout, result.stderr)


def use_detectors(
    monkeypatch: pytest.MonkeyPatch, rois: object, boxes: object | None = None
) -> None:
    """Let the registry give these detectors instead of the shipped ones."""

    found = rois if hasattr(rois, "detect") else FakeRois(list(rois))  # type: ignore[call-overload]
    boxes = boxes or BrightHalf()
    monkeypatch.setattr(loading, "load_roi_detector", lambda *_, **__: found)
    monkeypatch.setattr(loading, "load_box_detector", lambda *_, **__: boxes)
