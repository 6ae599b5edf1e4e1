"""The choice between box detectors on held-out ROIs."""

from __future__ import annotations

import numpy as np
import pytest

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.ceiling import best_range
from napari_graydet.core.grayscale import GrayImage, GrayRange
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import ModelError
from napari_graydet.models.box_choice import (
    ceilings,
    choose_box_detector,
    held_out_rois,
    mask_ious,
)
from napari_graydet.models.interval import IntervalDetector, fit_interval
from tests.models.test_interval import CLASSES, disc


class Fixed:
    """Always proposes the same range."""

    def __init__(self, low: int, high: int) -> None:
        self.gray = GrayRange(low, high)

    def detect(
        self, image: GrayImage, roi: RoiBox, *, label: str | None = None, alternatives: int = 5
    ) -> list[BoxProposal]:
        return [BoxProposal(GrayBox.flat(roi, self.gray), label or "", 1.0)]


class Fails:
    """Finds nothing in some ROIs and fails in others."""

    def detect(
        self, image: GrayImage, roi: RoiBox, *, label: str | None = None, alternatives: int = 5
    ) -> list[BoxProposal]:
        if label == "bone":
            raise ModelError("nothing here")
        return []


SAMPLES = [disc(seed, seed % 2) for seed in range(20, 28)]


def test_the_better_one_is_chosen_and_shares_are_of_the_ceiling() -> None:
    otsu = IntervalDetector(fit_interval("otsu", SAMPLES, CLASSES, 0), name="otsu")
    candidates = {"everything": Fixed(0, 255), "otsu": otsu, "nothing": Fails()}
    choice = choose_box_detector(candidates, SAMPLES, CLASSES, seed=3)
    assert choice.best == "otsu"
    assert set(choice.shares["otsu"]) == {"bone", "lung"}
    assert choice.means["otsu"] == pytest.approx(np.mean(list(choice.shares["otsu"].values())))
    assert 0.97 < choice.means["otsu"] <= 1.0
    assert choice.means["nothing"] == 0.0 < choice.means["everything"] < 0.8


def test_of_equals_the_first_is_taken() -> None:
    twins = {"simple": Fixed(0, 255), "grand": Fixed(0, 255)}
    assert choose_box_detector(twins, SAMPLES, CLASSES).best == "simple"


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


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ModelError, match="accept more images"):
        choose_box_detector({"all": Fixed(0, 255)}, [], CLASSES)
    with pytest.raises(ModelError, match="got 0"):
        choose_box_detector({}, SAMPLES, CLASSES)
