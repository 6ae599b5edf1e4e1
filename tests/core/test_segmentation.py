from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.segmentation import (
    CleanUp,
    Residual,
    box_mask,
    decode_runs,
    encode_runs,
    explained_share,
    segment_mask,
)
from napari_graydet.errors import MaskError

from .strategies import gray_boxes, images

masks = st.builds(
    lambda seed, shape, p: np.random.default_rng(seed).random(shape) < p,
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.floats(0, 1),
)


@given(masks)
def test_runs_go_back(mask: np.ndarray) -> None:
    runs = encode_runs(mask)
    np.testing.assert_array_equal(decode_runs(runs, mask.shape), mask)
    assert sum(length for _, length in runs) == mask.sum()


@given(masks, st.integers(0, 2**32 - 1))
def test_residual_turns_one_mask_into_the_other(base: np.ndarray, seed: int) -> None:
    target = np.random.default_rng(seed).random(base.shape) < 0.5
    residual = Residual.between(base, target)
    np.testing.assert_array_equal(residual.apply(base), target)
    np.testing.assert_array_equal(residual.apply(target), target)
    assert bool(residual) == (base != target).any()


@given(images(), st.lists(gray_boxes(), max_size=3))
def test_mask_is_the_union_of_the_boxes(image: GrayImage, boxes: list[GrayBox]) -> None:
    union = np.zeros(image.shape, bool)
    for box in boxes:
        union |= box_mask(image.pixels, [box])
    np.testing.assert_array_equal(segment_mask(image.pixels, boxes), union)


@given(masks, st.integers(1, 3), st.integers(0, 20))
def test_keeping_parts(mask: np.ndarray, count: int, min_area: int) -> None:
    cleaned = CleanUp(keep_largest=count, min_area=min_area)(mask)
    assert not (cleaned & ~mask).any()
    labels, n = ndimage.label(mask, np.ones((3, 3)))
    areas = sorted((int((labels == i + 1).sum()) for i in range(n)), reverse=True)
    expected = [a for a in areas[:count] if a >= max(min_area, 1)]
    assert cleaned.sum() == sum(expected)


def test_holes_are_filled_and_specks_opened_away() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:30, 5:30] = True
    mask[15, 15] = False
    mask[36, 36] = True
    cleaned = CleanUp(opening=1, fill_holes=True)(mask)
    assert cleaned[17, 17] and not cleaned[36, 36]
    assert CleanUp()(mask) is not None and (CleanUp()(mask) == mask).all()
    assert CleanUp(keep_largest=1, fill_holes=True)(mask)[15, 15]


@given(masks)
def test_cleaning_nothing_is_nothing(mask: np.ndarray) -> None:
    assert not CleanUp(1, True, 1, 5)(np.zeros_like(mask)).any()


def test_runs_outside_are_refused() -> None:
    for run in ((-1, 2), (0, 0), (5, 5)):
        with pytest.raises(MaskError, match="damaged or belongs"):
            decode_runs((run,), (3, 3))


def test_explained_share() -> None:
    base, mask = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    assert explained_share(base, mask) == 1
    base[0, :3] = mask[0, 1:] = True
    assert explained_share(base, mask) == 0.5
    with pytest.raises(MaskError):
        explained_share(base, mask[:1])
