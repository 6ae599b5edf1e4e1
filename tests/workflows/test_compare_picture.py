"""The picture of cases by methods: the right colours in the right places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_graydet.workflows.compare import picture as compare_picture
from napari_graydet.workflows.compare.compare import run_jobs
from napari_graydet.workflows.compare.masks import read_masks
from napari_graydet.workflows.compare.methods import ComparedMethod
from napari_graydet.workflows.compare.picture import Cell, grid, tinted, write_picture
from napari_graydet.workflows.compare.results import Job
from napari_graydet.workflows.dataset import Dataset
from tests.workflows.test_compare import Trainer, data, series_of

__all__ = ["data"]


def hue(picture: np.ndarray) -> np.ndarray:
    """Return which of red, green, blue is strongest at each pixel, -1 where they are equal."""
    values = picture.astype(int)
    return np.where(np.ptp(values, axis=2) < 15, -1, values.argmax(axis=2))


def test_colours_say_what_is_right_missed_and_wrong() -> None:
    gray = np.full((100, 200), 100, dtype=np.uint8)
    truth, mask = np.zeros((2, 100, 200), dtype=bool)
    truth[20:80, 40:120] = True
    mask[20:80, 80:160] = True
    picture = tinted(gray, truth, mask)
    assert picture.shape == (100, 200, 3)
    found = hue(picture)
    red, green, blue = 0, 1, 2
    assert (found[30:70, 45:75] == red).all()
    assert (found[30:70, 85:115] == green).all()
    assert (found[30:70, 125:155] == blue).all()
    assert (found[:15] == -1).all()
    assert (picture[20, 41:119] == 255).all()


@pytest.mark.parametrize("shape", [(40, 40), (512, 200), (50, 300)])
def test_cells_fit_whatever_the_image(shape: tuple[int, int]) -> None:
    empty = np.zeros(shape, dtype=bool)
    picture = tinted(np.zeros(shape, dtype=np.uint8), empty, empty)
    assert max(picture.shape) == compare_picture.CELL
    assert picture.shape[0] / picture.shape[1] == pytest.approx(shape[0] / shape[1], rel=0.02)


def test_the_page_holds_every_cell() -> None:
    colours = [np.full((50, 200, 3), value, dtype=np.uint8) for value in (10, 60, 110, 160)]
    cells = [[Cell(c, "DSC") for c in colours[:2]], [Cell(c, "") for c in colours[2:]]]
    page = np.asarray(grid(["a", "a very long name of an image.png"], ["truth", "unet"], cells))
    for value in (10, 60, 110, 160):
        assert (page == value).all(axis=2).sum() >= 50 * 200


def test_a_picture_of_results(data: Dataset, tmp_path: Path) -> None:
    series = series_of(data, tmp_path)
    jobs = [Job(method=name, train="train", n=4, seed=0) for name in ("good", "fails", "bad")]
    methods = {
        "good": ComparedMethod("", Trainer(135)),
        "fails": ComparedMethod("", Trainer(135, fails_on="_0")),
        "bad": ComparedMethod("", Trainer(0)),
    }
    run_jobs(series, jobs, methods=methods)
    kept = {made.method: read_masks(series.masks_path(made)) or {} for made in jobs}
    path = tmp_path / "cases.png"
    assert write_picture(path, "test", series.tests["test"], kept)
    with Image.open(path) as picture:
        wide = picture.size[0]
        found = hue(np.asarray(picture))
    assert wide > 4 * compare_picture.CELL
    blue = (found == 2).sum(axis=0)  # what is wrong: a threshold of 0 takes everything
    assert blue[-compare_picture.CELL :].sum() > 0.8 * blue.sum()
    assert not write_picture(tmp_path / "none.png", "test", series.tests["test"], {})
    assert not (tmp_path / "none.png").exists()
