"""Ceiling and fit take what `segment` takes, and say in our own errors what they cannot take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import napari_graydet as gd
from napari_graydet.core import ceiling, fit
from napari_graydet.errors import GeometryError, ImageError, MaskError

ROI = (2.0, 3.0, 40.0, 30.0)


@pytest.fixture(scope="module")
def pixels() -> Any:
    return np.random.default_rng(3).integers(0, 4096, (36, 50)).astype(np.uint16)


@pytest.fixture(scope="module")
def mask(pixels: Any) -> Any:
    found = (pixels >= 1000) & (pixels <= 3000)
    found[:, 25:] &= pixels[:, 25:] <= 2500
    return found


def image_of(pixels: Any) -> gd.GrayImage:
    return gd.GrayImage(pixels, gd.GrayScale.of_bits(16))


@pytest.mark.parametrize("function", [gd.best_range, gd.fit_box])
def test_files_arrays_and_tuples_give_what_the_core_gives(
    function: Any, pixels: Any, mask: Any, tmp_path: Path
) -> None:
    core = {"best_range": ceiling.best_range, "fit_box": fit.fit_box}[function.__name__]
    expected = core(image_of(pixels), mask, gd.RoiBox(*ROI))
    image_file, mask_file = tmp_path / "image.png", tmp_path / "mask.png"
    Image.fromarray(pixels).save(image_file)
    Image.fromarray(mask.astype(np.uint8) * 255).save(mask_file)
    images = (image_file, str(image_file), pixels, image_of(pixels))
    masks = (mask_file, str(mask_file), mask, mask.astype(np.uint8))
    rois = (ROI, list(ROI), np.array(ROI), gd.RoiBox(*ROI))
    for image, truth, roi in zip(images, masks, rois, strict=True):
        assert repr(function(image, truth, roi)) == repr(expected)  # boxes have no equality


def test_options_of_the_fit_are_passed_on(pixels: Any, mask: Any) -> None:
    assert gd.fit_box(pixels, mask, ROI, k=1).box.k == 1
    with pytest.raises(GeometryError, match="smoothness"):
        gd.fit_box(pixels, mask, ROI, 2, -1.0)
    signed = pixels.astype(np.int16) - 2000
    assert gd.best_range(signed, mask, ROI).range.low == -1000


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ("missing.png", ImageError, "missing.png"),
        (7, ImageError, "got int"),
        (np.zeros((3, 3)), ImageError, "integer gray values"),
        (np.zeros((3, 3, 3), np.uint8), ImageError, "2D"),
        (np.full((3, 3), 1 << 40), ImageError, "-32768 to 65535"),
    ],
)
def test_what_is_no_image(image: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gd.best_range(image, np.ones((3, 3), bool), (0, 0, 3, 3))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("missing.png", "missing.png"),
        (None, "got NoneType"),
        ([[True]], "got list"),
        (np.array([["a"]]), "array of bool"),
        (np.ones(4, bool), "shape"),
        (np.ones((4, 3), bool), "shape"),
        (np.zeros((3, 3), bool), "true pixel"),
    ],
)
def test_what_is_no_mask_of_the_image(mask: Any, message: str) -> None:
    for function in (gd.best_range, gd.fit_box):
        with pytest.raises(MaskError, match=message):
            function(np.eye(3, dtype=np.uint8), mask, (0, 0, 3, 3))


@pytest.mark.parametrize(
    "roi", [(1, 2, 3), "half", "abcd", 7, None, (0, 0, "x", 3), (2, 2, 2, 3), (8, 8, 9, 9)]
)
def test_what_is_no_roi(roi: Any) -> None:
    for function in (gd.best_range, gd.fit_box):
        with pytest.raises(GeometryError, match="ROI"):
            function(np.eye(3, dtype=np.uint8), np.ones((3, 3), bool), roi)
