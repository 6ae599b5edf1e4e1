"""Detectors that need no weights, behind the protocols of `core.proposals`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayRange
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import Mask, Residual, box_mask
from napari_graydet.workflows.predict import Predictor


@dataclass
class FakeRois:
    """Proposes what it was told, or raises it."""

    proposals: Sequence[RoiProposal] | Exception = ()
    name: str = "fake-roi"
    labels: tuple[str, ...] = ("bone", "lung")
    seen: list[str] = field(default_factory=list)

    def detect(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiProposal]:
        self.seen.append(image.name)
        if isinstance(self.proposals, Exception):
            raise self.proposals
        return [p for p in self.proposals if p.score >= (min_score or 0.0)]


@dataclass
class BrightHalf:
    """Takes the brighter half of an ROI's gray values as the box: really looks at the pixels."""

    name: str = "fake-boxes"
    labels: tuple[str, ...] = ("bone", "lung")
    asked: list[str | None] = field(default_factory=list)

    def detect(
        self, image: GrayImage, roi: RoiBox, *, label: str | None = None, alternatives: int = 5
    ) -> list[BoxProposal]:
        self.asked.append(label)
        rows, cols = roi.slices(image.shape)
        window = image.pixels[rows, cols]
        gray = GrayRange(int(np.median(window)), int(window.max()))
        first = BoxProposal(GrayBox.flat(roi, gray), label or self.labels[0], 0.75)
        wider = GrayRange(int(window.min()), int(window.max()))
        return [first, BoxProposal(GrayBox.flat(roi, wider), first.label, 0.5)]


@dataclass
class Shifts:
    """Refines one label: to the mask of its boxes, one pixel further to the right."""

    name: str = "shifts"
    label: str = "bone"

    def missed(
        self,
        image: GrayImage,
        rois: Sequence[RoiProposal],
        doubtful: Sequence[RoiProposal] = (),
    ) -> list[RoiProposal]:
        """Return those of its label anew, and the doubtful ones."""
        own = [roi for roi in (*rois, *doubtful) if roi.label == self.label]
        return [replace(roi, score=roi.score / 2) for roi in own]

    def refine(
        self,
        image: GrayImage,
        boxes: Sequence[BoxProposal],
        bases: Mapping[str, Mask] | None = None,
    ) -> dict[str, Residual]:
        own = [b.box for b in boxes if b.label == self.label]
        if not own:
            return {}
        plain = box_mask(image.pixels, own)
        base = plain if bases is None else bases[self.label]
        return {self.label: Residual.between(base, np.roll(plain, 1, axis=1))}


def proposal(
    x0: float, y0: float, x1: float, y1: float, label: str = "bone", score: float = 0.9
) -> RoiProposal:
    return RoiProposal(RoiBox(x0, y0, x1, y1), label, score)


def fake_predictor(*rois: RoiProposal) -> Predictor:
    return Predictor(roi_detector=FakeRois(list(rois)), box_detector=BrightHalf())
