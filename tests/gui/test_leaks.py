"""R27: panels that are opened and closed, and images gone through, leave nothing behind.

In a process of its own (see leaks_child.py), so that other tests' windows do not count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.gui.fakes import make_folder

pytestmark = pytest.mark.gui

ROOT = Path(__file__).parents[2]
IMAGES = 3
MANY = 100
"""From here on memory is looked at as well: what is needed at first, and kept, hides the rest."""


def held_after(what: str, rounds: int, tmp_path: Path) -> dict[str, Any]:
    """Return of what a window holds more after so many rounds: one or more for each."""
    report = tmp_path / "report.json"
    folder = make_folder(tmp_path / "study", IMAGES)
    command = [sys.executable, "-m", "tests.gui.leaks_child"]
    own = {"NAPARI_CONFIG": str(tmp_path / "settings.yaml"), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        [*command, what, str(rounds), str(folder), str(report)],
        cwd=ROOT, env=os.environ | own, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(report.read_text())
    for kind in ("objects", "widgets"):
        found[kind] = [name for name, more in found[kind].items() if more >= rounds]
    return found


@pytest.mark.parametrize("times", [15, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.timeout(1800)
def test_images_gone_through_leave_nothing(tmp_path: Path, times: int) -> None:
    found = held_after("images", times // IMAGES, tmp_path)
    assert not found["objects"] and not found["widgets"]
    assert times < MANY or found["memory"] < 5, "MiB"


@pytest.mark.parametrize("times", [5, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.timeout(1800)
def test_panels_opened_and_closed_leave_nothing_but_what_napari_keeps_of_a_canvas(
    tmp_path: Path, times: int
) -> None:
    found = held_after("panels", times, tmp_path)
    assert not found["objects"] and not found["widgets"]
    assert times < MANY or found["memory"] < 4 * times, "MiB; see docs/benchmarks.md"
