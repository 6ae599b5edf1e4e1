"""R28: a project of 10,000 images opens at once and saves without being noticed."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from napari_graydet.project.history import History
from napari_graydet.project.store import ProjectStore
from tests.project.projects import CLASSES, edited


def _large(folder: Path, images: int, saves: int) -> tuple[float, float, float, float]:
    """Return seconds to make, to open with list and history, and to save (median, p99)."""
    began = time.perf_counter()
    paths = [folder / f"series {i % 50}" / f"image {i}.dcm" for i in range(images)]
    store = ProjectStore.create(folder, CLASSES, paths)
    made = time.perf_counter() - began
    history = History(store)
    took = []
    for i in range(saves):
        image_id = 1 + (i * 7919) % images
        assert not store.image_changed(image_id, "ab" * 32)  # the window has read the image
        began = time.perf_counter()
        history.do(image_id, edited(i), "edit")
        took.append(time.perf_counter() - began)
    store.close()
    began = time.perf_counter()
    with ProjectStore.open(folder) as store:
        assert len(store.entries()) == images
        assert History(store).can_undo
        opened = time.perf_counter() - began
    median, p99 = np.percentile(took, (50, 99))
    return made, opened, float(median), float(p99)


def _commit(path: Path, count: int = 100) -> float:
    """Return the median seconds that the disk takes for a commit of two kilobytes."""
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("PRAGMA journal_mode = WAL")
    raw.execute("PRAGMA synchronous = FULL")
    raw.execute("CREATE TABLE records (content BLOB)")
    took = []
    for _ in range(count):
        began = time.perf_counter()
        raw.execute("INSERT INTO records VALUES (zeroblob(2000))")
        took.append(time.perf_counter() - began)
    raw.close()
    return float(np.median(took))


def _line(images: int, figures: tuple[float, float, float, float]) -> str:
    made, opened, median, p99 = figures
    return (
        f"R28 ({images} images): made in {made:.2f} s, opened in {opened:.2f} s, "
        f"save median {median * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms"
    )


def test_ten_thousand_images(tmp_path: Path) -> None:
    figures = _large(tmp_path, 10_000, 200)
    print(_line(10_000, figures))
    made, opened, median, _ = figures
    assert made < 15 and opened < 5  # noisy machines; the figures are printed
    plain = _commit(tmp_path / "plain.db")
    print(f"a plain commit here: median {plain * 1e3:.1f} ms")
    assert median < 0.02 + 10 * plain


@pytest.mark.long
def test_a_hundred_thousand_images(tmp_path: Path) -> None:
    figures = _large(tmp_path, 100_000, 1000)
    print(_line(100_000, figures))
    assert figures[1] < 20
