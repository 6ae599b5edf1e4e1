"""R14: an .npz file that holds Python objects is refused, and nothing of it is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_graydet.errors import FormatError
from napari_graydet.models.modelnet import read_modelnet
from napari_graydet.workflows import shipped_data
from napari_graydet.workflows.compare.masks import read_masks


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


def clouds(path: Path) -> None:
    with pytest.raises(FormatError, match=r"is no \.npz"):
        read_modelnet(path, "train", np.random.default_rng(0))


def masks(path: Path) -> None:
    assert read_masks(path) is None


def phantom(path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle=False"):
        shipped_data._load(path, "hand")


@pytest.mark.parametrize("read", [clouds, masks, phantom])
def test_objects_in_arrays_are_not_run(tmp_path: Path, read: Callable[[Path], None]) -> None:
    planted, path = tmp_path / "planted", tmp_path / "a.npz"
    names = ("x_train", "y_train", "scale", "spacing", "lung")
    objects = {name: np.array([Payload(planted)], dtype=object) for name in names}
    np.savez(path, **objects)  # type: ignore[arg-type]
    read(path)
    assert not planted.exists()
    with np.load(path, allow_pickle=True) as held:
        assert held["lung"].dtype == object
    assert planted.exists(), "the payload was a real one"
