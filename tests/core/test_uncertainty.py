"""Signs of doubt: against plain counting, and in the direction that makes sense."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.uncertainty import (
    NEAR,
    Signs,
    box_uncertainty,
    class_margins,
    cluster_spreads,
    image_uncertainty,
    near_share,
    signs_of,
)
from tests.core.strategies import gray_boxes, images

SIGNS = Signs(margin=0.7, spread=0.12, near=0.1, separability=0.7, roi_score=0.85)
shares = st.floats(0, 1)


def test_the_margin_is_to_the_runner_up_be_it_a_class_or_the_background() -> None:
    probabilities = np.array([[0.7, 0.1], [0.5, 0.45], [0.2, 0.3]])
    found = class_margins(probabilities, np.array([0, 0, 1]))
    np.testing.assert_allclose(found, [0.7 - 0.2, 0.5 - 0.45, 0.3 - 0.5])


def test_the_spread_of_a_cluster_is_weighted_and_relative_to_its_height() -> None:
    edges = np.array([[0.2, 0.6], [0.24, 0.6], [0.2, 0.64], [0.8, 0.9], [0.2, 0.6]])
    scores, classes = np.array([0.9, 0.3, 0.3, 0.5, 0.8]), np.array([0, 0, 0, 0, 1])
    spread, alone, other = cluster_spreads(edges, scores, classes, np.array([0, 3, 4]))
    weights = [0.9, 0.3, 0.3]
    deviations = [np.sqrt(np.cov(edges[:3, side], aweights=weights, ddof=0)) for side in (0, 1)]
    assert spread == pytest.approx(np.mean(deviations) / 0.4)
    # another place in gray, another class
    assert [alone, other] == pytest.approx([0.0, 0.0])


def test_scores_of_nothing_make_no_nan() -> None:
    edges = np.array([[0.2, 0.6], [0.3, 0.6], [1.0, 1.0]])
    found = cluster_spreads(edges, np.zeros(3), np.zeros(3, dtype=int), np.array([0, 2]))
    assert np.isfinite(found).all() and found[0] > 0


def test_pixels_near_a_threshold_are_counted_as_by_hand() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60), dtype=np.uint8)
    image, roi = GrayImage(pixels, GrayScale.of_bits(8)), RoiBox(5, 0, 45, 50)
    window = pixels[:, 5:45].astype(int)
    inside = ((window >= 100) & (window <= 180)).sum()
    near = ((window >= 100 - NEAR) & (window < 100 + NEAR)).sum()
    near += ((window > 180 - NEAR) & (window <= 180 + NEAR)).sum()
    box = GrayBox.flat(roi, GrayRange(100, 180))
    assert near_share(image, box) == pytest.approx(near / inside)
    # a top beyond all grays cuts nothing
    open_box = GrayBox.flat(roi, GrayRange(100, 255))
    near = ((window >= 100 - NEAR) & (window < 100 + NEAR)).sum()
    assert near_share(image, open_box) == pytest.approx(near / (window >= 100).sum())
    deep = GrayImage(pixels.astype(np.uint16) * 257, GrayScale.of_bits(16))
    wide = GrayBox.flat(roi, GrayRange(100 * 257, 180 * 257))
    assert near_share(deep, wide) == pytest.approx(near_share(image, box), rel=0.1)


@settings(max_examples=40)
@given(images(), gray_boxes())
def test_every_box_of_every_image_gets_a_number(image: GrayImage, box: GrayBox) -> None:
    signs = signs_of(image, BoxProposal(box, "bone", 0.5))
    assert signs.near >= 0 and 0 <= signs.separability <= 1
    assert 0 <= box_uncertainty(signs) <= 1


def test_separability_is_the_share_of_the_variance_between() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 40), dtype=np.uint8)
    image = GrayImage(pixels, GrayScale.of_bits(8))
    box = GrayBox(RoiBox(0, 0, 40, 40), [[90, 120], [100, 80]], [[255, 255], [250, 240]])
    inside = box.inside(pixels)[1]
    means = np.where(inside, pixels[inside].mean(), pixels[~inside].mean())
    signs = signs_of(image, BoxProposal(box, "bone", 0.5, margin=0.3, spread=0.1), roi_score=0.9)
    assert signs.separability == pytest.approx(means.var() / pixels.var())
    assert (signs.margin, signs.spread, signs.roi_score) == (0.3, 0.1, 0.9)
    assert signs.disagreement is None


def test_the_refiner_disagrees_by_one_minus_dsc_in_the_roi() -> None:
    pixels = np.zeros((10, 10), dtype=np.uint8)
    pixels[:, 5:] = 200
    image = GrayImage(pixels, GrayScale.of_bits(8))
    proposal = BoxProposal(GrayBox.flat(RoiBox(0, 0, 10, 10), GrayRange(100, 255)), "bone", 0.9)
    refined = np.zeros((10, 10), dtype=bool)
    refined[:5, 5:] = True
    found = signs_of(image, proposal, refined=refined)
    assert found.disagreement == pytest.approx(1 - 2 * 25 / (50 + 25))
    assert signs_of(image, proposal, refined=pixels > 0).disagreement == 0.0


@pytest.mark.parametrize(
    ("sign", "worse"),
    [
        ("margin", 0.0),
        ("near", 0.5),
        ("separability", 0.4),
        ("roi_score", 0.4),
        ("disagreement", 0.4),
    ],
)
def test_a_worse_sign_makes_a_box_more_doubtful(sign: str, worse: float) -> None:
    sure = replace(SIGNS, disagreement=0.05)
    assert box_uncertainty(replace(sure, **{sign: worse})) > box_uncertainty(sure)


@given(shares, shares, st.floats(0, 2), shares, shares, shares)
def test_doubt_is_a_share_and_never_falls_when_signs_get_worse(
    margin: float, spread: float, near: float, eta: float, roi: float, other: float
) -> None:
    signs = Signs(margin, spread, near, eta, roi, other)
    worse = Signs(margin - 0.2, spread + 0.1, near + 0.1, eta - 0.1, roi - 0.1, other + 0.1)
    assert 0 <= box_uncertainty(signs) <= box_uncertainty(worse) <= 1


def test_unknown_signs_count_as_average_ones() -> None:
    known = Signs(None, None, SIGNS.near, SIGNS.separability)
    assert 0 < box_uncertainty(known) < 1


def test_an_image_is_as_doubtful_as_its_boxes_by_area() -> None:
    assert image_uncertainty([0.2, 0.8], [10**6, 10**6]) == pytest.approx(0.5)
    assert image_uncertainty([0.2, 0.8], [10**6, 0]) == pytest.approx(0.2, abs=1e-5)
    assert image_uncertainty([], []) == 1.0
