"""Varied pictures keep their boxes on their objects."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.models.roi import augmentation
from napari_graydet.models.roi.augmentation import Example


def _bright_box(box: tuple[int, int, int, int], shape: tuple[int, int]) -> Example:
    pixels = np.zeros(shape, np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = 255
    image = GrayImage(pixels, GrayScale.of_bits(8))
    return Example.of(image, [RoiBox(*map(float, box))], [1], "test")


@given(seed=st.integers(0, 10_000), size=st.sampled_from([64, 160, 256]))
def test_the_box_follows_its_object(seed: int, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augmentation, "vary_tones", lambda picture, rng: picture)
        patch.setattr(augmentation, "PADDING", 0.0)
        example = _bright_box((40, 30, 90, 140), (200, 260))
        canvas, boxes, ids = augmentation.augment(example, size, np.random.default_rng(seed))
    assert canvas.shape == (size, size)
    assert ids.tolist() == [1] * len(boxes)
    bright = np.argwhere(canvas.numpy() > 0.5)
    if len(boxes) == 0:
        return
    (cx, cy, w, h) = boxes[0] * size
    found = np.concatenate([bright.min(0)[::-1], bright.max(0)[::-1] + 1])
    np.testing.assert_allclose([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], found, atol=1.01)


def test_large_pictures_are_kept_small() -> None:
    example = _bright_box((400, 300, 900, 1100), (1300, 2600))
    assert max(example.gray.shape) == augmentation.KEPT_SIZE
    scale = augmentation.KEPT_SIZE / 2600
    np.testing.assert_allclose(example.boxes[0], np.array([400, 300, 900, 1100]) * scale, rtol=1e-6)
    assert example.gray.dtype == torch.uint8


@given(seed=st.integers(0, 10_000))
def test_tones_stay_gray_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = augmentation.vary_tones(torch.rand(30, 40), rng)
    assert picture.shape == (30, 40)
    assert torch.isfinite(picture).all()
    assert picture.min() >= 0 and picture.max() <= 1


def test_boxes_mostly_outside_or_tiny_do_not_count() -> None:
    boxes = np.array([[-99, 10, 30, 50], [-20, 10, 30, 50], [10, 10, 13, 60]], np.float32)
    shares, kept = augmentation._visible(boxes, 100)
    assert kept.tolist() == [False, True, False]
    np.testing.assert_allclose(shares, [[0.15, 0.3, 0.3, 0.4]], atol=1e-6)


def test_the_same_seed_gives_the_same_picture() -> None:
    example = _bright_box((40, 30, 90, 140), (200, 260))
    a, b = (augmentation.augment(example, 128, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])
