from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from napari_graydet.core.cloud import PixelCloud
from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GeometryError

from .strategies import images


@given(images())
def test_points_lead_back_to_their_pixels(image: GrayImage) -> None:
    cloud = PixelCloud.of_roi(image, RoiBox.of_image(image.shape))
    assert len(cloud) == image.pixels.size
    assert np.abs(cloud.points).max() <= 1 and cloud.points.dtype == np.float32
    r, c, gray = cloud.frame.to_pixels(cloud.points)
    np.testing.assert_array_equal(image.pixels[r, c], cloud.values)
    np.testing.assert_allclose(gray, cloud.values, atol=1e-2)


def test_a_limit_keeps_an_even_choice() -> None:
    image = GrayImage(np.arange(10000).reshape(100, 100).astype(np.uint16), GrayScale.of_bits(16))
    roi = RoiBox(0, 0, 100, 50)
    grid = PixelCloud.of_roi(image, roi, limit=500)
    assert 400 <= len(grid) <= 500 and len(np.unique(grid.values)) == len(grid)
    chosen = PixelCloud.of_roi(image, roi, limit=500, rng=np.random.default_rng(0))
    assert len(np.unique(chosen.values)) == 500 and chosen.values.max() < 5000
    # the grid covers every quarter of the ROI
    for sign_x in (-1, 1):
        for sign_y in (-1, 1):
            quarter = (grid.points[:, 0] * sign_x > 0) & (grid.points[:, 1] * sign_y > 0)
            assert 80 <= quarter.sum() <= 140


def test_a_cloud_needs_pixels() -> None:
    image = GrayImage(np.zeros((5, 5), np.uint8), GrayScale.of_bits(8))
    with pytest.raises(GeometryError):
        PixelCloud.of_roi(image, RoiBox(7, 7, 9, 9))
