"""ModelNet as distributed and as clouds: read right, sampled evenly, damage named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.errors import DatasetError, FormatError
from napari_graydet.models.modelnet import (
    in_unit_sphere,
    read_modelnet,
    read_off,
    sample_surface,
)

CORNERS = "0 0 0\n2 0 0\n2 1 0\n0 1 0\n"
SQUARE = f"OFF\n4 1 0\n{CORNERS}4 0 1 2 3\n"


def write(folder: Path, text: str, name: str = "a.off") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    "text",
    [
        SQUARE,
        SQUARE.replace("OFF\n4", "OFF4"),  # as some files of ModelNet40
        SQUARE.replace("OFF\n4", "OFF 4"),
        SQUARE.replace("\n", "\r\n"),
        "OFF\n# a comment\n\n" + SQUARE[4:].replace("4 0 1 2 3", "4 0 1 2 3 255 0 0"),
        f"OFF\n4 2 0\n{CORNERS}3 0 1 2\n3 0 2 3\n",
    ],
)
def test_off_files_as_they_come(tmp_path: Path, text: str) -> None:
    vertices, triangles = read_off(write(tmp_path, text))
    np.testing.assert_array_equal(vertices, [[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(triangles, [[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize(
    "text",
    [
        "PLY\n",
        "OFF\n",
        "OFF\nmany faces\n",
        "OFF\n4 1 0\n0 0 0\n",
        SQUARE.replace("4 1 0", "4 99999999999 0"),
        SQUARE.replace("4 1 0", "-4 1 0"),
        SQUARE.replace("4 0 1 2 3", "4 0 1 2 9"),
        SQUARE.replace("4 0 1 2 3", "4 0 1 2"),
        SQUARE.replace("4 0 1 2 3", "2 0 1"),
        SQUARE.replace("2 1 0", "2 nan 0"),
        SQUARE.replace("2 1 0", "2 1"),
    ],
)
def test_damaged_off_files_are_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(FormatError, match=r"a\.off"):
        read_off(write(tmp_path, text))


def test_points_lie_evenly_on_the_surface() -> None:
    vertices = np.array([[0, 0, 0], [3, 0, 0], [3, 1, 0], [0, 1, 0], [9, 9, 9]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 4, 4]])
    points = sample_surface(vertices, triangles, 6000, np.random.default_rng(0))
    assert (points[:, 2] == 0).all() and points.min() >= 0 and points[:, 1].max() <= 1
    counts, *_ = np.histogram2d(points[:, 0], points[:, 1], bins=(6, 2))
    assert abs(counts - 500).max() < 5 * np.sqrt(500)


@given(seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3))
def test_clouds_fill_the_unit_sphere(seed: int, scale: float) -> None:
    points = np.random.default_rng(seed).normal(5, scale, (50, 3)).astype(np.float32)
    moved = in_unit_sphere(points)
    assert np.linalg.norm(moved, axis=1).max() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(moved.mean(axis=0), 0, atol=1e-3)
    assert (in_unit_sphere(np.ones((4, 3), np.float32)) == 0).all()


def test_the_folder_as_distributed(tmp_path: Path) -> None:
    for name in ("chair", "desk"):
        for part in ("train", "test"):
            write(tmp_path / name / part, SQUARE, f"{name}_1.off")
    clouds = read_modelnet(tmp_path, "train", np.random.default_rng(0), points=20)
    assert clouds.points.shape == (2, 20, 3) and clouds.classes == ("chair", "desk")
    assert clouds.labels.tolist() == [0, 1]


def test_clouds_of_an_npz(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(5, 30, 3)).astype(np.float16), np.arange(5) % 2
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, classes=["a", "b"])
    clouds = read_modelnet(tmp_path / "a.npz", "train", np.random.default_rng(0), points=10)
    assert clouds.points.shape == (5, 10, 3) and clouds.points.dtype == np.float32
    for cloud, original in zip(clouds.points, x.astype(np.float32), strict=True):
        assert {tuple(p) for p in cloud} <= {tuple(p) for p in original}


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"x_train": np.zeros((2, 3)), "y_train": np.zeros(2, int)},
        {"x_train": np.zeros((2, 4, 3)), "y_train": np.zeros(3, int)},
        {"x_train": np.zeros((2, 4, 3)), "y_train": np.zeros(2)},
        {"x_train": np.full((2, 4, 3), np.nan), "y_train": np.zeros(2, int)},
        {"x_train": np.zeros((2, 4, 3)), "y_train": np.array([0, 5]), "classes": ["a"]},
        {"x_train": np.full((2, 4, 3), "a"), "y_train": np.zeros(2, int)},
        {"x_train": np.zeros((2, 4, 3), complex), "y_train": np.zeros(2, int)},
        {"x_train": np.zeros((2, 4, 3)), "y_train": np.array([0, 5]), "classes": np.array("a")},
    ],
)
def test_other_npz_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match=r"a\.npz"):
        read_modelnet(tmp_path / "a.npz", "train", np.random.default_rng(0))


def test_nothing_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 no zip")
    for path, error in (
        (tmp_path, DatasetError),
        (tmp_path / "b.npz", FormatError),
        (tmp_path / "none.npz", FormatError),
        (tmp_path / "a.txt", DatasetError),
    ):
        with pytest.raises(error):
            read_modelnet(path, "train", np.random.default_rng(0))
