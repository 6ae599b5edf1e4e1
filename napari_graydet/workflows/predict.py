"""Detectors -> proposals for one image.

Source: the paper's pipeline (METHOD.md, section 1): ROIs by 2D detection, in each ROI the best 3D
box of its class, whose bottom and top are the two thresholds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import BoxDetector, BoxProposal, RoiDetector, RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import CancelledError, GraydetError
from napari_graydet.project.schema import Annotation, BoxRecord, RoiRecord, Source, State
from napari_graydet.workflows.events import ShouldCancel, one_line
from napari_graydet.workflows.refine import Refines, missed_rois, refined

ALTERNATIVES = 5
"""How many boxes besides the best one are kept for an ROI, for somebody to choose from."""

UNLABELLED = "object"
"""Class of a hand-given ROI when neither the user nor a detector names one."""


@dataclass(frozen=True)
class Prediction:
    """A proposal for one image, and what the user should know about it.

    `alternatives` maps the ids of ROIs to the boxes found there, the best one among them, best
    first. They are no part of the record.
    """

    annotation: Annotation
    notices: tuple[str, ...] = ()
    alternatives: Mapping[str, tuple[BoxRecord, ...]] = field(default_factory=dict)


class Predictor:
    """ROI detector, box detector and perhaps a refiner, loaded when first needed; thread-safe.

    Parameters
    ----------
    roi_source, box_source
        Weights files or model names; None takes the shipped weights.
    device
        "auto", "cuda", "mps" or "cpu".
    roi_detector, box_detector
        Ready detectors instead of sources.
    refiner_source, refiner
        Weights file of a refiner, or a ready one; None refines nothing.
    auto_refine
        Whether proposals are refined unasked, and the refiner looks for ROIs that the detector
        missed; else only `refined` does.
    notice
        Told when an accelerator runs out of memory and the CPU takes over.
    """

    def __init__(
        self,
        roi_source: str | Path | None = None,
        box_source: str | Path | None = None,
        device: str = "auto",
        *,
        roi_detector: RoiDetector | None = None,
        box_detector: BoxDetector | None = None,
        refiner_source: str | Path | None = None,
        refiner: Refines | None = None,
        auto_refine: bool = True,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self._roi_source, self._box_source, self._device = roi_source, box_source, device
        self._roi_detector, self._box_detector = roi_detector, box_detector
        self._refiner_source, self._refiner = refiner_source, refiner
        self.auto_refine = auto_refine
        self._notice = notice
        self._lock = threading.RLock()

    @property
    def roi_detector(self) -> RoiDetector:
        """The ROI detector, loaded on first use.

        Raises
        ------
        WeightsError, ModelError
            If it cannot be loaded.
        """
        with self._lock:
            if self._roi_detector is None:
                from napari_graydet.models import loading

                self._roi_detector = loading.load_roi_detector(
                    self._roi_source, self._device, self._notice
                )
            return self._roi_detector

    @property
    def box_detector(self) -> BoxDetector:
        """The 3D box detector, loaded on first use; errors as for `roi_detector`."""
        with self._lock:
            if self._box_detector is None:
                from napari_graydet.models import loading

                self._box_detector = loading.load_box_detector(self._box_source, self._device)
            return self._box_detector

    @property
    def refiner(self) -> Refines | None:
        """The refiner, loaded on first use; None if none is wanted. Errors as for the others."""
        with self._lock:
            if self._refiner is None and self._refiner_source is not None:
                from napari_graydet.models import loading

                self._refiner = loading.load_refiner(
                    self._refiner_source, self._device, self._notice
                )
            return self._refiner

    def for_job(self, should_cancel: ShouldCancel) -> Predictor:
        """Return the predictor of one job, which waits no longer than the job does.

        Detectors of this process always end by themselves, so that is this predictor; see
        `detector.process.ProcessPredictor` for the others.
        """
        return self

    def warm_up(self) -> None:
        """Load ahead of time what disturbs nobody by it: nothing, in this process."""

    def rois(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiProposal]:
        """Detect regions of interest, best first, clipped to the image."""
        with self._lock:
            found = self.roi_detector.detect(image, min_score=min_score)
        return [RoiProposal(p.roi.clip(image.shape), p.label, p.score) for p in found]

    def boxes(
        self,
        image: GrayImage,
        roi: RoiBox,
        label: str | None = None,
        *,
        alternatives: int = ALTERNATIVES,
    ) -> list[BoxProposal]:
        """Detect the 3D boxes of one ROI, best first; `label` None takes any class."""
        with self._lock:
            return self.box_detector.detect(image, roi, label=label, alternatives=alternatives)

    def annotate(self, image: GrayImage) -> Annotation:
        """Return the proposal for an image: its ROIs, and in each the best box of its class.

        An image in which nothing is found gives a proposal without ROIs.
        """
        return self.predict(image).annotation

    def predict(self, image: GrayImage, *, min_score: float | None = None) -> Prediction:
        """Return the proposal for an image with its notices."""
        found = self.propose_boxes(image, self.roi_records(image, min_score=min_score))
        return self.refined(image, found) if self.auto_refine else found

    def roi_records(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiRecord]:
        """Return the records of detected ROIs, and of those that only the refiner sees."""
        found = self.rois(image, min_score=min_score)
        records = [_from_model(roi, self.roi_detector.name) for roi in found]
        if self.refiner is None or not self.auto_refine:
            return records
        try:
            missed = missed_rois(image, found, self.refiner, self.rois, min_score=min_score)
            return records + [_from_model(roi, self.refiner.name) for roi in missed]
        except CancelledError:
            raise
        except GraydetError:  # `refined` will say why
            return records

    def refined(self, image: GrayImage, prediction: Prediction) -> Prediction:
        """Return the proposal with the refiner's residuals, as it is without a refiner.

        Clean-up comes before it. Where the refiner fails the boxes stay, and a notice says so.
        """
        if self.refiner is None:
            return prediction
        try:
            annotation, notices = refined(
                prediction.annotation, image, self.refiner, plain_name(self.refiner.name)
            )
        except CancelledError:
            raise
        except GraydetError as error:
            annotation, notices = prediction.annotation, (f"not refined: {one_line(error)}",)
        return replace(prediction, annotation=annotation, notices=(*prediction.notices, *notices))

    def propose_boxes(self, image: GrayImage, rois: Iterable[RoiRecord]) -> Prediction:
        """Put into each given ROI the best box of its class.

        An ROI in which no box can be found stays, without a box, and is named in a notice.
        """
        found, notices = _Found(), []
        for number, roi in enumerate(rois, start=1):
            try:
                self._propose(image, roi, found)
            except CancelledError:
                raise
            except GraydetError as error:
                found.rois.append(roi)
                notices.append(f"ROI {number} ({roi.label}): no box, {one_line(error)}")
        annotation = Annotation(
            width=image.width,
            height=image.height,
            state=State.PROPOSED,
            rois=tuple(found.rois),
            boxes=tuple(found.boxes),
        )
        return Prediction(annotation, (*image.notes, *notices), found.alternatives)

    def _propose(self, image: GrayImage, roi: RoiRecord, found: _Found) -> None:
        rows, cols = roi.roi_box.clip(image.shape).slices(image.shape)
        window = image.pixels[rows, cols]
        if window.min() == window.max():
            raise GraydetError(f"all its pixels have the gray value {window.min()}")
        known = roi.label if roi.label in self.box_detector.labels else None
        proposals = self.boxes(image, roi.roi_box, known)
        if not proposals:
            raise GraydetError("the detector found none")
        label = proposals[0].label if roi.label == UNLABELLED else roi.label
        model = plain_name(self.box_detector.name)
        boxes = tuple(
            box_record(p, label, roi_id=roi.id, source="model", model=model) for p in proposals
        )
        found.rois.append(roi.model_copy(update={"label": label}))
        found.boxes.append(boxes[0])
        found.alternatives[roi.id] = boxes


@dataclass
class _Found:
    rois: list[RoiRecord] = field(default_factory=list)
    boxes: list[BoxRecord] = field(default_factory=list)
    alternatives: dict[str, tuple[BoxRecord, ...]] = field(default_factory=dict)


def plain_name(name: str) -> str:
    """Return a model's name without folders: records and exports hold no machine paths."""
    return PurePath(name.replace("\\", "/")).name or name


def _from_model(roi: RoiProposal, name: str) -> RoiRecord:
    model = plain_name(name)
    return roi_record(roi.roi, roi.label, score=roi.score, source="model", model=model)


def roi_record(
    roi: RoiBox,
    label: str,
    *,
    score: float | None = None,
    source: Source = "human",
    model: str | None = None,
) -> RoiRecord:
    """Return the record of an ROI."""
    x0, y0, x1, y1 = roi.xyxy
    return RoiRecord(
        x0=x0, y0=y0, x1=x1, y1=y1, label=label, score=score, source=source, model=model
    )


def box_record(
    proposal: BoxProposal, label: str, *, roi_id: str, source: Source, model: str | None
) -> BoxRecord:
    """Return the record of a proposed box, flat as the paper's."""
    x0, y0, x1, y1 = proposal.box.roi.xyxy
    low, high = BoxRecord.nets_of(proposal.box.with_nets(1))
    return BoxRecord(
        roi_id=roi_id,
        x0=x0,
        y0=y0,
        x1=x1,
        y1=y1,
        low=low,
        high=high,
        label=label,
        score=proposal.score,
        source=source,
        model=model,
    )
