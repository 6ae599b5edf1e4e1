"""A method and a dataset -> a report: scores per image and label, and their means.

What the figures mean stands in `workflows.scoring`, how they are averaged in `workflows.report`.
An image that cannot be read or segmented becomes a row with an error; the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from napari_graydet.core.matching import average_precision
from napari_graydet.core.proposals import RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import DatasetError
from napari_graydet.workflows.dataset import Case, Dataset
from napari_graydet.workflows.events import (
    IMAGE_ERRORS,
    OnProgress,
    Progress,
    ShouldCancel,
    check_cancelled,
    ignore_progress,
    never_cancel,
)
from napari_graydet.workflows.methods import FindsRois, Mask, Method
from napari_graydet.workflows.predict import UNLABELLED
from napari_graydet.workflows.report import Report
from napari_graydet.workflows.scoring import LabelResult, Row, counted_label, score

__all__ = ["Report", "Row", "evaluate"]

Detections = tuple[list[RoiBox], list[RoiProposal]]
"""True ROIs and proposals of one image and label."""

OnMasks = Callable[[str, dict[str, Mask]], None]
"""Gets the name of an image and its masks by label, as they are scored."""


def ignore_masks(name: str, masks: dict[str, Mask]) -> None:
    """Take masks and do nothing."""


def evaluate(
    method: Method,
    dataset: Dataset,
    *,
    true_rois: bool = False,
    split: str = "all",
    on_masks: OnMasks = ignore_masks,
    on_progress: OnProgress = ignore_progress,
    should_cancel: ShouldCancel = never_cancel,
) -> Report:
    """Score a method on every image of a dataset.

    Parameters
    ----------
    method
        What segments.
    dataset
        The images; `Dataset.subset` takes one side of a split.
    true_rois
        Give the method the true ROIs instead of letting it find them.
    split
        Which side the images are, for the report: "test", "validation", "all".
    on_masks
        Called with the masks of each image that could be segmented.
    on_progress, should_cancel
        Called after, and asked before, each image.

    Returns
    -------
    Report
        One row per image and class, in the order of the dataset.

    Raises
    ------
    DatasetError
        If there is no image, or the method knows none of the classes.
    WeightsError, ModelError
        If the method's models cannot be loaded.
    CancelledError
        If the user stopped.
    """
    known = method.labels  # loads the models: broken ones fail once, not once per image
    notices = _check(dataset, known)
    rows: list[Row] = []
    found: dict[str, list[Detections]] = {label: [] for label in dataset.classes}
    for done, case in enumerate(dataset.cases, start=1):
        check_cancelled(should_cancel)
        measured, detections = _measured(method, case, dataset.classes, true_rois, on_masks)
        rows += measured
        for label, detection in detections.items():
            found[label].append(detection)
        on_progress(Progress(done, len(dataset.cases), case.name, measured[0].error or ""))
    precision = {label: average_precision(images) for label, images in found.items() if images}
    return Report(
        method=method.name,
        data=dataset.digest,
        split=split,
        true_rois=true_rois,
        rows=tuple(rows),
        average_precision=precision,
        notices=notices,
    )


def _check(dataset: Dataset, known: Sequence[str]) -> tuple[str, ...]:
    """Return a notice of the classes that the method cannot find."""
    if not dataset.cases:
        raise DatasetError("Expected images with true masks to evaluate on, got none.")
    unknown = [name for name in dataset.classes if name not in (*known, UNLABELLED)]
    if len(unknown) == len(dataset.classes):
        raise DatasetError(
            f"The method knows {', '.join(known)}, but the masks are of {', '.join(unknown)}; "
            "name their class as the method does."
        )
    return (f"The method does not know {' and '.join(unknown)}.",) if unknown else ()


def _measured(
    method: Method, case: Case, classes: Sequence[str], true_rois: bool, on_masks: OnMasks
) -> tuple[list[Row], dict[str, Detections]]:
    try:
        return _measure(method, case, true_rois, on_masks)
    except IMAGE_ERRORS as error:
        return [Row(case.name, label, case.told(error)) for label in classes], {}


def _measure(
    method: Method, case: Case, true_rois: bool, on_masks: OnMasks
) -> tuple[list[Row], dict[str, Detections]]:
    """Return the rows of one image, and its true and found ROIs by label."""
    samples = case.samples()
    image = samples[0].image
    truth = [RoiProposal(roi, sample.label, 1.0) for sample in samples for roi in sample.rois]
    start = time.perf_counter()
    result = method.segment(image, truth if true_rois else None)
    seconds = time.perf_counter() - start
    ideal = result if true_rois or result.explained is None else method.segment(image, truth)
    counted = {sample.label: counted_label(sample.label, method.labels) for sample in samples}
    of_label = {label: LabelResult.of(result, name, image.shape) for label, name in counted.items()}
    on_masks(case.name, {label: found.mask for label, found in of_label.items()})
    rows = [
        score(
            case.name,
            sample,
            of_label[sample.label],
            LabelResult.of(ideal, counted[sample.label], image.shape),
            true_rois=true_rois,
            seconds=seconds,
        )
        for sample in samples
    ]
    if true_rois or not isinstance(method, FindsRois):
        return rows, {}
    candidates = method.candidates(image)
    return rows, {
        sample.label: (
            sample.rois,
            [p for p in candidates if counted[sample.label] in (None, p.label)],
        )
        for sample in samples
    }
