"""A refiner's word on a proposal: the record's residual of source "model".

The boxes stay as they are, so the share of the mask that the gray range explains stays a number.
What a person has painted is never touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.segmentation import Residual
from napari_graydet.project.schema import Annotation, ResidualRecord

Mask = npt.NDArray[np.bool_]

DOUBTFUL_SCORE = 0.1
"""Least score of an ROI that a refiner may fall back on."""


class Refines(Protocol):
    """What a workflow needs of a refiner (models/refiner/refiner.py)."""

    @property
    def name(self) -> str:
        """Name of the model, for the record."""

    def refine(
        self,
        image: GrayImage,
        boxes: Sequence[BoxProposal],
        bases: Mapping[str, Mask] | None = None,
    ) -> Mapping[str, Residual]:
        """Return by label what to add to and erase from `bases`, the (cleaned) masks of boxes.

        Labels that it does not know are left out.
        """

    def missed(
        self,
        image: GrayImage,
        rois: Sequence[RoiProposal],
        doubtful: Sequence[RoiProposal] = (),
    ) -> Sequence[RoiProposal]:
        """Return ROIs of parts that it sees, but that are in none of those detected.

        It may fall back on `doubtful` ones.
        """


class _Detects(Protocol):
    def __call__(
        self, image: GrayImage, *, min_score: float | None = None
    ) -> Sequence[RoiProposal]: ...


def missed_rois(
    image: GrayImage,
    found: Sequence[RoiProposal],
    refiner: Refines,
    detect: _Detects,
    *,
    min_score: float | None = None,
) -> Sequence[RoiProposal]:
    """Return ROIs that a refiner sees beyond those found.

    Parameters
    ----------
    image, found
        The image, and what was detected in it.
    refiner
        Who looks at the whole of it.
    detect
        The ROI detector. Where it found nothing it is asked for what it doubts: an empty proposal
        costs a person most.
    min_score
        The score that a person asked for, if one did: then no doubt is to be overruled.
    """
    nothing = not found and min_score is None
    doubtful = detect(image, min_score=DOUBTFUL_SCORE) if nothing else ()
    return refiner.missed(image, found, doubtful)


def refined(
    annotation: Annotation, image: GrayImage, refiner: Refines, model: str
) -> tuple[Annotation, tuple[str, ...]]:
    """Return the annotation with the refiner's residuals, and notices; the last step to its mask.

    Parameters
    ----------
    annotation
        Boxes and clean-up. A residual of source "model" is replaced, one of source "human" stays,
        and so does that of a label which this refiner does not know.
    image
        The image.
    refiner, model
        Who corrects, and its name in the record, without folders.

    Raises
    ------
    ModelError
        If the refiner cannot be run.
    """
    painted = {k for k, residual in annotation.residual.items() if residual.source == "human"}
    drawn = {roi.id for roi in annotation.rois if roi.source == "human"}
    boxes = [
        BoxProposal(b.gray_box(), b.label, b.score or 0.0, drawn=b.roi_id in drawn)
        for b in annotation.boxes
        if b.label not in painted
    ]
    labels = dict.fromkeys(box.label for box in boxes)
    bases = {label: annotation.base_mask(image.pixels, label) for label in labels}
    found = refiner.refine(image, boxes, bases)
    kept = painted | (labels.keys() - found.keys())
    records = {k: v for k, v in annotation.residual.items() if k in kept}
    for label, residual in found.items():
        if (record := ResidualRecord.of(residual, "model", model)) is not None:
            records[label] = record
    notices = tuple(f"{k}: not refined, {model} does not know it" for k in labels if k not in found)
    return annotation.model_copy(update={"residual": records}), notices
