"""`open` and `demo` up to the window's door; what is behind it is tested with the window."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_graydet.cli import window
from napari_graydet.errors import GraydetError, ProjectError
from napari_graydet.workflows import demo as demo_module
from napari_graydet.workflows.demo import sample_folder
from tests.cli.runner import run


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stand in for the window, and tell on what it was opened."""
    found: list[Path] = []
    monkeypatch.setattr("napari_graydet.cli.open.run_window", found.append)
    monkeypatch.setattr("napari_graydet.cli.demo.run_window", found.append)
    monkeypatch.setattr("napari_graydet.cli.demo.require_window", lambda: None)
    return found


@pytest.fixture
def few_samples(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Make one small sample instead of all; tell where."""
    made: list[Path] = []

    def write(folder: Path) -> list[Path]:
        made.append(folder)
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True)
            path = folder / kind / "hand.png"
            Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)
        return [folder / "images" / "hand.png"]

    monkeypatch.setattr(demo_module, "write_samples", write)
    return made


def test_open(opened: list[Path], tmp_path: Path) -> None:
    outcome = run("open", tmp_path, "--json")
    assert outcome.code == 0
    assert outcome.document == {"opened": str(tmp_path)}
    assert opened == [tmp_path]


def test_open_what_is_not_there(opened: list[Path], tmp_path: Path) -> None:
    outcome = run("open", tmp_path / "nowhere")
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert opened == []


def test_demo_keeps_what_was_done_there(
    opened: list[Path], few_samples: list[Path], tmp_path: Path
) -> None:
    place = tmp_path / "demo"
    assert run("demo", "--folder", place).code == 0
    (place / "images" / "annotations.db").write_bytes(b"my work")
    assert run("demo", "--folder", place).code == 0
    assert opened == [place / "images"] * 2
    assert len(few_samples) == 1
    assert (place / "images" / "annotations.db").read_bytes() == b"my work"
    assert sorted(path.name for path in place.iterdir()) == ["images", "masks"]


def test_samples_that_were_half_made_are_made_again(
    few_samples: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "hand.png").write_bytes(b"")
    assert sample_folder(tmp_path, print) == tmp_path / "images"
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["hand.png"]
    assert (tmp_path / "masks" / "hand.png").stat().st_size


def test_a_persons_masks_are_not_taken_for_half_made_samples(
    few_samples: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "masks").mkdir()
    for name in ("hand.png", "mine.png"):
        (tmp_path / "masks" / name).write_bytes(b"hours of work")
    with pytest.raises(ProjectError, match="other masks"):
        sample_folder(tmp_path, print)
    assert [path.name for path in tmp_path.iterdir()] == ["masks"]
    assert all(path.read_bytes() == b"hours of work" for path in (tmp_path / "masks").iterdir())


def test_samples_where_nothing_can_be_written(few_samples: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ProjectError, match="--folder"):
        sample_folder(tmp_path / "file" / "demo", print)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have a display")
def test_without_a_display_it_is_one_line_and_no_core_dump(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, "-m", "napari_graydet", "open", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "display" in done.stderr


def test_without_a_qt_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setitem(sys.modules, "qtpy.QtWidgets", None)
    with pytest.raises(GraydetError, match="pyqt6"):
        window.require_window()
