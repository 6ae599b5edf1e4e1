"""An evaluation in a process of its own, and what it left: a report and a mask per image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_graydet.core.metrics import dice_of_iou
from napari_graydet.errors import ModelError
from napari_graydet.io.masks import read_label_map
from napari_graydet.project.schema import Annotation
from napari_graydet.workflows.command_process import CommandProcess
from napari_graydet.workflows.events import OnProgress, Progress, ShouldCancel
from napari_graydet.workflows.mask_folder import label_map, mask_file

LabelMap = npt.NDArray[np.uint8]
Row = dict[str, Any]

HIT, MISSED, EXTRA = 1, 2, 3
"""Values of an error map: rightly found, a false negative, a false positive."""


@dataclass(frozen=True, eq=False)
class Scored:
    """What `napari-graydet evaluate` said.

    Parameters
    ----------
    document
        Its report as JSON types.
    masks
        Folder of the masks that were scored.
    model
        What was scored, in words.
    """

    document: dict[str, Any]
    masks: Path
    model: str

    @property
    def rows(self) -> list[Row]:
        """Figures of each image and class."""
        return list(self.document["rows"])

    @cached_property
    def images(self) -> dict[str, int]:
        """Number of each image, in the order of the dataset."""
        names = dict.fromkeys(row["image"] for row in self.document["rows"])
        return {name: number for number, name in enumerate(names)}

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Classes, in the order of the label ids of the masks."""
        return tuple(dict.fromkeys(row["label"] for row in self.document["rows"]))

    @cached_property
    def as_drawn(self) -> int:
        """How many images have a mask that was accepted just as the model draws it.

        They tell how it was judged, not how good it is.
        """
        drawn = (row for row in self.rows if row["dice"] == 1.0 and row["ceiling"] is not None)
        return len({row["image"] for row in drawn})

    def mean(self, name: str) -> float | None:
        """Return the mean of a figure over all images and classes."""
        value: float | None = self.document["all"][name]["mean"]
        return value

    def found(self, name: str, shape: tuple[int, int]) -> LabelMap:
        """Read the mask of an image as label ids of `labels` (in a worker).

        Raises
        ------
        MaskError
            If there is none: the image could not be segmented.
        """
        return read_label_map(mask_file(self.masks, self.images[name]), shape)

    def errors(self, name: str, record: Annotation, pixels: npt.NDArray[Any]) -> LabelMap:
        """Return the (H, W) map of `HIT`, `MISSED` and `EXTRA` of an image (in a worker).

        Parameters
        ----------
        name
            Of the image.
        record, pixels
            Its truth as it is now.
        """
        truth = true_map(record, pixels, self.labels)
        return error_map(truth, self.found(name, truth.shape))


def as_dice(iou: float | None) -> float | None:
    """Return the DSC of two masks from their IoU."""
    return None if iou is None else dice_of_iou(iou)


def true_map(record: Annotation, pixels: npt.NDArray[Any], labels: tuple[str, ...]) -> LabelMap:
    """Return the masks of a record as label ids of `labels`."""
    empty = {labels[0]: np.zeros(pixels.shape, dtype=np.bool_)}
    masks = {label: record.mask(pixels, label) for label in labels if label in record.labels}
    return label_map(empty | masks, labels)


def error_map(truth: LabelMap, found: LabelMap) -> LabelMap:
    """Return where two label maps agree and where not; another class counts as missed."""
    out = np.zeros(truth.shape, dtype=np.uint8)
    out[(found > 0) & (truth == 0)] = EXTRA
    out[(truth > 0) & (found != truth)] = MISSED
    out[(truth > 0) & (found == truth)] = HIT
    return out


def evaluate_project(
    arguments: Sequence[str | Path],
    masks: Path,
    model: str,
    progress: OnProgress,
    should_cancel: ShouldCancel,
    *,
    command: Sequence[str] | None = None,
) -> Scored:
    """Run ``napari-graydet evaluate`` and return what it said (in a worker).

    Parameters
    ----------
    arguments
        Project and options.
    masks
        Folder for the masks.
    model
        What is scored, in words.
    command
        Program instead of our own (for tests).

    Raises
    ------
    CancelledError
        If it was to be cancelled.
    ModelError
        If the process ended without a report; its last line says why.
    """
    process = CommandProcess(
        ["evaluate", *arguments, "--write-masks", masks, "--events", "--json"], command=command
    )
    document: dict[str, Any] | None = None
    try:
        for line in process.lines(should_cancel):
            said = _document(line)
            if said.get("event") == "image":
                progress(Progress(said["done"], said["total"], said["image"], said["error"] or ""))
            elif "rows" in said:
                document = said
        code = process.wait()
    finally:
        process.close(patience=0.5)
    if document is None:
        if code < 0:  # what it said before is a notice, not the reason
            raise ModelError(f"The evaluation was killed (signal {-code}); evaluate again.")
        ended = f"The evaluation ended with status {code}; evaluate again."
        raise ModelError(process.complaint or ended)
    return Scored(document, masks, model)


def _document(line: str) -> dict[str, Any]:
    """Return the JSON document of a line; an empty one if a library has printed there."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
