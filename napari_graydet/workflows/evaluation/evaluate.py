"""A method and a dataset -> a report: scores per image and label, and their means.

What the figures mean stands in `workflows.scoring`, how they are averaged in `workflows.report`.
An image that cannot be read or segmented becomes a row with an error; the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from napari_graydet.core.matching import average_precision
from napari_graydet.core.proposals import RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import CancelledError, DatasetError
from napari_graydet.workflows.dataset import Case, Dataset
from napari_graydet.workflows.evaluation.methods import FindsRois, Mask, Method
from napari_graydet.workflows.evaluation.report import Report
from napari_graydet.workflows.evaluation.scoring import LabelResult, Row, counted_label, score
from napari_graydet.workflows.events import (
    IMAGE_ERRORS,
    OnProgress,
    Progress,
    ShouldCancel,
    check_cancelled,
    ignore_progress,
    never_cancel,
)
from napari_graydet.workflows.predict import UNLABELLED

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
        try:
            measured = _measure(method, case, true_rois)
        except CancelledError:
            raise
        except IMAGE_ERRORS as error:
            message = case.told(error)
            rows += [Row(case.name, label, message) for label in dataset.classes]
        else:
            message = ""
            rows += measured.rows
            for label, detections in measured.detections.items():
                found[label].append(detections)
            on_masks(case.name, measured.masks)  # here: a full disk is no fault of the image
        on_progress(Progress(done, len(dataset.cases), case.name, message))
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


@dataclass(frozen=True, eq=False)
class _Measured:
    """What is known of one image: rows; masks, true and found ROIs by label."""

    rows: list[Row]
    masks: dict[str, Mask]
    detections: dict[str, Detections]


def _measure(method: Method, case: Case, true_rois: bool) -> _Measured:
    samples = case.samples()
    image = samples[0].image
    truth = [RoiProposal(roi, sample.label, 1.0) for sample in samples for roi in sample.rois]
    start = time.perf_counter()
    result = method.segment(image, truth if true_rois else None)
    seconds = time.perf_counter() - start
    ideal = result if true_rois or result.explained is None else method.segment(image, truth)
    counted = {sample.label: counted_label(sample.label, method.labels) for sample in samples}
    of_label = {label: LabelResult.of(result, name, image.shape) for label, name in counted.items()}
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
    detections = {}
    if not true_rois and isinstance(method, FindsRois):
        candidates = method.candidates(image)
        for sample in samples:
            own = [p for p in candidates if counted[sample.label] in (None, p.label)]
            detections[sample.label] = (sample.rois, own)
    return _Measured(rows, {label: one.mask for label, one in of_label.items()}, detections)
