"""One ROI per part of the truth."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_graydet.core.sample import (
    MARGIN,
    SMALLEST_PIXELS,
    SMALLEST_SHARE,
    connected_parts,
    part_rois,
)


@given(st.integers(0, 10_000))
def test_rois_hold_their_parts_with_a_margin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.standard_normal((90, 120)), 4) > 0.05
    parts = connected_parts(mask)
    smallest = max(SMALLEST_PIXELS, SMALLEST_SHARE * mask.size)
    found = part_rois(parts)
    areas = np.bincount(parts.ravel())
    assert set(found) == {i for i in range(1, parts.max() + 1) if areas[i] >= smallest}
    for part_id, roi in found.items():
        y, x = np.nonzero(parts == part_id)
        w, h = np.ptp(x) + 1, np.ptp(y) + 1
        expected = [x.min() - MARGIN * w, y.min() - MARGIN * h]
        expected += [x.max() + 1 + MARGIN * w, y.max() + 1 + MARGIN * h]
        np.testing.assert_allclose(roi.xyxy, np.clip(expected, 0, [120, 90, 120, 90]))


def test_touching_corners_are_one_part() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:8, 2:8] = mask[8:14, 8:14] = True
    assert connected_parts(mask).max() == 1


def test_a_mask_of_specks_loses_none() -> None:
    mask = np.zeros((520, 520), dtype=bool)
    mask[::2, ::2] = True  # 67600 parts, more than ids
    parts = connected_parts(mask)
    assert parts.dtype == np.uint16
    np.testing.assert_array_equal(parts > 0, mask)
