"""How good the masks of one image are, and where the loss arises.

Figures of an image and a label, the method's mask being M and the true one T (the paper,
"Performance assessment", and METHOD.md, section 2):

- IoU, DSC, FN (share of T that M misses), FP (share of M that is wrong), HD95 in pixels;
- ceiling: IoU of the union of the best single gray ranges (K = 1) of the true parts, each in its
  true ROI grown a little; IoU / ceiling. In a tighter ROI a range may do better by some hundredths;
- ROI IoU: over true parts, of the found ROI matched to it (each matched once; missed = 0); a part
  is missed if that is below 0.5;
- interval IoU: over found parts, of the detected gray range with the best one in the same ROI;
- explained: IoU of M with what the boxes give by themselves, clean-up included; 1 where nothing was
  painted and no refiner was at work, undefined where nothing was found.

Where the loss 1 - IoU arises, in four parts that add up to it. A is the mask of the boxes as
detected, before clean-up and refiner, B that of the boxes detected in the true ROIs:

- ROI = IoU(B) - IoU(A): what true ROIs would win;
- range = ceiling - IoU(B): what the best ranges would win in them;
- representation = 1 - ceiling: what the best ranges leave there;
- refinement = IoU(A) - IoU(M): what clean-up and refiner lose, below 0 if they win. It is exactly
  0 without them, and then the first three add up.

A part can be below 0: a detected ROI may happen to suit better than the true one.

Rules for empty masks: two empty masks agree (IoU = DSC = 1, HD95 = 0), and the ceiling of an empty
mask is 1, for every range can be left out; one empty mask against one with pixels scores 0, its
HD95 is undefined, and of nothing found nothing is wrong (FP = 0). What is undefined is None. A
label with nothing to find and nothing found in an image is right, but in no mean: in a project of
hands and chests every image would bring a 1 for the class that it is not about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from napari_graydet.core import metrics
from napari_graydet.core.ceiling import ceiling_mask, interval_iou
from napari_graydet.core.matching import match_rois
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.sample import Sample
from napari_graydet.core.segmentation import box_mask
from napari_graydet.workflows.evaluation.methods import Result
from napari_graydet.workflows.predict import UNLABELLED

Mask = npt.NDArray[np.bool_]

MISSED_BELOW = 0.5
"""A true part whose matched ROI has a smaller IoU counts as missed."""


@dataclass(frozen=True)
class Row:
    """The figures of one image and one label, as the module defines them; None is undefined.

    Parameters
    ----------
    image
        Name of the case.
    label
        The class.
    error
        Why there are no figures, in one line; None if there are.
    parts, rois
        Numbers of true parts with an ROI, and of found ROIs.
    roi_ious, interval_ious
        One value per true part, and per found part.
    seconds
        Time that the method took for the image, all labels together.
    nothing
        Whether there was nothing to find and nothing was found.
    """

    image: str
    label: str
    error: str | None = None
    nothing: bool = False
    parts: int = 0
    rois: int | None = None
    iou: float | None = None
    dice: float | None = None
    fn: float | None = None
    fp: float | None = None
    hd95: float | None = None
    ceiling: float | None = None
    iou_over_ceiling: float | None = None
    explained: float | None = None
    loss_roi: float | None = None
    loss_range: float | None = None
    loss_representation: float | None = None
    loss_refinement: float | None = None
    seconds: float | None = None
    roi_ious: tuple[float, ...] = ()
    interval_ious: tuple[float, ...] = ()

    @property
    def roi_iou(self) -> float | None:
        """Mean ROI IoU over the true parts of the image."""
        return _mean(self.roi_ious)

    @property
    def interval_iou(self) -> float | None:
        """Mean interval IoU over the found parts of the image."""
        return _mean(self.interval_ious)

    @property
    def missed(self) -> int | None:
        """Number of true parts that were missed; None where no ROIs were looked for."""
        if self.rois is None:
            return None
        return sum(value < MISSED_BELOW for value in self.roi_ious)


@dataclass(frozen=True, eq=False)
class LabelResult:
    """What a method says about one label of an image; fields as of `methods.Result`."""

    mask: Mask
    rois: list[RoiProposal]
    boxes: list[BoxProposal]
    explained: float | None

    @classmethod
    def of(cls, result: Result, label: str | None, shape: tuple[int, int]) -> LabelResult:
        """Pick one label out of a result, or put all together (None)."""
        masks = {name: mask for name, mask in result.masks.items() if label in (None, name)}
        union = np.zeros(shape, dtype=np.bool_)
        for mask in masks.values():
            union |= mask
        explained = result.explained
        return cls(
            mask=union,
            rois=[p for p in result.rois if label in (None, p.label)],
            boxes=[p for p in result.boxes if label in (None, p.label)],
            explained=None if explained is None else _share(explained, masks),
        )


def _share(explained: Mapping[str, float], masks: Mapping[str, Mask]) -> float:
    """Return the explained share of several masks, each counting by its size."""
    sizes = {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}
    total = sum(sizes.values())
    return sum(explained[name] * size for name, size in sizes.items()) / total if total else 1.0


def counted_label(label: str, known: Sequence[str]) -> str | None:
    """Return which label of a method counts for a class of the data; None for any.

    Masks of a folder that nobody named a class for (`UNLABELLED`) are found by whatever is found.
    """
    return None if label == UNLABELLED and UNLABELLED not in known else label


def score(
    name: str,
    sample: Sample,
    result: LabelResult,
    ideal: LabelResult | None,
    *,
    true_rois: bool,
    seconds: float | None = None,
) -> Row:
    """Score what a method says about one label of an image.

    Parameters
    ----------
    name
        Of the image.
    sample
        The image and its truth.
    result
        What the method says.
    ideal
        What it says with the true ROIs, for the share of the ROIs in the loss; None leaves the
        shares out.
    true_rois
        Whether `result` had the true ROIs, so that nothing is to be said about found ones.
    seconds
        For the row.
    """
    image, truth, mask = sample.image, sample.mask, result.mask
    rois = sample.rois
    iou = metrics.iou(mask, truth)
    ceiling = metrics.iou(ceiling_mask(image, truth, rois), truth)
    distance = metrics.hd95(mask, truth)
    by_rois = not true_rois and (result.explained is not None or bool(result.rois))
    row = Row(
        image=name,
        label=sample.label,
        parts=len(rois),
        rois=len(result.rois) if by_rois else None,
        nothing=not (mask.any() or truth.any()),
        iou=iou,
        dice=metrics.dice(mask, truth),
        fn=metrics.false_negative(mask, truth),
        fp=metrics.false_positive(mask, truth),
        hd95=distance if math.isfinite(distance) else None,
        ceiling=ceiling,
        iou_over_ceiling=iou / ceiling if ceiling else None,
        explained=result.explained if mask.any() else None,
        seconds=seconds,
        roi_ious=tuple(v for _, v in match_rois(rois, [p.roi for p in result.rois]))
        if by_rois
        else (),
        interval_ious=_interval_ious(sample, result.boxes),
    )
    if ideal is None or result.explained is None:
        return row
    return _with_losses(row, sample, result, ideal)


def _interval_ious(sample: Sample, boxes: Sequence[BoxProposal]) -> tuple[float, ...]:
    found = [p.box for p in boxes]
    values = (
        interval_iou(sample.image, sample.mask, found[place].roi, found[place].gray)
        for place, _ in match_rois(sample.rois, [box.roi for box in found])
        if place is not None
    )
    return tuple(value for value in values if value is not None)


def _with_losses(row: Row, sample: Sample, result: LabelResult, ideal: LabelResult) -> Row:
    detected, in_true_rois = (
        metrics.iou(box_mask(sample.image.pixels, [p.box for p in one.boxes]), sample.mask)
        for one in (result, ideal)
    )
    iou, ceiling = row.iou or 0.0, row.ceiling or 0.0
    return replace(
        row,
        loss_roi=in_true_rois - detected,
        loss_range=ceiling - in_true_rois,
        loss_representation=1.0 - ceiling,
        loss_refinement=detected - iou,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
