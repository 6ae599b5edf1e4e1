"""Detectors, and what they propose: ROIs and 3D boxes, each with a label and a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.roi import RoiBox


@dataclass(frozen=True)
class RoiProposal:
    """A proposed region of interest; `score` is 0..1."""

    roi: RoiBox
    label: str
    score: float


@dataclass(frozen=True)
class BoxProposal:
    """A proposed 3D box, and what its detector knows about how sure it is.

    Parameters
    ----------
    box, label
        The proposal.
    score
        0..1.
    margin
        Score less that of the runner-up, another class or the background, -1..1; None where the
        detector compares no classes.
    spread
        How far the proposals that it was chosen from disagree about its bottom and top, as a share
        of its height (core/uncertainty.py); None where there was nothing to choose from.
    drawn
        Whether a person says where its ROI lies.
    """

    box: GrayBox
    label: str
    score: float
    margin: float | None = None
    spread: float | None = None
    drawn: bool = False


class RoiDetector(Protocol):
    """Anything that finds regions of interest."""

    @property
    def name(self) -> str:
        """Name and version of the model, for the record."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes that it knows."""

    def detect(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiProposal]:
        """Return the ROIs of an image, best first; `min_score` None takes the model's own."""


class BoxDetector(Protocol):
    """Anything that finds 3D boxes, and with them gray ranges, in an ROI."""

    @property
    def name(self) -> str:
        """Name and version of the model, for the record."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes that it knows."""

    def detect(
        self, image: GrayImage, roi: RoiBox, *, label: str | None = None, alternatives: int = 5
    ) -> list[BoxProposal]:
        """Return the boxes of an ROI, best first: the best one and its `alternatives`."""
