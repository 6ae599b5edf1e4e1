"""Proposals for the images of a project; what a person has worked on is never overwritten."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING

from napari_graydet.errors import CancelledError, ConflictError, DamagedProjectError
from napari_graydet.project.schema import ImageEntry, State
from napari_graydet.workflows.doubt import doubt_of
from napari_graydet.workflows.events import (
    IMAGE_ERRORS,
    Failure,
    OnProgress,
    Progress,
    ShouldCancel,
    check_cancelled,
    ignore_progress,
    never_cancel,
    one_line,
)
from napari_graydet.workflows.predict import Prediction, Predictor, plain_name
from napari_graydet.workflows.project_images import read_entry

if TYPE_CHECKING:
    from napari_graydet.project.store import ProjectStore


@dataclass
class PredictReport:
    """What became of the images of a project.

    `predicted`, `skipped` (human work is there) and `cancelled` speak for themselves; `failed`
    names images that could not be read or predicted; `notices` maps image ids to their notices,
    `doubts` maps those that were predicted to how doubtful that is (workflows/doubt.py), and
    `roi_doubts` to how doubtful each of their ROIs is, by its id. `added` holds classes that the
    models find and the project did not have beside its own.
    """

    predicted: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    notices: dict[int, tuple[str, ...]] = field(default_factory=dict)
    doubts: dict[int, float] = field(default_factory=dict)
    roi_doubts: dict[int, dict[str, float]] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    cancelled: bool = False


def predict_project(
    store: ProjectStore,
    predictor: Predictor,
    ids: Iterable[int] | None = None,
    on_progress: OnProgress = ignore_progress,
    should_cancel: ShouldCancel = never_cancel,
) -> PredictReport:
    """Propose ROIs and boxes for images of a project; human work is never overwritten.

    A bad image is reported and the others go on. What is finished when the user stops is kept.

    Parameters
    ----------
    store
        The open project.
    predictor
        The detectors.
    ids
        Images to predict; None takes all that are new or only proposed.
    on_progress, should_cancel
        Called after, and asked before, each image.

    Raises
    ------
    WeightsError, ModelError
        If the detectors cannot be loaded.
    ProjectError
        If a proposal cannot be saved (disk full, read-only): going on would lose every other one.
    """
    entries = _entries(store, ids)
    report = PredictReport()
    predictor = predictor.for_job(should_cancel)
    try:
        if entries:  # a broken model fails once, not once per image
            _ = predictor.roi_detector.labels, predictor.box_detector.labels, predictor.refiner
        for done, entry in enumerate(entries, start=1):
            check_cancelled(should_cancel)
            message = _predict_entry(store, predictor, entry, report)
            name = PurePath(entry.path).name
            on_progress(Progress(done, len(entries), name, message, entry.id))
    except CancelledError:
        report.cancelled = True
    return report


def _entries(store: ProjectStore, ids: Iterable[int] | None) -> list[ImageEntry]:
    if ids is None:
        return [e for e in store.entries() if e.state in (State.NEW, State.PROPOSED)]
    return [store.entry(image_id) for image_id in ids]


def _predict_entry(
    store: ProjectStore, predictor: Predictor, entry: ImageEntry, report: PredictReport
) -> str:
    try:
        if _human_work(store, entry):
            return _skipped(entry, report)
        image = read_entry(store, entry)
        prediction = predictor.predict(image)
        doubt = doubt_of(prediction.annotation, image)
    except CancelledError:
        raise
    except IMAGE_ERRORS as error:
        return _failed(entry, error, report)
    try:
        message = _save(store, predictor, entry, prediction, report)
    except (ConflictError, DamagedProjectError) as error:  # of this image; a full disk is of all
        return _failed(entry, error, report)
    if doubt is not None and entry.id in report.predicted[-1:]:
        report.doubts[entry.id] = round(doubt.image, 4)
        report.roi_doubts[entry.id] = {name: round(v, 4) for name, v in doubt.rois.items()}
    return message


def _human_work(store: ProjectStore, entry: ImageEntry) -> bool:
    """Tell before the work what `save_prediction` makes sure of at its end."""
    if entry.state is State.NEW:
        return False
    return store.annotation(entry.id)[0].has_human_work


def _skipped(entry: ImageEntry, report: PredictReport) -> str:
    report.skipped.append(entry.id)
    return "skipped: human work is there"


def _failed(entry: ImageEntry, error: Exception, report: PredictReport) -> str:
    message = one_line(error)
    report.failed.append(Failure(PurePath(entry.path).name, message, entry.id))
    return f"failed: {message}"


def _save(
    store: ProjectStore,
    predictor: Predictor,
    entry: ImageEntry,
    prediction: Prediction,
    report: PredictReport,
) -> str:
    models = (predictor.roi_detector, predictor.box_detector, predictor.refiner)
    model = " + ".join(plain_name(m.name) for m in models if m is not None)
    found = prediction.annotation
    labels = [*(roi.label for roi in found.rois), *(box.label for box in found.boxes)]
    for label in dict.fromkeys(labels):
        if label not in store.classes:
            if store.classes:
                report.added.append(label)
            store.add_class(label)
    if not store.save_prediction(entry.id, found, model):
        return _skipped(entry, report)
    report.predicted.append(entry.id)
    if prediction.notices:
        report.notices[entry.id] = prediction.notices
    count = len(found.boxes)
    return f"{count} {'box' if count == 1 else 'boxes'}"
