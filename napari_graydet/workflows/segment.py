"""One image -> ROIs, boxes and mask, without a project.

ROIs come from the detector, from the user, or are the whole image; gray ranges from the box
detector or from the user. With ROIs and a range given by hand no network is needed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_graydet.core.grayscale import GrayImage, GrayRange
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import CleanUp
from napari_graydet.errors import GeometryError
from napari_graydet.project.schema import (
    Annotation,
    BoxRecord,
    CleanUpRecord,
    RoiRecord,
    State,
)
from napari_graydet.workflows.given import Roi, image_of, roi_of
from napari_graydet.workflows.predict import (
    UNLABELLED,
    Prediction,
    Predictor,
    plain_name,
    roi_record,
)
from napari_graydet.workflows.records import ImageRecord

IfNone = Literal["whole", "empty"]

Light = Literal["light"]
LIGHT: Light = "light"
"""Clean-up by name: an opening of 1 pixel, holes filled, as many parts kept as there are boxes."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The result for one image.

    Parameters
    ----------
    image
        The image, in stored values.
    annotation
        ROIs, boxes, clean-up and residual: all that the mask is made of.
    models
        Names of the models used, by "roi" and "boxes" (None where none was), and "refiner".
    notices
        What the user should know, one line each.
    """

    image: GrayImage
    annotation: Annotation
    models: Mapping[str, str | None] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def rois(self) -> tuple[RoiRecord, ...]:
        """The regions of interest."""
        return self.annotation.rois

    @property
    def boxes(self) -> tuple[BoxRecord, ...]:
        """The 3D boxes; `low` and `high` are the thresholds in stored units."""
        return self.annotation.boxes

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes that occur in ROIs or boxes, sorted; their places + 1 are the label ids."""
        return tuple(sorted({*self.annotation.labels, *(roi.label for roi in self.rois)}))

    @functools.cached_property
    def label_map(self) -> npt.NDArray[np.uint8]:
        """(H, W) uint8: 0 background, else 1 + place in `classes`; later classes lie on top."""
        return self.annotation.label_map(self.image.pixels, list(self.classes))

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(H, W) bool: pixels of any class."""
        return self.label_map > 0

    def mask_of(self, label: str) -> npt.NDArray[np.bool_]:
        """(H, W) bool: pixels of one class."""
        return self.annotation.mask(self.image.pixels, label)

    def mask_image(self) -> npt.NDArray[np.uint8]:
        """(H, W) uint8 as written to PNG: 0/255, or label ids with several classes."""
        if len(self.annotation.labels) > 1:
            return self.label_map
        return self.mask.astype(np.uint8) * 255

    def record(self) -> ImageRecord:
        """Return the JSON document from which the mask can be made again."""
        return ImageRecord.of(
            self.annotation,
            image=self.image.name,
            sha256=self.image.sha256,
            classes=self.classes,
            frame=self.image.frame,
            models=dict(self.models),
            notices=self.notices,
        )


@functools.cache
def default_predictor() -> Predictor:
    """Return the process's predictor with the shipped weights; loaded on first use."""
    return Predictor()


def segment(
    image: GrayImage | str | Path,
    *,
    roi: Roi | Sequence[Roi] | Literal["whole"] | None = None,
    label: str | None = None,
    gray_range: GrayRange | tuple[int, int] | None = None,
    cleanup: CleanUp | Light | None = None,
    if_none: IfNone = "whole",
    min_score: float | None = None,
    frame: int | None = None,
    predictor: Predictor | None = None,
) -> Segmentation:
    """Segment one grayscale image.

    Parameters
    ----------
    image
        A file (PNG, JPEG, TIFF, DICOM) or an image in memory.
    roi
        None detects ROIs; else one or several x0, y0, x1, y1 in pixels, or "whole".
    label
        Class: of the given ROIs, or the only one to keep of the detected ones.
    gray_range
        Closed range ``low <= v <= high`` in stored units for every ROI; None detects it.
    cleanup
        Clean-up of the mask; recorded. "light" is an opening of 1 pixel, holes filled and as many
        parts kept as there are boxes.
    if_none
        What to do where no ROI is detected: take the "whole" image as one of score 0, or leave
        the mask "empty".
    min_score
        Least score of detected ROIs; None takes the detector's own.
    frame
        Which frame of a multi-frame DICOM file.
    predictor
        The detectors; None takes the shipped weights, loaded once per process.

    Returns
    -------
    Segmentation
        With `mask` (H, W) bool, `rois` and `boxes`.

    Raises
    ------
    ImageError, LimitError
        If the file is no grayscale image.
    GeometryError
        If an ROI or the range is empty or outside.
    WeightsError, ModelError
        If a model is needed and cannot be loaded or run.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_graydet.core.grayscale import GrayImage, GrayScale
    >>> image = GrayImage(np.array([[0, 80, 90]], dtype=np.uint8), GrayScale.of_bits(8))
    >>> segment(image, roi=(0, 0, 2, 1), gray_range=(50, 255)).mask
    array([[False,  True, False]])
    """
    picture = image_of(image, frame)
    gray = None if gray_range is None else _range(gray_range, picture)
    helper = predictor or default_predictor()
    rois, notices = _rois(picture, roi, label, if_none, min_score, helper)
    if gray is not None:
        prediction = Prediction(by_range(picture, rois, gray), picture.notes)
    else:
        prediction = helper.propose_boxes(picture, rois)
    models = {
        "roi": plain_name(helper.roi_detector.name) if roi is None else None,
        "boxes": plain_name(helper.box_detector.name) if gray is None and rois else None,
    }
    cleaned = replace(prediction, annotation=with_cleanup(prediction.annotation, cleanup))
    if helper.refiner is not None:
        models["refiner"] = plain_name(helper.refiner.name)
    final = helper.refined(picture, cleaned)
    return Segmentation(picture, final.annotation, models, (*notices, *final.notices))


