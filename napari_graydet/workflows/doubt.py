"""How doubtful a proposal is, from its record and its image alone; nothing of it is stored.

See core/uncertainty.py for what it is made of: 0 sure to 1 doubtful, for ranking.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.segmentation import Mask
from napari_graydet.core.uncertainty import box_uncertainty, image_uncertainty, signs_of
from napari_graydet.project.schema import Annotation, BoxRecord, ImageEntry
from napari_graydet.workflows.events import (
    IMAGE_ERRORS,
    OnProgress,
    Progress,
    ShouldCancel,
    ignore_progress,
    never_cancel,
    one_line,
)
from napari_graydet.workflows.project_images import read_entry

if TYPE_CHECKING:
    from napari_graydet.project.store import ProjectStore


@dataclass(frozen=True)
class Doubt:
    """How doubtful an image and each of its ROIs is, 0 sure to 1 doubtful.

    Parameters
    ----------
    image
        The mean over the ROIs by the areas of their masks; 1 where nothing was found.
    rois
        By ROI id; 1 for an ROI without a box.
    """

    image: float
    rois: Mapping[str, float]


def doubt_of(annotation: Annotation, image: GrayImage) -> Doubt | None:
    """Return how doubtful a proposal is; None if a range in it was set by a person.

    A residual of a refiner counts by how far it disagrees with the boxes, one of a person not.

    Parameters
    ----------
    annotation
        The proposal as it is stored.
    image
        Its image.
    """
    if any(box.source == "human" for box in annotation.boxes):
        return None
    refined = {
        label: annotation.mask(image.pixels, label)
        for label, residual in annotation.residual.items()
        if residual.source == "model"
    }
    rois = dict.fromkeys((roi.id for roi in annotation.rois), 1.0)
    areas = {roi.id: roi.roi_box.area for roi in annotation.rois}
    for box in annotation.boxes:
        if box.roi_id in rois:
            rois[box.roi_id] = _of_box(box, annotation, image, refined.get(box.label))
            areas[box.roi_id] = float(np.count_nonzero(box.gray_box().inside(image.pixels)[1]))
    return Doubt(image_uncertainty(list(rois.values()), list(areas.values())), rois)


def _of_box(
    box: BoxRecord, annotation: Annotation, image: GrayImage, refined: Mask | None
) -> float:
    roi_score = annotation.roi(box.roi_id).score if box.roi_id is not None else None
    proposal = BoxProposal(box.gray_box(), box.label, 0.5 if box.score is None else box.score)
    return box_uncertainty(signs_of(image, proposal, roi_score=roi_score, refined=refined))


def doubts_of_project(
    store: ProjectStore,
    entries: Iterable[ImageEntry],
    on_progress: OnProgress = ignore_progress,
    should_cancel: ShouldCancel = never_cancel,
) -> dict[int, float]:
    """Return how doubtful stored proposals are, by image id.

    An image that cannot be read is left out, and named in the progress; so is one with a range set
    by a person. What was looked at when the user stops is returned.

    Parameters
    ----------
    store
        The open project.
    entries
        Images whose proposals are looked at.
    on_progress, should_cancel
        Called after, and asked before, each image.
    """
    wanted, found = list(entries), dict[int, float]()
    for done, entry in enumerate(wanted, start=1):
        if should_cancel():
            break
        message = ""
        try:
            annotation, _ = store.annotation(entry.id)
            doubt = doubt_of(annotation, read_entry(store, entry))
        except IMAGE_ERRORS as error:
            message = one_line(error)
        else:
            if doubt is not None:
                found[entry.id] = doubt.image
        on_progress(Progress(done, len(wanted), PurePath(entry.path).name, message, entry.id))
    return found
