"""Detection in the background: ROIs and boxes of this image, of one ROI, of all images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_graydet.core.fit import Fit, fit_box
from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.errors import CancelledError, GraydetError
from napari_graydet.gui.control import edits
from napari_graydet.gui.control.session import FINISHED, JobState, Order, Session
from napari_graydet.gui.control.work import Job
from napari_graydet.project.schema import (
    Annotation,
    BoxRecord,
    ImageEntry,
    ResidualRecord,
    RoiRecord,
    State,
)
from napari_graydet.workflows.doubt import doubts_of_project
from napari_graydet.workflows.events import OnProgress, Progress, ShouldCancel, one_line
from napari_graydet.workflows.predict import (
    Prediction,
    Predictor,
    box_record,
    plain_name,
)
from napari_graydet.workflows.predict_project import PredictReport, predict_project

if TYPE_CHECKING:
    from napari_graydet.gui.control.controller import Controller

PredictorFactory = Callable[[], Predictor]

DETECTING_ALL = "Detecting in all images"
LOOKING_AT_PROPOSALS = "Looking at proposals"

FITTED = {1: "flat box", 2: "tilted box"}
"""What boxes are called by the number of grays along a side."""


class Detection:
    """The detecting half of the controller.

    Parameters
    ----------
    controller
        The other half.
    factory
        Called for each detection; returns the detectors, which load when they are first used.
    """

    def __init__(self, controller: Controller, factory: PredictorFactory) -> None:
        self._controller = controller
        self._factory = factory
        self._job: Job | None = None
        self._started = 0  # jobs so far, and projects that were left
        self._asked: tuple[int, int] | None = None  # whose verdict, and its revision

    @property
    def _session(self) -> Session:
        return self._controller.session

    def warm_up(self) -> None:
        """Let the detectors load before they are asked for, where that disturbs nobody."""
        if self._job is not None:
            return  # they are in use, and those that come after them load when they are
        try:
            self._factory().warm_up()
        except GraydetError as error:
            self._controller.fail(error)

    def cancel(self) -> None:
        """Stop what runs; what is finished is kept."""
        if self._job is not None:
            self._job.cancel()

    def leave(self) -> None:
        """Stop what runs for a project that is being left; what still arrives of it is dropped."""
        self._asked = None
        if self._job is not None:
            self._job.cancel()
            self._started += 1
            self._finished()

    def image(self) -> None:
        """Propose ROIs and boxes for the current image; what a person made stays."""
        session = self._session
        image, image_id = session.image, session.image_id
        if image is None or image_id is None or self._job is not None:
            return
        if self._asks_first():
            return
        predictor, entry = self._factory(), session.entry
        verdict = None if entry is None else entry.state
        self._start(
            JobState("Detecting", can_cancel=True),
            lambda _progress, cancel: predictor.for_job(cancel).predict(image),
            lambda found: self._merge(image_id, verdict, found),
        )

    def _asks_first(self) -> bool:
        """Ask before a person's verdict is taken back; whoever calls again means it."""
        entry = self._session.entry
        if entry is None or entry.state not in FINISHED:
            return False
        verdict = entry.id, entry.revision
        if verdict == self._asked:
            return False
        self._asked = verdict
        self._controller.say(
            f"This image is {entry.state}. Detect once more to see new proposals instead.",
            "warning",
        )
        return True

    def box(self) -> None:
        """Propose the 3D box of the selected ROI, with alternatives."""
        session = self._session
        image, roi, record = session.image, session.roi, session.annotation
        if image is None or roi is None or record is None or self._job is not None:
            return
        predictor = self._factory()
        self._start(
            JobState("Looking for the 3D box", can_cancel=True),
            lambda _progress, cancel: _boxes(predictor.for_job(cancel), image, roi, record),
            lambda found: self._put_boxes(roi, found),
        )

    def fit(self, k: int) -> None:
        """Give the selected ROI the box with K x K nets whose mask is most like the one shown."""
        session = self._session
        image, roi, record, masks = session.image, session.roi, session.annotation, session.masks
        if image is None or roi is None or record is None or masks is None or self._job is not None:
            return
        whole = masks.final(roi.label).copy()  # a drag that begins meanwhile writes into it
        rows, cols = roi.roi_box.slices(image.shape)
        mask = np.zeros_like(whole)  # other ROIs have boxes of their own
        mask[rows, cols] = whole[rows, cols]
        if not mask.any():
            self._controller.say("There is no mask in this ROI to fit a box to: paint it first.")
            return

        def work(_progress: OnProgress, _cancel: ShouldCancel) -> tuple[Fit, BoxRecord, Annotation]:
            found = fit_box(image, mask, roi.roi_box, k)
            made = edits.by_hand(edits.boxed_roi(roi, found.box.gray), found.box)
            box = _in_place(record, made)
            after = edits.put_box(record, box)
            return found, box, edits.with_mask(after, roi.label, image.pixels, whole)

        self._start(JobState("Fitting the box"), work, lambda made: self._put_fitted(record, *made))

    def refine(self) -> None:
        """Let the refiner correct the mask of the current image; what a person painted stays."""
        image, record = self._session.image, self._session.annotation
        if image is None or record is None or self._job is not None:
            return
        predictor = self._factory()
        if predictor.refiner is None:
            self._controller.say("There is no refiner yet: train one in the tab Train.", "warning")
            return
        self._start(
            JobState("Refining", can_cancel=True),
            lambda _progress, cancel: predictor.for_job(cancel).refined(image, Prediction(record)),
            lambda found: self._put_refined(record, found),
        )

    def all(self) -> None:
        """Propose for every image of the project that no person has worked on."""
        recorder = self._controller.recorder
        if recorder is None or self._job is not None or not recorder.flush():
            return
        predictor, store = self._factory(), recorder.store

        def work(progress: OnProgress, cancel: ShouldCancel) -> PredictReport:
            return predict_project(store, predictor, None, progress, cancel)

        state = JobState(DETECTING_ALL, 0.0, can_cancel=True)
        self._start(state, work, self._all_done, self._one_done)

    def order_by(self, order: Order) -> None:
        """Let the images come as in the project, or the most doubtful proposals first.

        What is not known yet is looked at first; images keep their places until asked again.
        """
        session, recorder = self._session, self._controller.recorder
        if recorder is None or (order == "doubt" and self._job is not None):
            session.entries_changed.emit()  # views show what is in force
            return
        session.order = order
        unknown = [e for e in session.entries if e.state is State.PROPOSED and not self._known(e)]
        if order == "project" or not unknown:
            recorder.refresh_entries()
            return
        store = recorder.store

        def work(progress: OnProgress, cancel: ShouldCancel) -> dict[int, float]:
            return doubts_of_project(store, unknown, progress, cancel)

        self._start(
            JobState(LOOKING_AT_PROPOSALS, 0.0, can_cancel=True),
            work,
            self._learn_doubts,
            lambda at: self._tell(LOOKING_AT_PROPOSALS, at),
        )

    def _known(self, entry: ImageEntry) -> bool:
        return (entry.id, entry.revision) in self._session.doubts

    def _learn_doubts(self, found: Mapping[int, float]) -> None:
        """Note the doubts of proposals as they are stored now."""
        session, recorder = self._session, self._controller.recorder
        if recorder is not None:
            proposed = [entry for entry in session.entries if entry.id in found]
            session.doubts |= {(e.id, e.revision): found[e.id] for e in proposed}
            recorder.refresh_entries()

    def _start(
        self,
        state: JobState,
        work: Callable[[OnProgress, ShouldCancel], object],
        done: Callable[..., None],
        progress: OnProgress | None = None,
    ) -> None:
        """Run work for the open project; once that was left, nothing of it is called back.

        Ids of images start at 1 in every project: what arrives late would find its image there.
        """
        self._busy(state)
        self._job = _PENDING
        self._started += 1
        here = partial(self._unless_left, self._started)
        job = self._controller.jobs.run(
            work,
            done=here(done),
            failed=here(self._failed),
            progress=None if progress is None else here(progress),
            finished=here(self._finished),
            waits=True,
        )
        if self._job is _PENDING:
            self._job = job

    def _unless_left(self, started: int, then: Callable[..., None]) -> Callable[..., None]:
        def told(*values: object) -> None:
            if started == self._started:
                then(*values)

        return told

    def _failed(self, error: Exception) -> None:
        if isinstance(error, CancelledError):
            self._controller.say(one_line(error))
        else:
            self._controller.fail(error)

    def _finished(self) -> None:
        self._job = None
        self._busy(None)

    def _busy(self, state: JobState | None) -> None:
        self._session.job = state
        self._session.job_changed.emit()

    def _merge(self, image_id: int, before: State | None, found: Prediction) -> None:
        """Put a prediction into the record, if its image is still shown and no verdict came."""
        session, controller = self._session, self._controller
        if image_id != session.image_id or session.annotation is None:
            return
        if self._is_judged(before):
            return
        for label in dict.fromkeys(part.label for part in found.annotation.rois):
            controller.know_class(label)
        merged = edits.merge_prediction(session.annotation, found.annotation)
        controller.commit(merged, "detect", "model")
        for roi in merged.rois:
            session.alternatives.pop(roi.id, None)
            if roi.id in found.alternatives:
                session.alternatives[roi.id] = found.alternatives[roi.id]
        session.alternatives_changed.emit()
        if found.notices:
            controller.say(" ".join(found.notices), "warning")
        elif not found.annotation.rois:
            controller.say("Nothing was detected: draw an ROI, or accept the image as empty.")

    def _is_judged(self, before: State | None) -> bool:
        """Tell whether a person gave a verdict since a detection began: it stays, and is told."""
        record = self._session.annotation
        if record is None or record.state not in FINISHED or record.state is before:
            return False
        self._controller.say(f"This image is {record.state} by now: what was found was dropped.")
        return True

    def _put_boxes(self, roi: RoiRecord, looked: _Looked) -> None:
        session, controller = self._session, self._controller
        if session.annotation is None or roi not in session.annotation.rois:
            return
        found = looked.boxes
        if not found:
            controller.say("No 3D box was found here: set its range in the histogram.", "warning")
            return
        session.alternatives[roi.id] = found
        session.alternatives_changed.emit()
        if self._is_judged(looked.record.state):
            return
        if _boxes_of(session.annotation, roi) != _boxes_of(looked.record, roi):
            controller.say("The box was set by hand meanwhile: it stays, see the alternatives.")
            return
        best = _in_place(session.annotation, found[0])
        if session.roi_id == roi.id:
            session.box_id = best.id
        after = edits.put_box(session.annotation, best)
        if looked.refined is not None and session.annotation is looked.record:
            after = after.model_copy(update={"residual": looked.refined})
        controller.commit(after, "detect box", "model")
        if looked.notices:
            controller.say(" ".join(looked.notices), "warning")

    def _put_fitted(
        self, record: Annotation, found: Fit, box: BoxRecord, after: Annotation
    ) -> None:
        session, controller = self._session, self._controller
        if session.annotation is not record:
            controller.say("The mask changed meanwhile: fit once more.", "warning")
            return
        if session.roi_id == box.roi_id:
            session.box_id = box.id
        controller.commit(after, "fit box")
        what = FITTED.get(found.box.k, f"box of {found.box.k} x {found.box.k} grays")
        controller.say(f"The best {what} gives back {found.iou:.1%} of the mask here (IoU).")

    def _put_refined(self, record: Annotation, found: Prediction) -> None:
        session, controller = self._session, self._controller
        if session.annotation is not record:
            controller.say("The boxes changed meanwhile: refine once more.", "warning")
            return
        residual = found.annotation.residual
        if residual != record.residual:
            controller.commit(edits.put_residual(record, residual), "refine", "model")
        elif not found.notices:
            controller.say("Nothing to refine: the mask is as the refiner sees it.")
        if found.notices:
            controller.say(" ".join(found.notices), "warning")

    def _tell(self, name: str, progress: Progress) -> None:
        done = progress.done / max(progress.total, 1)
        text = f"{progress.done} of {progress.total}: {progress.name}"
        self._busy(JobState(name, done, text, can_cancel=True))

    def _one_done(self, progress: Progress) -> None:
        self._tell(DETECTING_ALL, progress)
        if progress.image_id is not None:
            self._controller.entry_predicted(progress.image_id)

    def _all_done(self, report: PredictReport) -> None:
        controller = self._controller
        controller.learn_classes()
        self._learn_doubts(report.doubts)
        parts = [f"{len(report.predicted)} images proposed"]
        if report.skipped:
            parts.append(f"{len(report.skipped)} with work by hand left as they are")
        if report.failed:
            first, others = report.failed[0], len(report.failed) - 1
            named = "" if first.message.startswith(first.name) else f"{first.name}: "
            more = f", and {others} more" if others else ""
            parts.append(f"{others + 1} failed ({named}{first.message.rstrip('.')}{more})")
        if report.added:
            parts.append(f"{' and '.join(report.added)} added to the classes")
        if report.cancelled:
            parts.append("stopped")
        controller.say(", ".join(parts) + ".", "warning" if report.failed else "info")


