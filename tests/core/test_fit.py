"""The fit of nets to masks: exact for flat boxes, never worse than them, finds boxes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.ceiling import best_range
from napari_graydet.core.fit import Fit, fit_box
from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.metrics import dice, iou
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.sample import connected_parts, part_rois
from napari_graydet.core.segmentation import CleanUp, box_mask
from napari_graydet.errors import GeometryError, MaskError
from napari_graydet.io.images import read_image
from napari_graydet.io.masks import read_mask
from tests.core.strategies import images, rois

seeds = st.integers(0, 2**32 - 1)


def blob(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Return a random half plane or ellipse, at least one pixel, with a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape)
    a, b, c, d = rng.uniform(-1, 1, 4)
    mask = np.where(rng.random() < 0.5, a * x + b * y > c / 4, (x - 0.4) ** 2 + (y - a) ** 2 < d**2)
    mask = mask ^ (rng.random(shape) < 0.05)
    mask[rng.integers(shape[0]), rng.integers(shape[1])] = True
    return np.asarray(mask, dtype=np.bool_)


@settings(max_examples=40)
@given(images(), rois(), seeds)
def test_one_control_gray_is_the_best_range(image: GrayImage, roi: RoiBox, seed: int) -> None:
    mask = blob(image.shape, seed)
    try:
        expected = best_range(image, mask, roi)
    except (GeometryError, MaskError) as error:
        with pytest.raises(type(error)):
            fit_box(image, mask, roi, 1)
        return
    found = fit_box(image, mask, roi, 1)
    assert found.box.is_flat and found.box.gray == expected.range
    assert found.iou == expected.iou and found.dice == expected.dice


@settings(max_examples=15)
@given(images(), seeds, st.integers(2, 4), st.sampled_from([0.0, 1e-4, 0.1]))
def test_the_iou_is_that_of_the_box_and_never_below_the_flat_one(
    image: GrayImage, seed: int, k: int, smoothness: float
) -> None:
    mask, roi = blob(image.shape, seed), RoiBox(0.3, 0.0, image.width - 0.2, image.height + 4.0)
    if not mask[roi.slices(image.shape)].any():
        return
    found = fit_box(image, mask, roi, k, smoothness)
    assert found.box.k == k
    assert found.box.roi == roi.clip(image.shape)
    assert found.iou == iou(box_mask(image.pixels, [found.box]), mask)
    assert found.iou >= best_range(image, mask, roi).iou


@settings(max_examples=6)
@given(seeds)
def test_finer_nets_are_never_worse_than_the_tilt_they_start_from(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = GrayImage(rng.integers(0, 256, (30, 40), dtype=np.uint8), GrayScale.of_bits(8))
    mask, roi = blob(image.shape, seed), RoiBox.of_image(image.shape)
    one, two, three, four = (fit_box(image, mask, roi, k, 0.0).iou for k in (1, 2, 3, 4))
    assert one <= two <= min(three, four)


@settings(max_examples=12)
@given(seeds, st.sampled_from([2, 3, 4]), st.sampled_from([8, 12, 16]), st.booleans())
def test_masks_of_boxes_are_found_back(seed: int, k: int, bits: int, inverted: bool) -> None:
    """Any depth, and MONOCHROME1, whose stored values are as good as any others."""
    rng = np.random.default_rng(seed)
    top = 2**bits - 1
    pixels = rng.integers(0, top, (120, 90), endpoint=True).astype(np.uint8 if bits == 8 else "u2")
    image = GrayImage(pixels, GrayScale.of_bits(bits, inverted=inverted))
    low = top * (0.3 + rng.uniform(-0.15, 0.15, (k, k)))
    high = top * (0.75 + rng.uniform(-0.15, 0.15, (k, k)))
    truth = GrayBox(RoiBox(4.25, 7.5, 83.5, 112.75), low, high)
    found = fit_box(image, box_mask(pixels, [truth]), truth.roi, k)
    assert found.iou > 0.97


def test_deep_images_are_fitted_like_shallow_ones() -> None:
    rng = np.random.default_rng(3)
    shallow = rng.integers(0, 256, (150, 150), dtype=np.uint8)
    mask, roi = np.hypot(*np.mgrid[-75:75, -75:75]) < 50, RoiBox(10, 10, 140, 140)
    mask &= shallow > 60
    deep = shallow.astype(np.uint16) * 257
    a = fit_box(GrayImage(shallow, GrayScale.of_bits(8)), mask, roi)
    b = fit_box(GrayImage(deep, GrayScale.of_bits(16)), mask, roi)
    assert b.iou == pytest.approx(a.iou, abs=0.005)
    assert a.iou > best_range(GrayImage(shallow, GrayScale.of_bits(8)), mask, roi).iou + 0.1


def test_smoothness_runs_from_free_to_flat() -> None:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:80, :80] / 80
    pixels = (255 * (0.2 + 0.5 * x * y + 0.3 * rng.random((80, 80)))).astype(np.uint8)
    image = GrayImage(pixels, GrayScale.of_bits(8))
    truth = GrayBox(RoiBox(0, 0, 80, 80), [[60, 110], [80, 180]], [[110, 170], [140, 250]])
    mask = box_mask(pixels, [truth])

    def unevenness(fit: Fit) -> float:
        return float(np.ptp(fit.box.low) + np.ptp(fit.box.high))

    free, firm, stiff = (fit_box(image, mask, truth.roi, 3, s) for s in (1e-4, 0.3, 100.0))
    assert free.iou > firm.iou > stiff.iou
    assert unevenness(free) > unevenness(firm) > unevenness(stiff)
    assert unevenness(stiff) < 2.0  # gray values
    assert stiff.iou == pytest.approx(best_range(image, mask, truth.roi).iou, abs=0.02)


def test_true_pixels_outside_the_roi_count_as_missed() -> None:
    pixels = np.full((40, 40), 50, dtype=np.uint8)
    pixels[:, 20:] = 200
    image = GrayImage(pixels, GrayScale.of_bits(8))
    found = fit_box(image, pixels == 200, RoiBox(0, 0, 30, 40), 3)
    assert found.iou == 0.5
    assert found.iou == iou(box_mask(pixels, [found.box]), pixels == 200)


def test_a_full_mask_and_an_image_of_one_gray() -> None:
    pixels = np.full((30, 30), 77, dtype=np.uint8)
    image, roi = GrayImage(pixels, GrayScale.of_bits(8)), RoiBox(0, 0, 30, 30)
    full = fit_box(image, np.ones((30, 30), bool), roi, 3)
    assert full.iou == 1.0 and full.box.k == 3
    half = np.zeros((30, 30), bool)
    half[:, :15] = True
    assert fit_box(image, half, roi, 2).iou == 1.0  # bottom and top cross over the other half


def test_bad_input_is_refused_in_one_line() -> None:
    image = GrayImage(np.zeros((4, 6), np.uint8), GrayScale.of_bits(8))
    roi, mask = RoiBox(0, 0, 3, 3), np.ones((4, 6), bool)
    with pytest.raises(MaskError, match="same size"):
        fit_box(image, np.ones((6, 4), bool), roi)
    with pytest.raises(MaskError, match="at least one true pixel"):
        fit_box(image, np.zeros((4, 6), bool), roi)
    mask[:, :3] = False
    with pytest.raises(MaskError, match="inside the ROI"):
        fit_box(image, mask, roi)
    with pytest.raises(GeometryError, match="covers no pixel"):
        fit_box(image, mask, RoiBox(10, 10, 12, 12))
    for k in (0, 5):
        with pytest.raises(GeometryError, match=f"1 to 4 grays per side, got {k}"):
            fit_box(image, mask, RoiBox(0, 0, 6, 4), k)
    with pytest.raises(GeometryError, match="smoothness"):
        fit_box(image, mask, RoiBox(0, 0, 6, 4), 3, float("nan"))


def test_real_parts_are_fitted_as_well_as_was_found_possible(shared_data: Path) -> None:
    """METHOD.md, section 2: bent boxes reach a Dice of .953 on lungs and .988 on tibia crops."""
    clean = CleanUp(opening=1, fill_holes=True, keep_largest=1)
    for folder, stems, least in (
        ("chest", ["MCUCXR_0001_0", "MCUCXR_0104_1"], 0.94),
        ("limb", None, 0.975),
    ):
        paths = sorted((shared_data / folder / "images").glob("tibia_*.png"))[::80]
        reached = []
        for stem in stems or [path.stem for path in paths]:
            image = read_image(shared_data / folder / "images" / f"{stem}.png")
            truth = read_mask(shared_data / folder / "masks" / f"{stem}.png", image.shape)
            parts = connected_parts(truth)
            for part, roi in part_rois(parts).items():
                found = fit_box(image, parts == part, roi)
                reached.append(dice(clean(box_mask(image.pixels, [found.box])), parts == part))
        assert np.mean(reached) > least
