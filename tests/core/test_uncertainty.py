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
    SIDE,
    Signs,
    box_uncertainty,
    class_margins,
    cluster_spreads,
    edges_at_outline,
    image_uncertainty,
    near_share,
    signs_of,
)
from tests.core.strategies import gray_boxes, images

SIGNS = Signs(0.6, 0.12, 0.07, 0.65, edges=0.75, spill=0.6, around=-0.2, roi_score=0.85)
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
    assert 0 <= signs.edges <= 1 and 0 <= signs.spill <= 1 and -1 <= signs.around <= 1
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
        ("edges", 0.4),
        ("spill", 0.9),
        ("around", 0.1),
        ("roi_score", 0.4),
        ("disagreement", 0.4),
    ],
)
def test_a_worse_sign_makes_a_box_more_doubtful(sign: str, worse: float) -> None:
    sure = replace(SIGNS, disagreement=0.05)
    assert box_uncertainty(replace(sure, **{sign: worse})) > box_uncertainty(sure)


@given(shares, shares, st.floats(0, 2), st.lists(shares, min_size=6, max_size=6))
def test_doubt_is_a_share_and_never_falls_when_signs_get_worse(
    margin: float, spread: float, near: float, others: list[float]
) -> None:
    eta, edges, spill, around, roi, other = others
    signs = Signs(margin, spread, near, eta, edges, spill, around, roi, other)
    worse = Signs(
        margin - 0.2, spread + 0.1, near + 0.1, eta - 0.1, edges - 0.1, spill + 0.1, around + 0.1,
        roi - 0.1, other + 0.1,
    )  # fmt: skip
    assert 0 <= box_uncertainty(signs) <= box_uncertainty(worse) <= 1


def test_unknown_signs_count_as_average_ones() -> None:
    known = replace(SIGNS, margin=None, spread=None, roi_score=None)
    assert 0 < box_uncertainty(known) < 1


def disk_image(size: int = 120, radius: int = 30) -> tuple[GrayImage, np.ndarray]:
    """A bright disk on a dark ground, off the centre of the image, with a little noise."""
    y, x = np.mgrid[:size, :size] - 50
    disk = x**2 + y**2 <= radius**2
    noise = np.random.default_rng(3).integers(0, 10, disk.shape)
    pixels = np.where(disk, 180, 40) + noise
    return GrayImage(pixels.astype(np.uint8), GrayScale.of_bits(8)), disk


def doubt_at(image: GrayImage, roi: RoiBox, low: int = 110, high: int = 255) -> Signs:
    box = GrayBox.flat(roi, GrayRange(low, high))
    return signs_of(image, BoxProposal(box, "bone", 0.8), roi_score=0.8)


def test_a_mask_whose_outline_is_the_object_s_explains_the_edges() -> None:
    image, disk = disk_image()
    assert edges_at_outline(image.pixels, disk) > 0.9
    assert edges_at_outline(image.pixels, np.roll(disk, 25, axis=1)) < 0.5


def test_a_picture_four_times_as_large_has_the_same_edges() -> None:
    image, disk = disk_image(SIDE)
    large = np.kron(image.pixels, np.ones((4, 4), dtype=np.uint8))
    mask = np.kron(disk.astype(np.uint8), np.ones((4, 4), dtype=np.uint8)) > 0
    assert edges_at_outline(large, mask) == pytest.approx(edges_at_outline(image.pixels, disk))


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 300), (300, 2), (0, 5)])
def test_edges_of_slivers_and_of_flat_pictures_are_told_without_error(
    shape: tuple[int, int],
) -> None:
    flat = np.full(shape, 7, dtype=np.uint8)
    assert edges_at_outline(flat, np.ones(shape, dtype=bool)) == 0.0


def test_spill_and_surroundings_are_counted_as_by_hand() -> None:
    image, _ = disk_image()
    pixels = image.pixels.astype(int)
    found = doubt_at(image, RoiBox(40, 40, 80, 80))
    inside = pixels >= 110
    # the ROI ends at rows and columns 40 and 79; beyond them lie 39 and 80
    sides = [
        (inside[40, 40:80] & inside[39, 40:80]).mean(),
        (inside[79, 40:80] & inside[80, 40:80]).mean(),
        (inside[40:80, 40] & inside[40:80, 39]).mean(),
        (inside[40:80, 79] & inside[40:80, 80]).mean(),
    ]
    assert found.spill == pytest.approx(max(sides)) and max(sides) > 0.9
    wide, part = inside[30:90, 30:90], inside[40:80, 40:80]
    ring = (wide.sum() - part.sum()) / (wide.size - part.size)
    assert found.around == pytest.approx(ring - part.mean())


def test_what_the_image_s_own_edge_cuts_off_is_no_spill() -> None:
    image, _ = disk_image()
    cut = GrayImage(image.pixels[:, 50:], GrayScale.of_bits(8))
    found = doubt_at(cut, RoiBox(0, 15, 35, 85))
    assert found.spill == 0.0
    whole = doubt_at(image, RoiBox(0, 0, 120, 120))
    assert (whole.spill, whole.around) == (0.0, 0.0)


def test_a_misplaced_roi_and_a_wrong_range_are_more_doubtful_than_the_right_ones() -> None:
    image, _ = disk_image()
    right = box_uncertainty(doubt_at(image, RoiBox(16, 16, 84, 84)))
    misplaced = box_uncertainty(doubt_at(image, RoiBox(45, 45, 113, 113)))
    noise = box_uncertainty(doubt_at(image, RoiBox(16, 16, 84, 84), 0, 44))
    assert right < 0.5 and misplaced > right + 0.1 and noise > right + 0.1


def test_an_unknown_margin_is_the_least_that_the_score_allows() -> None:
    image, _ = disk_image()
    assert doubt_at(image, RoiBox(16, 16, 84, 84)).margin == pytest.approx(2 * 0.8 - 1)


def test_an_image_is_as_doubtful_as_its_boxes_by_area() -> None:
    assert image_uncertainty([0.2, 0.8], [10**6, 10**6]) == pytest.approx(0.5)
    assert image_uncertainty([0.2, 0.8], [10**6, 0]) == pytest.approx(0.2, abs=1e-5)
    assert image_uncertainty([], []) == 1.0
