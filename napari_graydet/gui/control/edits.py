"""What an edit does to a record: pure functions, Annotation in, Annotation out.

Whatever a person touches becomes `source="human"` and loses its score, which was the score of
another geometry; the name of the model that proposed it stays. An edit puts the image in work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayRange
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import Residual, decode_runs, encode_runs
from napari_graydet.gui.control.mask_model import MaskModel
from napari_graydet.project.schema import (
    Annotation,
    BoxRecord,
    CleanUpRecord,
    ResidualRecord,
    RoiRecord,
    State,
)

SAME_OBJECT = 0.5
"""A proposal that overlaps an object made by hand by this IoU shows the same object."""

REFINED_AROUND = 0.15
"""Share of an ROI's size around it in which a refiner paints, too (`refiner.patch.Frame`)."""

_BY_HAND = {"source": "human", "score": None}


def _touched(record: Annotation, **update: object) -> Annotation:
    return record.model_copy(update={"state": State.IN_WORK, **update})


def _round(roi: RoiBox) -> RoiBox:
    """Drop digits that no screen shows, so that records stay readable."""
    return RoiBox(*(round(v, 2) for v in roi.xyxy))


def add_roi(record: Annotation, roi: RoiBox, label: str) -> tuple[Annotation, str]:
    """Add an ROI drawn by hand; return the record and the new id.

    Raises
    ------
    GeometryError
        If it covers no pixel of the image.
    """
    x0, y0, x1, y1 = _round(roi.clip(record.shape)).xyxy
    new = RoiRecord(x0=x0, y0=y0, x1=x1, y1=y1, label=label)
    return _touched(record, rois=(*record.rois, new)), new.id


def move_roi(record: Annotation, roi_id: str, roi: RoiBox) -> Annotation:
    """Move or resize an ROI; its 3D boxes go along, their extent being the ROI.

    Raises
    ------
    GeometryError
        If it covers no pixel of the image.
    """
    new = _round(roi.clip(record.shape))
    x0, y0, x1, y1 = new.xyxy
    extent = {"x0": x0, "y0": y0, "x1": x1, "y1": y1}
    rois = tuple(
        r.model_copy(update={**extent, **_BY_HAND}) if r.id == roi_id else r for r in record.rois
    )
    boxes = tuple(
        b.with_box(b.gray_box().with_roi(new)).model_copy(update=_BY_HAND)
        if b.roi_id == roi_id
        else b
        for b in record.boxes
    )
    return _without_refined(record, _touched(record, rois=rois, boxes=boxes))


def delete_rois(record: Annotation, roi_ids: Sequence[str]) -> Annotation:
    """Delete ROIs, the 3D boxes in them, and what a refiner painted there."""
    after = _touched(
        record,
        rois=tuple(r for r in record.rois if r.id not in roi_ids),
        boxes=tuple(b for b in record.boxes if b.roi_id not in roi_ids),
    )
    return _without_refined(record, after)


def relabel_roi(record: Annotation, roi_id: str, label: str) -> Annotation:
    """Give an ROI and its 3D boxes another class; what a refiner painted was of the old one."""
    change = {**_BY_HAND, "label": label}
    after = _touched(
        record,
        rois=tuple(r.model_copy(update=change) if r.id == roi_id else r for r in record.rois),
        boxes=tuple(b.model_copy(update=change) if b.roi_id == roi_id else b for b in record.boxes),
    )
    return _without_refined(record, after)


def _without_refined(before: Annotation, after: Annotation) -> Annotation:
    """Take back what a refiner painted where there is no ROI of the label any more.

    What a person painted stays.
    """
    residuals = dict(after.residual)
    for label, residual in after.residual.items():
        gone, left = ({r for r in one.rois if r.label == label} for one in (before, after))
        if residual.source != "model" or not gone - left:
            continue
        stays = ~_around(gone - left, before.shape) | _around(left, before.shape)
        added, erased = (decode_runs(r, before.shape) for r in (residual.added, residual.erased))
        kept = Residual(encode_runs(added & stays), encode_runs(erased & stays))
        written = ResidualRecord.of(kept, residual.source, residual.model) if left else None
        if written is None:
            residuals.pop(label)
        else:
            residuals[label] = written
    return after.model_copy(update={"residual": residuals})


