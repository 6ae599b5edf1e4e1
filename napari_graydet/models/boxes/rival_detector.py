"""A simple rival in the network's place: it finds the ranges, the network tells classes apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.io.weights import read_card
from napari_graydet.models.boxes.detector import BoxDetector
from napari_graydet.models.boxes.interval import IntervalDetector, IntervalModel

_ALL = 1_000_000
"""More alternatives than there are."""


class RivalDetector(IntervalDetector):
    """Finds flat boxes as `IntervalDetector` does (docs/decisions/0015).

    A histogram alone does not say what an ROI shows. Where nobody says it either, and there are
    several classes, the network is asked.

    Parameters
    ----------
    rival
        What finds the ranges.
    network
        What tells classes apart.
    path
        The file that both are from, for the name.
    """

    def __init__(self, rival: IntervalModel, network: BoxDetector, path: Path) -> None:
        super().__init__(rival, name=f"{rival.kind} {read_card(path).sha256[:8]}")
        self._network = network

    def detect(
        self, image: GrayImage, roi: RoiBox, *, label: str | None = None, alternatives: int = 5
    ) -> list[BoxProposal]:
        """Propose 3D boxes in an ROI; see `IntervalDetector.detect`."""
        if label is not None or len(self.labels) == 1:
            return super().detect(image, roi, label=label, alternatives=alternatives)
        likely = self._network.detect(image, roi, alternatives=_ALL)
        order = {box.label: place for place, box in reversed(list(enumerate(likely)))}
        found, seen = super().detect(image, roi, alternatives=_ALL), Counter[str]()
        ranked = []
        for box in found:
            ranked.append((seen[box.label], order.get(box.label, len(order)), box))
            seen[box.label] += 1
        ranked.sort(key=lambda row: row[:2])
        return [box for _, _, box in ranked[: alternatives + 1]]
