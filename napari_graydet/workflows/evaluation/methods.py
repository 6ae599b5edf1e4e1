"""What segments an image, behind one protocol: ours, the simple rivals, the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.segmentation import explained_share
from napari_graydet.project.schema import Annotation
from napari_graydet.workflows.predict import UNLABELLED, Predictor, plain_name, roi_record
from napari_graydet.workflows.refine import Refines, missed_rois, refined

Mask = npt.NDArray[np.bool_]

CANDIDATE_SCORE = 0.01
"""Least score of the ROIs that average precision is computed of."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a method says about one image.

    Parameters
    ----------
    masks
        (H, W) bool by label; a label that is not there has an empty mask.
    rois, boxes
        The regions and 3D boxes that the masks come from; empty where a method has none.
    explained
        By label, the IoU of the mask with that of the boxes alone; None for methods without boxes.
    """

    masks: Mapping[str, Mask]
    rois: Sequence[RoiProposal] = ()
    boxes: Sequence[BoxProposal] = ()
    explained: Mapping[str, float] | None = None


class Method(Protocol):
    """Anything that segments a grayscale image."""

    @property
    def name(self) -> str:
        """Name for tables."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes that it knows."""

    def segment(self, image: GrayImage, rois: Sequence[RoiProposal] | None = None) -> Result:
        """Segment an image; `rois` are taken in the place of detected ones."""


@runtime_checkable
class FindsRois(Protocol):
    """A method that looks for ROIs first, so that its average precision can be told."""

    def candidates(self, image: GrayImage) -> Sequence[RoiProposal]:
        """Return all ROIs that it could think of, also those of low score."""


class GraydetMethod:
    """ROI detector, 3D box detector and, if wanted, a refiner.

    Parameters
    ----------
    predictor
        The two detectors.
    refiner
        Network that corrects the mask of the boxes; its word is the last one.
    name
        Name for tables; None makes one of the models' names.
    """

    def __init__(
        self,
        predictor: Predictor,
        refiner: Refines | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self.predictor, self.refiner = predictor, refiner
        self._name = name

    @property
    def name(self) -> str:
        """Name for tables: those of the models, joined."""
        if self._name is not None:
            return self._name
        models = [self.predictor.roi_detector.name, self.predictor.box_detector.name]
        if self.refiner is not None:
            models.append(self.refiner.name)
        return " + ".join(plain_name(model) for model in models)

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes of both detectors, the ROI detector's first; loads the models.

        A rule that takes ROIs of any class, such as Otsu's, adds none.
        """
        rois, boxes = self.predictor.roi_detector.labels, self.predictor.box_detector.labels
        return tuple(dict.fromkeys((*rois, *(name for name in boxes if name != UNLABELLED))))

    def segment(self, image: GrayImage, rois: Sequence[RoiProposal] | None = None) -> Result:
        """Segment an image; `rois` are taken in the place of detected ones."""
        found = self._found(image) if rois is None else rois
        annotation = self.annotate(image, found)
        labels = dict.fromkeys((*annotation.labels, *(roi.label for roi in annotation.rois)))
        masks = {label: annotation.mask(image.pixels, label) for label in labels}
        return Result(
            masks=masks,
            rois=[RoiProposal(r.roi_box, r.label, r.score or 0.0) for r in annotation.rois],
            boxes=_proposals(annotation),
            explained={
                label: float(explained_share(annotation.base_mask(image.pixels, label), mask))
                for label, mask in masks.items()
            },
        )

    def _found(self, image: GrayImage) -> list[RoiProposal]:
        """Return the ROIs of the detector, and those that it missed and the refiner sees."""
        found = self.predictor.rois(image)
        if self.refiner is None:
            return found
        return [*found, *missed_rois(image, found, self.refiner, self.predictor.rois)]

    def candidates(self, image: GrayImage) -> list[RoiProposal]:
        """Return the ROIs down to `CANDIDATE_SCORE`, best first."""
        return self.predictor.rois(image, min_score=CANDIDATE_SCORE)

    def annotate(self, image: GrayImage, rois: Sequence[RoiProposal]) -> Annotation:
        """Return the record of an image: the given ROIs, their boxes, residual."""
        found = [roi_record(p.roi, p.label, score=p.score, source="model") for p in rois]
        annotation = self.predictor.propose_boxes(image, found).annotation
        if self.refiner is None:
            return annotation
        return refined(annotation, image, self.refiner, plain_name(self.refiner.name))[0]


def _proposals(annotation: Annotation) -> list[BoxProposal]:
    return [BoxProposal(b.gray_box(), b.label, b.score or 0.0) for b in annotation.boxes]