def _around(rois: Iterable[RoiRecord], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the (H, W) mask of ROIs with the surroundings that a refiner sees."""
    mask = np.zeros(shape, dtype=np.bool_)
    for roi in rois:
        mask[roi.roi_box.grow(REFINED_AROUND, shape).slices(shape)] = True
    return mask


def put_box(record: Annotation, box: BoxRecord) -> Annotation:
    """Replace the box of the same id, or add it; its ROI takes on the box's extent."""
    if any(b.id == box.id for b in record.boxes):
        boxes = tuple(box if b.id == box.id else b for b in record.boxes)
    else:
        boxes = (*record.boxes, box)
    x0, y0, x1, y1 = box.roi_box.xyxy
    extent = {"x0": x0, "y0": y0, "x1": x1, "y1": y1, **_BY_HAND}
    rois = tuple(
        r.model_copy(update=extent) if r.id == box.roi_id and r.roi_box != box.roi_box else r
        for r in record.rois
    )
    return _touched(record, boxes=boxes, rois=rois)


def same_geometry(a: BoxRecord, b: BoxRecord) -> bool:
    """Tell whether two boxes are the same solid."""
    return (a.roi_box, a.low, a.high) == (b.roi_box, b.low, b.high)


def boxed_roi(roi: RoiRecord, gray: GrayRange) -> BoxRecord:
    """Make a flat 3D box over an ROI by hand."""
    return BoxRecord(
        x0=roi.x0, y0=roi.y0, x1=roi.x1, y1=roi.y1, roi_id=roi.id, label=roi.label,
        low=gray.low, high=gray.high,
    )  # fmt: skip


def with_range(box: BoxRecord, low: int, high: int) -> BoxRecord:
    """Set bottom and top by hand.

    A tilted box keeps its tilt: its nets are shifted so that their means follow the enclosing
    range that histogram and spin boxes show.
    """
    gray = GrayRange(low, high)
    old = box.gray_box()
    if old.is_flat:
        return by_hand(box, GrayBox.flat(old.roi, gray))
    new_low = old.low + (gray.low - old.gray.low)
    new_high = old.high + (gray.high - old.gray.high)
    return by_hand(box, GrayBox(old.roi, new_low, new_high))


def by_hand(box: BoxRecord, geometry: GrayBox) -> BoxRecord:
    """Return the box with a geometry that a person chose."""
    return box.with_box(geometry).model_copy(update=_BY_HAND)


def set_cleanup(record: Annotation, label: str, cleanup: CleanUpRecord | None) -> Annotation:
    """Set or remove the clean-up of a label."""
    settings = {k: v for k, v in record.cleanup.items() if k != label}
    if cleanup is not None:
        settings[label] = cleanup
    return _touched(record, cleanup=settings)


def paint(record: Annotation, masks: MaskModel, painted: npt.NDArray[np.integer]) -> Annotation:
    """Turn what was painted on the label map into residuals.

    A changed pixel belongs to the painted class alone: it is added there and erased from every
    other class that has it. Strokes are kept even where the boxes agree with them later.

    Parameters
    ----------
    record
        The record that `masks` shows.
    masks
        Its masks.
    painted
        (H, W) label map after the stroke, 0 or class id + 1.
    """
    changed = painted != masks.map
    residuals = dict(record.residual)
    for index, label in enumerate(masks.classes):
        final = masks.final(label)
        on, off = changed & (painted == index + 1), changed & (painted != index + 1) & final
        if not (on.any() or off.any()):
            continue
        added, erased = masks.residual(label)
        residual = Residual(encode_runs((added | on) & ~off), encode_runs((erased | off) & ~on))
        written = ResidualRecord.of(residual)
        if written is None:
            residuals.pop(label, None)
        else:
            residuals[label] = written
    return _touched(record, residual=residuals)


def with_mask(
    record: Annotation, label: str, pixels: npt.NDArray[np.integer], mask: npt.NDArray[np.bool_]
) -> Annotation:
    """Let a label keep its mask whatever its boxes are now: its residual is what they lack.

    Parameters
    ----------
    record, label
        With boxes that were changed; the label to keep.
    pixels, mask
        (H, W) stored values; (H, W) mask that the label has with its residual.
    """
    others = {k: v for k, v in record.residual.items() if k != label}
    base = record.model_copy(update={"residual": others}).mask(pixels, label)
    old = record.residual.get(label)
    made = (old.source, old.model) if old is not None else ("human", None)
    written = ResidualRecord.of(Residual.between(base, mask), *made)
    return _touched(record, residual=others if written is None else {**others, label: written})


def put_residual(record: Annotation, residual: Mapping[str, ResidualRecord]) -> Annotation:
    """Put a refiner's residuals, and those of a person, in the place of the record's."""
    return _touched(record, residual=dict(residual))


def clear_residual(record: Annotation, label: str) -> Annotation:
    """Forget what was painted for a label."""
    return _touched(record, residual={k: v for k, v in record.residual.items() if k != label})


def merge_prediction(record: Annotation, predicted: Annotation) -> Annotation:
    """Put a new prediction in the place of the old one; what a person made stays.

    Proposals that show an object made by hand are dropped, so that nothing is there twice.
    """
    boxed_by_hand = {b.roi_id for b in record.boxes if b.source == "human"}
    rois = tuple(r for r in record.rois if r.source == "human" or r.id in boxed_by_hand)
    kept = {r.id for r in rois}
    boxes = tuple(b for b in record.boxes if b.source == "human" or b.roi_id in kept)
    fresh = tuple(
        r
        for r in predicted.rois
        if all(r.roi_box.iou(k.roi_box) < SAME_OBJECT for k in (*rois, *_loose(boxes)))
    )
    ids = {r.id for r in fresh}
    new_boxes = tuple(b for b in predicted.boxes if b.roi_id in ids)
    painted = {k: v for k, v in record.residual.items() if v.source == "human"}
    human = record.has_human_work and (rois or boxes or painted)
    merged = record.model_copy(
        update={
            "state": State.IN_WORK if human else State.PROPOSED,
            "rois": (*rois, *fresh),
            "boxes": (*boxes, *new_boxes),
            "cleanup": {**predicted.cleanup, **record.cleanup},
        }
    )
    refined = {k: v for k, v in predicted.residual.items() if _same_base(k, merged, predicted)}
    return merged.model_copy(update={"residual": refined | painted})


def _same_base(label: str, one: Annotation, other: Annotation) -> bool:
    """Tell whether a residual of one record means the same on another: boxes and clean-up."""
    boxes = ([b for b in record.boxes if b.label == label] for record in (one, other))
    return next(boxes) == next(boxes) and one.cleanup.get(label) == other.cleanup.get(label)


def _loose(boxes: tuple[BoxRecord, ...]) -> tuple[BoxRecord, ...]:
    return tuple(box for box in boxes if box.roi_id is None)
