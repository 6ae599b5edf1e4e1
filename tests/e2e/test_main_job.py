"""The main job, end to end, in the real window: acceptance 6 of the first milestone.

A process drives the window with mouse and keys, and is killed; a second one reopens the project
and exports; then an independent few lines of numpy make each mask from its record.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_graydet.io.images import read_image
from napari_graydet.project.schema import State
from napari_graydet.project.store import ProjectStore

pytestmark = pytest.mark.gui

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_data" / "images"
LIMIT = 90.0


@pytest.fixture(scope="module")
def screen() -> Iterator[dict[str, str]]:
    """Return the environment of a screen large enough for the window."""
    display = pytest.importorskip("pyvirtualdisplay").Display(
        size=(1600, 1000), color_depth=24, extra_args=["+extension", "GLX"]
    )
    with display as shown:
        yield dict(shown.env())


def child(
    screen: dict[str, str], qt: str, settings: Path, *words: str | Path
) -> subprocess.Popen[str]:
    env = {**screen, "QT_API": qt, "OMP_NUM_THREADS": "1"}
    env |= {"NAPARI_CONFIG": str(settings / "settings.yaml"), "XDG_RUNTIME_DIR": str(settings)}
    command = [sys.executable, "-m", "tests.e2e.window_child", *map(str, words)]
    return subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a report; what the process said tells why it does not come."""
    end = time.monotonic() + LIMIT
    while not path.exists():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail(f"no report from the window:\n{process.communicate()[0][-4000:]}")
        time.sleep(0.05)
    report: dict[str, Any] = json.loads(path.read_text())
    return report


@pytest.mark.parametrize("qt", ["pyqt5", "pyqt6"])
@pytest.mark.timeout(200)
def test_detect_correct_accept_crash_reopen_export(
    qt: str, screen: dict[str, str], tmp_path: Path
) -> None:
    if importlib.util.find_spec({"pyqt5": "PyQt5", "pyqt6": "PyQt6"}[qt]) is None:
        pytest.skip(f"{qt} is not installed")
    folder, out = tmp_path / "study", tmp_path / "export"
    folder.mkdir()
    for path in sorted(SAMPLES.iterdir()):
        (folder / path.name).write_bytes(path.read_bytes())

    process = child(screen, qt, tmp_path, "work", folder, tmp_path / "before.json")
    before = wait_for(tmp_path / "before.json", process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    process = child(screen, qt, tmp_path, "again", folder, tmp_path / "after.json", out)
    after = wait_for(tmp_path / "after.json", process)
    said, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, said[-4000:]
    assert "Traceback" not in said, said[-4000:]

    compare_records(before, after["records"])
    assert after["said"].startswith("1 images written")
    compare_masks(folder, out)


def compare_records(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Everything acknowledged before the kill is there; the first image was accepted meanwhile."""
    accepted, in_work = sorted(before, key=int)
    assert after[accepted] == {**before[accepted], "state": "accepted"}
    assert after[in_work] == before[in_work]
    assert before[accepted]["residual"] and before[accepted]["boxes"]


def compare_masks(folder: Path, out: Path) -> None:
    """The exported mask is that of the record, bit for bit: by the store and by plain numpy."""
    with ProjectStore.open(folder) as store:
        done = [entry for entry in store.entries() if entry.state is State.ACCEPTED]
        assert len(done) == 1
        annotation, _ = store.annotation(done[0].id)
        pixels = read_image(store.image_path(done[0].id)).pixels
        classes = store.classes
    name = Path(done[0].path).stem
    exported = np.asarray(Image.open(out / "masks" / f"{name}.png"))
    np.testing.assert_array_equal(exported, annotation.label_map(pixels, classes))
    record = json.loads((out / "records" / f"{name}.json").read_text())
    np.testing.assert_array_equal(exported, plain_mask(record, pixels, classes))
    assert exported.any()


def plain_mask(record: dict[str, Any], pixels: Any, classes: list[str]) -> Any:
    """Make the mask of a JSON record of flat boxes, without the package."""
    rows, cols = np.indices(pixels.shape) + 0.5
    out = np.zeros(pixels.shape, dtype=np.uint8)
    for number, label in enumerate(classes, start=1):
        mask = np.zeros(pixels.shape, dtype=bool)
        for box in (b for b in record["boxes"] if b["label"] == label):
            inside = (cols >= box["x0"]) & (cols < box["x1"])
            inside &= (rows >= box["y0"]) & (rows < box["y1"])
            mask |= inside & (pixels >= box["low"]) & (pixels <= box["high"])
        residual = (record["residual"] or {}).get(label, {"added": [], "erased": []})
        for runs, value in ((residual["added"], True), (residual["erased"], False)):
            for start, length in runs:
                mask.reshape(-1)[start : start + length] = value
        out[mask] = number
    assert record["cleanup"] in (None, {}), "the plain mask knows no clean-up"
    return out
