"""Held-out ROIs: the ceiling is one, and the same seed gives the same."""

from __future__ import annotations

from benchmarks.held_out_rois import ceilings, held_out_rois, mask_ious
from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.ceiling import best_range
from napari_graydet.core.grayscale import GrayImage, GrayRange
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.roi import RoiBox
from tests.models.test_interval import CLASSES, disc

SAMPLES = [disc(seed, seed % 2) for seed in range(20, 28)]


class Fixed:
    """Always proposes the same range."""

    def __init__(self, low: int, high: int) -> None:
        self.gray = GrayRange(low, high)

    def detect(
        self, image: GrayImage, roi: RoiBox, *, label: str | None = None, alternatives: int = 5
    ) -> list[BoxProposal]:
        return [BoxProposal(GrayBox.flat(roi, self.gray), label or "", 1.0)]


def test_the_ceiling_is_reached_by_the_best_range_and_by_no_other() -> None:
    rois = held_out_rois(SAMPLES, CLASSES, seed=1)
    assert len(rois) == len(SAMPLES)
    best = ceilings(rois)
    for held, ceiling in zip(rois, best, strict=True):
        ideal = best_range(held.image, held.truth, held.roi).range
        assert mask_ious(Fixed(ideal.low, ideal.high), [held])[0] == ceiling
    assert (mask_ious(Fixed(0, 128), rois) <= best).all()


def test_the_same_seed_gives_the_same_rois() -> None:
    one, two, other = (held_out_rois(SAMPLES, CLASSES, seed=seed) for seed in (1, 1, 2))
    assert [r.roi for r in one] == [r.roi for r in two] != [r.roi for r in other]
