"""What detectors propose: ROIs and 3D boxes, each with a label and a score."""

from __future__ import annotations

from dataclasses import dataclass

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.roi import RoiBox


@dataclass(frozen=True)
class RoiProposal:
    """A proposed region of interest; `score` is 0..1."""

    roi: RoiBox
    label: str
    score: float


@dataclass(frozen=True)
class BoxProposal:
    """A proposed 3D box; `score` is 0..1."""

    box: GrayBox
    label: str
    score: float
