"""`doctor` reports whatever it finds, and never falls over what is missing."""

from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path

import pytest

from napari_graydet.cli import checks
from napari_graydet.cli.checks import Status
from napari_graydet.models import loading
from tests.cli.runner import run


def test_doctor_as_a_whole() -> None:
    outcome = run("doctor", "--json")
    assert outcome.code in (0, 1)
    found = {check["name"]: check for check in outcome.document["checks"]}
    assert found["numpy"]["detail"] == importlib.metadata.version("numpy")
    assert {"Qt binding", "device", "ROI weights", "3D box weights"} <= set(found)
    failed = [check for check in found.values() if check["status"] == "failed"]
    assert outcome.document["ok"] == (not failed) == (outcome.code == 0)
    assert "Traceback" not in outcome.err


def test_a_table_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = checks.Check("torch", Status.FAILED, "not installed", "pip install torch")
    monkeypatch.setattr(checks, "all_checks", lambda: iter([broken]))
    outcome = run("doctor")
    assert outcome.code == 1
    assert "-> pip install torch" in outcome.out


def test_a_missing_package() -> None:
    assert checks.package_check("no-such-package-anywhere").status is Status.FAILED


def test_a_compromised_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "8.3.41")
    assert checks.package_check("ultralytics").status is Status.FAILED
    assert checks.package_check("numpy").status is Status.OK


def test_a_child_that_dies_prints_nonsense_or_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.probe("raise SystemExit('no display')") == "no display"
    assert "ended" in str(checks.probe("import os; os.abort()"))
    assert checks.probe("print('chatter'); print('{\"a\": 1}')") == {"a": 1}
    monkeypatch.setattr(checks, "_SECONDS", 0.5)
    assert "no answer" in str(checks.probe("import time; time.sleep(60)"))


def test_no_display_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([{"binding": "pyqt6", "qt": "6"}, "could not connect to display"])
    monkeypatch.setattr(checks, "probe", lambda _: next(answers))
    found = list(checks.window_checks())
    assert [check.status for check in found] == [Status.OK, Status.WARNING]
    assert "xvfb" in found[1].hint


def test_missing_and_damaged_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(loading, "_WEIGHTS", tmp_path)
    assert checks.weights_check("roi").status is Status.FAILED
    (tmp_path / "roi.safetensors").write_bytes(b"damaged")
    assert checks.weights_check("roi").status is Status.FAILED


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    assert checks.write_check("here", tmp_path).status is Status.OK
    assert checks.write_check("there", tmp_path / "missing").status is Status.WARNING
    assert list(tmp_path.iterdir()) == []


def test_the_interpreter_itself_cannot_be_started() -> None:
    def refuse(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        raise PermissionError("not allowed")

    assert checks.probe("1", run=refuse) == "not allowed"