@dataclass(frozen=True)
class _Looked:
    """What a look into one ROI found.

    Parameters
    ----------
    record
        The record at that time.
    boxes
        Best first.
    refined
        The residuals with the best box in its place; None without a refiner.
    notices
        What the user should know.
    """

    record: Annotation
    boxes: tuple[BoxRecord, ...]
    refined: dict[str, ResidualRecord] | None = None
    notices: tuple[str, ...] = ()


def _boxes_of(record: Annotation, roi: RoiRecord) -> list[BoxRecord]:
    return [box for box in record.boxes if box.roi_id == roi.id]


def _in_place(record: Annotation, box: BoxRecord) -> BoxRecord:
    """Return a box with the id of the one that its ROI has."""
    old = next((b for b in record.boxes if b.roi_id == box.roi_id), None)
    return box.model_copy(update={"id": old.id}) if old else box


def _boxes(predictor: Predictor, image: GrayImage, roi: RoiRecord, record: Annotation) -> _Looked:
    """Look for the boxes of an ROI, and refine its class with the best one (in a worker)."""
    detector = predictor.box_detector
    known = roi.label if roi.label in detector.labels else None
    rows, cols = roi.roi_box.slices(image.shape)
    window = image.pixels[rows, cols]
    if window.min() == window.max():
        raise GraydetError(
            f"All pixels of this ROI have the gray value {window.min()}; make it larger."
        )
    found: list[BoxProposal] = predictor.boxes(image, roi.roi_box, known)
    model = plain_name(detector.name)
    boxes = tuple(
        box_record(p, roi.label, roi_id=roi.id, source="model", model=model) for p in found
    )
    if not boxes or predictor.refiner is None or not predictor.auto_refine:
        return _Looked(record, boxes)
    after = edits.put_box(record, _in_place(record, boxes[0]))
    refined = predictor.refined(image, Prediction(after))
    residual = {k: v for k, v in record.residual.items() if k != roi.label}
    if (made := refined.annotation.residual.get(roi.label)) is not None:
        residual[roi.label] = made
    return _Looked(record, boxes, residual, refined.notices)


class _Pending:
    """Stands for a job that ended before its handle came back."""

    def cancel(self) -> None:
        """Nothing to stop."""


_PENDING: Job = _Pending()
