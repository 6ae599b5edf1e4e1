"""Every pixel of a mask belongs to one of the drawn ROIs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_graydet.core.roi import RoiBox
from napari_graydet.workflows.training.roi_parts import parts_of_rois

rois = st.builds(
    lambda x, y, w, h: RoiBox(x, y, x + w, y + h),
    *(st.floats(-5, 25, width=16) for _ in range(2)),
    *(st.floats(1, 30, width=16) for _ in range(2)),
)


@settings(max_examples=40)
@given(st.lists(rois, min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_parts_divide_the_mask_by_the_smallest_or_nearest_roi(
    boxes: list[RoiBox], seed: int
) -> None:
    mask = np.random.default_rng(seed).random((20, 24)) < 0.1
    parts = parts_of_rois(mask, boxes)
    np.testing.assert_array_equal(parts > 0, mask)
    for row, col in zip(*np.nonzero(mask), strict=True):
        x, y = col + 0.5, row + 0.5
        own = boxes[parts[row, col] - 1]
        around = [b for b in boxes if b.x0 <= x < b.x1 and b.y0 <= y < b.y1]
        if around:
            assert own.area == min(box.area for box in around)
        else:
            away = [_away(box, x, y) for box in boxes]
            assert _away(own, x, y) == pytest.approx(min(away))


def _away(box: RoiBox, x: float, y: float) -> float:
    nearest = np.clip([x, y], [box.x0, box.y0], [box.x1, box.y1])
    return float(np.linalg.norm(nearest - [x, y]))
