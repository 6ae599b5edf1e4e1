"""A folder of masks that a method made on a dataset: one numbered PNG of label ids per image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_graydet.errors import ExportError
from napari_graydet.io.masks import MAX_LABELS, write_mask
from napari_graydet.workflows.dataset import Dataset


def mask_file(folder: Path, number: int) -> Path:
    """Return the file of an image's mask, by the image's place in the dataset (from 0)."""
    return folder / f"{number:05d}.png"


def label_map(
    masks: Mapping[str, npt.NDArray[np.bool_]], classes: tuple[str, ...]
) -> npt.NDArray[np.uint8]:
    """Return masks as one (H, W) map of label ids, place in `classes` + 1; later classes cover."""
    out = np.zeros(next(iter(masks.values())).shape, dtype=np.uint8)
    for number, label in enumerate(classes, start=1):
        if label in masks:
            out[masks[label]] = number
    return out


class MaskFolder:
    """Keeps the masks of `evaluate`.

    Parameters
    ----------
    folder
        Where the masks go; made if absent.
    dataset
        Whose images they are: its order numbers the files, its classes the labels.

    Raises
    ------
    ExportError
        If there are more classes than 8 bits can number, or the folder is one of the dataset's.
    """

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        if len(dataset.classes) > MAX_LABELS:
            raise ExportError(
                f"Masks of label ids hold up to {MAX_LABELS} classes, "
                f"got {len(dataset.classes)}; evaluate without them."
            )
        own = {source.resolve() for case in dataset.cases for source in case.folders}
        if Path(folder).resolve() in own:
            raise ExportError(
                f"{folder} holds images or true masks, which nothing is written beside; "
                "choose another folder."
            )
        self._folder = Path(folder)
        self._classes = dataset.classes
        self._numbers = {case.name: number for number, case in enumerate(dataset.cases)}

    def keep(self, name: str, masks: Mapping[str, npt.NDArray[np.bool_]]) -> None:
        """Write the masks of one image; raises `ExportError` if that cannot be done."""
        write_mask(mask_file(self._folder, self._numbers[name]), label_map(masks, self._classes))
