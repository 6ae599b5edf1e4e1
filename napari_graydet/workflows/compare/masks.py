"""Masks of some test images, kept for the picture of cases by methods."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_graydet.errors import ExportError
from napari_graydet.io.files import atomic_write_bytes
from napari_graydet.workflows.dataset import Dataset

PICTURED = 6
"""Test images of each set whose masks are kept."""

Masks = dict[str, npt.NDArray[np.bool_]]
"""(K, H, W) masks of the dataset's classes by ``test set/image``; images that failed have none."""


def pictured(test: Dataset) -> Dataset:
    """Return the test images whose masks are kept: at equal distances in the order of names."""
    names = sorted(case.name for case in test.cases)
    places = np.linspace(0, len(names) - 1, min(PICTURED, len(names)))
    return test.subset([names[round(float(place))] for place in places])


def key_of(test: str, image: str) -> str:
    """Return the key of an image among the kept masks."""
    return f"{test}/{image}"


def write_masks(path: Path, masks: Masks) -> None:
    """Write kept masks as a compressed ``.npz``.

    Raises
    ------
    ExportError
        If the file cannot be written.
    """
    stream = io.BytesIO()
    np.savez_compressed(stream, **masks)  # type: ignore[arg-type]
    atomic_write_bytes(path, stream.getvalue(), error=ExportError)


def read_masks(path: Path) -> Masks | None:
    """Return kept masks, None if there are none or the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name].astype(np.bool_) for name in held.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