def by_range(image: GrayImage, rois: Sequence[RoiRecord], gray: GrayRange) -> Annotation:
    """Return the annotation of ROIs with one gray range for all: thresholds by hand."""
    boxes = tuple(
        BoxRecord(
            roi_id=roi.id,
            x0=roi.x0,
            y0=roi.y0,
            x1=roi.x1,
            y1=roi.y1,
            low=gray.low,
            high=gray.high,
            label=roi.label,
        )
        for roi in rois
    )
    return Annotation(
        width=image.width, height=image.height, state=State.PROPOSED, rois=tuple(rois), boxes=boxes
    )


def _range(gray_range: GrayRange | tuple[int, int], image: GrayImage) -> GrayRange:
    """Return the range, part of which must lie where the image can have values."""
    gray = gray_range if isinstance(gray_range, GrayRange) else GrayRange(*gray_range)
    lowest, highest = image.scale.lowest, image.scale.highest
    if gray.high < lowest or gray.low > highest:
        raise GeometryError(
            f"The gray range {gray.low} to {gray.high} is outside the image, whose values can be "
            f"{lowest} to {highest}; give stored values."
        )
    return gray


def _rois(
    image: GrayImage,
    roi: Roi | Sequence[Roi] | Literal["whole"] | None,
    label: str | None,
    if_none: IfNone,
    min_score: float | None,
    predictor: Predictor,
) -> tuple[list[RoiRecord], tuple[str, ...]]:
    """Return the ROIs to work in, and notices."""
    name = label or UNLABELLED
    whole = RoiBox.of_image(image.shape)
    if isinstance(roi, str):
        if roi != "whole":
            raise GeometryError(f"An ROI is x0, y0, x1, y1 or 'whole'; got {roi!r}.")
        return [roi_record(whole, name)], ()
    if roi is not None:
        return [roi_record(box.clip(image.shape), name) for box in _given(roi)], ()
    found = [
        record
        for record in predictor.roi_records(image, min_score=min_score)
        if label in (None, record.label)
    ]
    if found:
        return found, ()
    missing = "no ROI found" if label is None else f"no ROI of class {label} found"
    if if_none == "empty":
        return [], (f"{missing}; the mask is empty.",)
    model = plain_name(predictor.roi_detector.name)
    record = roi_record(whole, name, score=0.0, source="model", model=model)
    return [record], (f"{missing}; the whole image was taken. Give an ROI.",)


def _given(roi: Roi | Sequence[Roi]) -> list[RoiBox]:
    if isinstance(roi, RoiBox):
        return [roi]
    several = len(roi) > 0 and not isinstance(roi[0], int | float | np.number)
    return [roi_of(one) for one in roi] if several else [roi_of(roi)]  # type: ignore


def with_cleanup(annotation: Annotation, cleanup: CleanUp | Light | None) -> Annotation:
    """Return the annotation with a clean-up of every label that it has boxes of."""
    if cleanup is None:
        return annotation
    records = {label: _cleanup_of(annotation, label, cleanup) for label in annotation.labels}
    return annotation.model_copy(update={"cleanup": records})


def _cleanup_of(annotation: Annotation, label: str, cleanup: CleanUp | Light) -> CleanUpRecord:
    if isinstance(cleanup, CleanUp):
        return CleanUpRecord(
            opening=cleanup.opening,
            fill_holes=cleanup.fill_holes,
            keep_largest=cleanup.keep_largest,
            min_area=cleanup.min_area,
        )
    parts = sum(box.label == label for box in annotation.boxes)
    return CleanUpRecord(opening=1, fill_holes=True, keep_largest=parts)
