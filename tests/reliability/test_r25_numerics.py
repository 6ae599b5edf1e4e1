"""R25: 1,000 examples each against independent code; no NaN in any result, whatever comes in."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from scipy import linalg

from napari_graydet.core.boxes import pairwise_iou_3d
from napari_graydet.core.ceiling import best_range
from napari_graydet.core.coder import decode, encode
from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
from napari_graydet.core.nms import nms_3d
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GeometryError, GraydetError, ModelError
from napari_graydet.models.boxes.detector import BoxDetector
from napari_graydet.models.loading import shipped

EXAMPLES = 1000


def examples(seed: int) -> Iterator[np.random.Generator]:
    """Return a generator of its own for every example."""
    return (np.random.default_rng([seed, i]) for i in range(EXAMPLES))


def test_coder_agrees_with_the_papers_formulas() -> None:
    for rng in examples(1):
        (pc, gc), (ph, gh) = rng.uniform(-1, 2, 2), np.exp(rng.uniform(-4, 2, 2))
        t = encode([pc, ph], [gc, gh])
        assert t[0] == pytest.approx((gc - pc) / ph, rel=1e-9, abs=1e-12)
        assert t[1] == pytest.approx(math.log(gh) - math.log(ph), rel=1e-9, abs=1e-12)
        back = decode([pc, ph], t)
        np.testing.assert_allclose(back, [gc, gh], rtol=1e-9, atol=1e-9)
    print(f"R25: coder, {EXAMPLES} examples")


def clipped(a: float, b: float, c: float, d: float) -> float:
    """Length that two intervals share."""
    return max(0.0, min(b, d) - max(a, c))


def test_iou_agrees_with_interval_arithmetic() -> None:
    for rng in examples(2):
        a, b = (np.sort(rng.integers(0, 30, (2, 3)), axis=0).astype(float) for _ in range(2))
        shared = math.prod(clipped(a[0, i], a[1, i], b[0, i], b[1, i]) for i in range(3))
        whole = float(np.prod(a[1] - a[0]) + np.prod(b[1] - b[0])) - shared
        expected = shared / whole if whole else 0.0
        got = pairwise_iou_3d(a.reshape(1, 6), b.reshape(1, 6))[0, 0]
        assert got == pytest.approx(expected, abs=1e-12)
    print(f"R25: IoU, {EXAMPLES} examples")


def test_iou_of_boxes_agrees_with_counted_voxels() -> None:
    """Flat boxes with whole corners are made of unit cubes; gray ranges are closed."""
    grid = np.indices((12, 12, 12))
    for rng in examples(3):
        drawn = [(np.sort(rng.choice(12, (3, 2)), axis=1), rng) for _ in range(2)]
        solids, cubes = [], []
        for (x, y, g), _ in drawn:
            x1, y1 = x[1] + 1, y[1] + 1
            bottom, top = GrayRange(int(g[0]), int(g[1])).edges
            solids.append(np.array([[x[0], y[0], bottom, x1, y1, top]], dtype=np.float64))
            inside = (grid[0] >= x[0]) & (grid[0] < x1) & (grid[1] >= y[0]) & (grid[1] < y1)
            cubes.append(inside & (grid[2] >= g[0]) & (grid[2] <= g[1]))
        expected = (cubes[0] & cubes[1]).sum() / (cubes[0] | cubes[1]).sum()
        assert pairwise_iou_3d(*solids)[0, 0] == pytest.approx(expected, abs=1e-9)
    print(f"R25: IoU of boxes by voxels, {EXAMPLES} examples")


def suppressed(
    boxes: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], threshold: float
) -> list[int]:
    """Greedy suppression in plain Python, on intervals and volumes of its own."""
    left = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [j for j in left if _overlap(boxes[best], boxes[j]) <= threshold]
    return kept


def _overlap(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    shared = math.prod(clipped(a[i], a[i + 3], b[i], b[i + 3]) for i in range(3))
    volumes = [math.prod(s[i + 3] - s[i] for i in range(3)) for s in (a, b)]
    return shared / (sum(volumes) - shared)


def test_nms_agrees_with_plain_python() -> None:
    for rng in examples(4):
        n = int(rng.integers(0, 12))
        start = rng.random((n, 3))
        boxes = np.concatenate([start, start + rng.uniform(0.05, 1, (n, 3))], axis=1)
        scores, threshold = rng.permutation(n).astype(float), float(rng.uniform(0, 0.9))
        assert nms_3d(boxes, scores, threshold).tolist() == suppressed(boxes, scores, threshold)
    print(f"R25: NMS, {EXAMPLES} examples")


def test_ridge_agrees_with_least_squares_on_stacked_rows() -> None:
    """Ridge is ordinary least squares with a row sqrt(alpha) for each weight but the constant."""
    for rng in examples(5):
        n, d, alpha = int(rng.integers(3, 40)), int(rng.integers(1, 6)), 10 ** rng.uniform(-3, 2)
        features, targets = rng.normal(size=(n, d)), rng.normal(size=(n, 2))
        got = RidgeRegressor.fit(features, np.zeros(n, int), targets, 1, alpha).coef[0]
        penalty = np.sqrt(alpha) * np.eye(d, d + 1)
        rows = np.vstack([np.column_stack([features, np.ones(n)]), penalty])
        expected = linalg.lstsq(rows, np.vstack([targets, np.zeros((d, 2))]))[0]
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)
    print(f"R25: ridge, {EXAMPLES} examples")


# --- Odd ROIs and images --------------------------------------------------------------------


def odd_case(rng: np.random.Generator) -> tuple[GrayImage, RoiBox]:
    """Draw a small image, often constant or nearly, and an ROI, often tiny or outside."""
    bits = int(rng.choice([8, 12, 16]))
    shape = tuple(rng.integers(1, 20, 2))
    dtype = np.uint8 if bits == 8 else np.uint16
    pixels = rng.integers(0, 2**bits, shape).astype(dtype)
    if rng.random() < 0.3:
        pixels[:] = pixels.flat[0]
    elif rng.random() < 0.3:
        pixels = np.where(rng.random(shape) < 0.5, 0, 2**bits - 1).astype(dtype)
    x0, y0 = rng.uniform(-3, 20, 2)
    width, height = np.exp(rng.uniform(-3, 3, 2))
    image = GrayImage(pixels, GrayScale.of_bits(bits, inverted=bool(rng.random() < 0.3)))
    return image, RoiBox(x0, y0, x0 + width, y0 + height)


def test_odd_rois_give_finite_boxes_or_a_clear_error() -> None:
    detector = BoxDetector.load(shipped("boxes"), device="cpu")
    refused = 0
    for rng in examples(6):
        image, roi = odd_case(rng)
        try:
            proposals = detector.detect(image, roi)
        except (GeometryError, ModelError) as error:
            refused += 1
            assert "\n" not in str(error)
            continue
        for p in proposals:
            values = [*p.box.roi.xyxy, p.box.gray.low, p.box.gray.high, p.score, p.margin, p.spread]
            assert np.isfinite(values).all() and p.box.gray.low <= p.box.gray.high
    assert 0 < refused < EXAMPLES, "both happen"
    print(f"R25: detection, {EXAMPLES} odd ROIs, {refused} refused in one line")


def test_odd_masks_have_a_finite_ceiling_or_a_clear_error() -> None:
    for rng in examples(7):
        image, roi = odd_case(rng)
        mask = rng.random(image.shape) < rng.choice([0.0, 0.5, 1.0])
        try:
            found = best_range(image, mask, roi)
        except GraydetError as error:
            assert "\n" not in str(error)
            continue
        assert 0 <= found.iou <= 1 and found.range.low <= found.range.high
    print(f"R25: ceiling, {EXAMPLES} odd ROIs and masks")


@pytest.mark.parametrize("corners", [(math.nan, 0, 1, 1), (0, 0, math.inf, 1), (0, 0, 0, 1)])
def test_impossible_rois_do_not_exist(corners: tuple[float, float, float, float]) -> None:
    with pytest.raises(GeometryError):
        RoiBox(*corners)


def test_nan_in_features_is_refused() -> None:
    with pytest.raises(ModelError, match="NaN"):
        RidgeRegressor.fit(np.full((4, 2), np.nan), np.zeros(4, int), np.zeros((4, 2)), 1)
