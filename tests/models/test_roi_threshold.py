"""From which score on an ROI is proposed: chosen on held-out images."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.proposals import RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.models.roi.threshold import HIGHEST, LOWEST, choose_min_score

TRUE = [RoiBox(0, 0, 20, 40), RoiBox(30, 0, 50, 40)]
FALSE = [RoiBox(0, 60, 20, 90), RoiBox(60, 60, 90, 90)]


@dataclass(eq=False)
class Sample:
    rois: list[RoiBox]
    label: str = "lung"
    kind: str = "chest"
    image: GrayImage = field(
        default_factory=lambda: GrayImage(np.zeros((100, 100), np.uint8), GrayScale.of_bits(8))
    )


class Detector:
    """Gives true and false ROIs their scores, image by image."""

    name, labels = "fake", ("lung",)

    def __init__(self, true: list[list[float]], false: list[list[float]]) -> None:
        self._scores = iter(list(zip(true, false, strict=True)))

    def detect(self, image: GrayImage) -> list[RoiProposal]:
        true, false = next(self._scores)
        found = [*zip(true, TRUE, strict=False), *zip(false, FALSE, strict=False)]
        return [RoiProposal(roi, "lung", score) for score, roi in found if score >= LOWEST]


def chosen(true: list[list[float]], false: list[list[float]]) -> float | None:
    return choose_min_score(Detector(true, false), [Sample(TRUE) for _ in true])


def test_it_lies_between_false_and_true_nearer_to_the_false() -> None:
    found = chosen([[0.6, 0.5], [0.55, 0.7]], [[0.3, 0.1], [0.2]])
    assert found == pytest.approx(0.37, abs=0.02)


def test_a_part_that_is_hard_to_find_lowers_it() -> None:
    assert chosen([[0.9, 0.1], [0.9, 0.9]], [[], []]) == pytest.approx(0.08, abs=0.03)


def test_it_is_never_higher_than_a_half() -> None:
    assert chosen([[0.99, 0.98]], [[0.9]]) == HIGHEST


def test_without_a_true_roi_there_is_nothing_to_choose_on() -> None:
    assert choose_min_score(Detector([[]], [[0.4]]), [Sample([])]) is None


scores = st.lists(st.floats(0.06, 0.99), min_size=2, max_size=2)


@given(st.lists(st.tuples(scores, scores), min_size=1, max_size=4))
def test_no_threshold_on_a_grid_is_clearly_better(
    cases: list[tuple[list[float], list[float]]],
) -> None:
    """Against the definition: true ROIs kept, over the larger of true and kept ones."""
    true, false = ([case[i] for case in cases] for i in (0, 1))

    def quality(threshold: float) -> float:
        kept = [sum(s >= threshold for s in of) for of in true]
        extra = [sum(s >= threshold for s in of) for of in false]
        return sum(kept) / sum(max(2, k + e) for k, e in zip(kept, extra, strict=True))

    found = chosen(true, false)
    assert found is not None and LOWEST <= found <= HIGHEST
    best = max(quality(t) for t in np.arange(0.05, 0.96, 0.01))
    reachable = max(quality(t) for t in np.arange(0.05, HIGHEST + 0.001, 0.01))
    assert quality(found) >= min(best - 0.011, reachable - 0.011) or found == HIGHEST
