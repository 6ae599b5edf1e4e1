"""Laws of the training data, and a training that really learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_graydet.core.anchors import AnchorGrid, centre_width_of, edges_of
from napari_graydet.core.ceiling import best_range
from napari_graydet.core.coder import decode, encode
from napari_graydet.core.grayscale import LEVELS, GrayImage, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import CancelledError, ModelError
from napari_graydet.models.boxes import training as box_training
from napari_graydet.models.boxes.detector import level_ranges, propose
from napari_graydet.models.boxes.samples import (
    BoxSample,
    Disturbance,
    DrawnRoi,
    crop_sample,
    disturb_gray,
    draw_roi,
    draw_rois,
    jitter_roi,
    tone_curve,
)
from napari_graydet.models.boxes.targets import (
    GOOD,
    best_edges,
    range_ious,
    shares_of_ceiling,
    smallest_corrections,
    target_scores,
    training_ranges,
)
from napari_graydet.models.boxes.training import (
    BoxTraining,
    box_metrics,
    fit_regressor,
    for_classes,
    train_boxes,
)
from napari_graydet.models.learning.loop import Step, Watch
from napari_graydet.models.pointnet import PointNet, PointNetConfig
from tests.models.learners import StoppedError, stops_after

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def disk_sample(rng: np.random.Generator, class_id: int = 0, group: str = "disks") -> BoxSample:
    """A bright (class 0) or dark (class 1) disk on a noisy ramp, exposed at random."""
    y, x = np.mgrid[:64, :64] / 64 - 0.5
    mask = x**2 + y**2 < rng.uniform(0.3, 0.42) ** 2
    ground, disk = (0.35, 0.75) if class_id == 0 else (0.65, 0.2)
    unit = np.where(mask, disk, ground) + 0.1 * x + rng.normal(0, 0.03, mask.shape)
    unit = np.clip(unit + rng.uniform(-0.1, 0.1), 0, 1).astype(np.float32)
    return BoxSample(unit, mask, RoiBox(2, 2, 62, 62), class_id, group)


@given(seed=seeds)
def test_tone_curves_rise_from_and_to_unit_gray(seed: int) -> None:
    curve = tone_curve(Disturbance(), np.random.default_rng(seed))
    assert curve.shape == (LEVELS + 1,)
    assert (np.diff(curve) >= 0).all()
    assert curve[0] >= 0 and curve[-1] <= 1 and curve[-1] > curve[0]


@given(seed=seeds, edges=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted))
def test_a_gray_range_selects_the_same_pixels_after_a_tone_curve(
    seed: int, edges: list[float]
) -> None:
    """The law that makes gamma augmentation exact: the range maps along with its pixels."""
    rng = np.random.default_rng(seed)
    curve = tone_curve(Disturbance(window=0.0), rng)  # nothing clipped: strictly rising
    grid = np.linspace(0, 1, len(curve))
    unit = rng.random(500)
    low, high = edges
    before = (unit >= low) & (unit < high)
    mapped = np.interp(unit, grid, curve)
    after = (mapped >= np.interp(low, grid, curve)) & (mapped < np.interp(high, grid, curve))
    np.testing.assert_array_equal(before, after)


@given(seed=seeds)
def test_disturbed_gray_stays_in_range_and_nothing_is_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    unit = rng.random((20, 30)).astype(np.float32)
    out = disturb_gray(unit, Disturbance(), rng)
    assert out.dtype == np.float32 and out.min() >= 0 and out.max() <= 1
    same = disturb_gray(unit, Disturbance.of_roi_only(), rng)
    np.testing.assert_allclose(same, unit, atol=1e-6)


@given(seed=seeds, sd=st.floats(0, 0.15))
def test_jittered_rois_stay_near_and_inside(seed: int, sd: float) -> None:
    roi = RoiBox(10, 20, 50, 90)
    moved = jitter_roi(roi, (100, 60), sd, np.random.default_rng(seed))
    assert 0 <= moved.x0 < moved.x1 <= 60 and 0 <= moved.y0 < moved.y1 <= 100
    assert abs(moved.x0 - roi.x0) <= 2 * sd * roi.width + 1e-9
    assert abs(moved.y1 - roi.y1) <= 2 * sd * roi.height + 1e-9


@given(seed=seeds, x=st.floats(0, 58), width=st.floats(1, 1.2))
def test_a_narrow_roi_can_be_jittered(seed: int, x: float, width: float) -> None:
    roi = RoiBox(x, 5, x + width, 90)
    assume(not roi._slices_empty((100, 60)))
    moved = jitter_roi(roi, (100, 60), 0.1, np.random.default_rng(seed))
    rows, cols = moved.slices((100, 60))
    assert rows.stop > rows.start and cols.stop > cols.start


def test_a_crop_shows_the_roi_with_its_surroundings() -> None:
    rng = np.random.default_rng(0)
    scale = GrayScale.of_bits(12, inverted=True)
    image = GrayImage(rng.integers(0, 4096, (600, 800), dtype=np.uint16), scale)
    mask = np.zeros(image.shape, bool)
    mask[200:400, 100:400] = True
    roi = RoiBox(100, 200, 400, 400)
    sample = crop_sample(image, mask, roi, 1, "test")
    assert max(sample.roi.width, sample.roi.height) == pytest.approx(160, abs=1)
    inside = sample.mask[sample.roi.slices(sample.mask.shape)]
    assert inside.mean() > 0.97  # the ROI of the crop is the ROI of the image
    assert sample.mask.sum() < sample.mask.size * 0.6
    assert np.isin(sample.unit, image.scale.to_unit(image.pixels).astype(np.float32)).all()


@pytest.mark.parametrize("roi", [RoiBox(300, 10, 301, 510), RoiBox(40, 3, 800, 4)])
def test_a_crop_of_a_thin_roi_shows_a_pixel_or_is_known_to_show_none(roi: RoiBox) -> None:
    image = GrayImage(np.zeros((600, 900), np.uint8), GrayScale.of_bits(8))
    mask = np.zeros(image.shape, bool)
    mask[roi.slices(image.shape)] = True
    sample = crop_sample(image, mask, roi, 0, "test")
    rows, cols = sample.roi.slices(sample.mask.shape)
    assert rows.stop > rows.start and cols.stop > cols.start
    assert sample.shows_something == sample.mask[rows, cols].any()
    if sample.shows_something:
        assert draw(sample, Disturbance()) is not None


def test_a_roi_at_the_border_of_a_small_image() -> None:
    image = GrayImage(np.arange(30, dtype=np.uint8).reshape(5, 6), GrayScale.of_bits(8))
    sample = crop_sample(image, np.ones((5, 6), bool), RoiBox(0, 0, 6, 5), 0, "test")
    np.testing.assert_allclose(sample.unit, image.unit())
    assert sample.roi == RoiBox(0, 0, 6, 5)


def draw(sample: BoxSample, disturbance: Disturbance, seed: int = 0) -> DrawnRoi:
    roi = draw_roi(sample, 256, disturbance, np.random.default_rng(seed))
    assert roi is not None
    return roi


def test_a_drawn_roi_counts_all_pixels_and_samples_points() -> None:
    sample = disk_sample(np.random.default_rng(1))
    roi = draw(sample, Disturbance.of_roi_only(jitter=0.0))
    assert roi.inside.sum() + roi.outside.sum() == 60 * 60
    assert roi.inside.sum() == sample.mask[2:62, 2:62].sum()
    assert roi.seen.histogram.sum() == pytest.approx(1)
    assert roi.seen.points.shape == (256, 3) and np.abs(roi.seen.points).max() <= 1
    gray = (roi.seen.points[:, 2] + 1) / 2
    np.testing.assert_array_equal(
        roi.seen.levels, np.minimum((gray * LEVELS + 1e-4).astype(int), LEVELS - 1)
    )


def test_range_ious_and_the_best_range_agree_with_pixels() -> None:
    sample = disk_sample(np.random.default_rng(2))
    pixels = np.minimum((sample.unit * LEVELS).astype(np.uint8), 255)
    inside = np.bincount(pixels[sample.mask], minlength=LEVELS)
    outside = np.bincount(pixels[~sample.mask], minlength=LEVELS)
    for first, stop in ((0, 256), (100, 200), (10, 11)):
        chosen = (pixels >= first) & (pixels < stop)
        expected = (chosen & sample.mask).sum() / (chosen | sample.mask).sum()
        assert range_ious(inside, outside, np.array([[first, stop]]))[0] == pytest.approx(expected)
    seen = draw(sample, Disturbance.of_roi_only(0.0)).seen
    edges, iou = best_edges(DrawnRoi(seen, inside, outside, 0))
    image = GrayImage(pixels, GrayScale.of_bits(8))
    truth = best_range(image, sample.mask, RoiBox.of_image(pixels.shape))
    assert iou == pytest.approx(truth.iou)
    assert image.scale.range_from_unit(*edges) == truth.range


@given(seed=seeds)
def test_targets_are_probabilities_and_no_range_beats_the_ceiling(seed: int) -> None:
    rng = np.random.default_rng(seed)
    roi = draw(disk_sample(rng, 1), Disturbance(), seed)
    ranges = training_ranges(roi, AnchorGrid(), rng)
    assert (ranges[:, 0] >= 0).all() and (ranges[:, 1] <= LEVELS).all()
    assert (ranges[:, 0] < ranges[:, 1]).all()
    shares = shares_of_ceiling(roi, ranges)
    assert (shares >= 0).all() and (shares <= 1 + 1e-12).all()
    best = level_ranges(best_edges(roi)[0])
    assert shares_of_ceiling(roi, best[None])[0] == pytest.approx(1)
    target = target_scores(shares, 1, 2)
    np.testing.assert_allclose(target.sum(axis=1), 1, atol=1e-6)
    assert (target[:, 0] == 0).all()
    order = np.argsort(shares)
    assert (np.diff(target[order, 1]) >= 0).all()  # better ranges are asked for higher scores


def test_inversion_turns_the_grays_over() -> None:
    sample = disk_sample(np.random.default_rng(1))
    still = Disturbance.of_roi_only(jitter=0.0)
    plain, turned = draw(sample, still), draw(sample, replace(still, inverted=1.0))
    means = [np.average(np.arange(LEVELS), weights=roi.inside) for roi in (plain, turned)]
    assert sum(means) == pytest.approx(LEVELS - 1, abs=2)
    assert abs(means[0] - means[1]) > 50


def test_groups_are_drawn_equally_often_however_many_they_are() -> None:
    rng = np.random.default_rng(3)
    samples = [disk_sample(rng, 0, "many") for _ in range(30)] + [disk_sample(rng, 1, "one")]
    drawn = draw_rois(samples, 200, 16, Disturbance(), rng)
    assert 70 <= sum(roi.class_id for roi in drawn) <= 130


def test_training_learns_ranges_and_classes_and_is_reproducible() -> None:
    rng = np.random.default_rng(4)
    samples = [disk_sample(rng, k, f"class {k}") for k in (0, 1) for _ in range(12)]
    held_out = [disk_sample(rng, k, f"class {k}") for k in (0, 1) for _ in range(8)]
    training = BoxTraining(
        steps=60, batch=4, points=128, regressor_rois=40, global_width=128, tnet_width=64
    )
    losses: list[float] = []

    watch = Watch(step=lambda at: losses.append(at.loss))
    model = train_boxes(samples, ("bright", "dark"), seed=0, training=training, watch=watch)
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])

    metrics = box_metrics(model, held_out, seed=1)
    assert metrics["class 0: share of the ceiling"] > 0.9
    assert metrics["class 1: share of the ceiling"] > 0.9
    network = model.network.fused()
    hits = 0
    for sample in held_out:
        seen = draw(sample, Disturbance.of_roi_only(0.0)).seen
        found = propose(model, network, seen, [0, 1], torch.device("cpu"))
        hits += int(found.class_ids[0]) == sample.class_id
    assert hits >= 14

    short = replace(training, steps=3)
    runs = [train_boxes(samples, ("bright", "dark"), seed=7, training=short) for _ in range(2)]
    for name, tensor in runs[0].network.state_dict().items():
        assert torch.equal(tensor, runs[1].network.state_dict()[name]), name
    np.testing.assert_array_equal(runs[0].regressor.coef, runs[1].regressor.coef)


def test_nothing_to_train_on_and_unknown_classes_are_refused() -> None:
    with pytest.raises(ModelError, match="0 parts"):
        train_boxes([], ("bone",), seed=0)
    with pytest.raises(ModelError, match="parts of the classes bone"):
        train_boxes([disk_sample(np.random.default_rng(0), 1)], ("bone",), seed=0)


@given(seed=seeds)
def test_smallest_corrections_lead_to_good_ranges_and_none_is_smaller_than_needed(
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    roi = draw(disk_sample(rng, int(rng.integers(2))), Disturbance(), seed)
    grid = AnchorGrid()
    deltas = smallest_corrections(roi, grid.anchors)
    corrected = level_ranges(edges_of(decode(grid.anchors, deltas)))
    assert shares_of_ceiling(roi, corrected).min() > 0.9  # the targets' grid is 4 levels wide
    direct = encode(grid.anchors, np.broadcast_to(centre_width_of(best_edges(roi)[0]), (96, 2)))
    assert (deltas**2).sum() <= (direct**2).sum() + 1e-9 or GOOD == 1


SHORT = BoxTraining(steps=2, batch=2, points=32, regressor_rois=4, global_width=16, tnet_width=16)


def test_training_goes_on_from_a_start_and_leaves_it_alone() -> None:
    samples = [disk_sample(np.random.default_rng(5))]
    start = train_boxes(samples, ("a",), seed=0, training=SHORT)
    before = {name: tensor.clone() for name, tensor in start.network.state_dict().items()}
    model = train_boxes(samples, ("a",), seed=1, training=SHORT, start=start)
    after = start.network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    moved = model.network.state_dict()["scores.weight"] - before["scores.weight"]
    assert 0 < moved.abs().max() < 0.1


def test_a_start_of_other_classes_is_taken_over_by_name() -> None:
    rng = np.random.default_rng(5)
    samples = [disk_sample(rng, k, str(k)) for k in (0, 1)]
    start = train_boxes(samples, ("a", "b"), seed=0, training=SHORT)
    moved = for_classes(start, ("new", "b"))
    old, new = (m.network.state_dict()["scores.weight"] for m in (start, moved))
    assert torch.equal(new[1], old[1]) and torch.equal(new[2], old[2])
    assert torch.allclose(new[0], old[:2].mean(dim=0))
    np.testing.assert_array_equal(moved.regressor.coef[1], start.regressor.coef[1])
    assert not moved.regressor.coef[0].any()
    model = train_boxes(samples, ("new", "b"), seed=1, training=SHORT, start=start)
    assert model.classes == ("new", "b")
    assert start.classes == ("a", "b")


def test_rois_without_a_near_anchor_do_not_stop_a_training() -> None:
    rng = np.random.default_rng(6)
    mask = np.zeros((64, 64), bool)
    mask[24:40, 24:40] = True  # of middle gray and small: a wide range takes too much else
    unit = np.where(mask, 0.5, rng.choice([0.2, 0.8], size=mask.shape)).astype(np.float32)
    thin = BoxSample(unit, mask, RoiBox(2, 2, 62, 62), 0, "thin")
    wide = AnchorGrid(4, (0.9,))
    with pytest.raises(ModelError, match="use more anchors"):
        train_boxes([thin], ("a",), seed=0, training=SHORT, grid=wide)
    easy = BoxSample(unit, np.ones_like(mask), thin.roi, 0, "easy")
    assert train_boxes([thin, easy], ("a",), seed=0, training=SHORT, grid=wide)


def test_a_training_can_be_stopped() -> None:
    def stop(at: Step) -> None:
        raise CancelledError("Stopped.")

    training = BoxTraining(steps=5, batch=2, points=32)
    with pytest.raises(CancelledError):
        samples = [disk_sample(np.random.default_rng(0))]
        train_boxes(samples, ("a",), seed=0, training=training, watch=Watch(step=stop))


def test_the_regressor_stops_at_every_roi() -> None:
    check = stops_after(2 * SHORT.regressor_rois - 1)
    rng = np.random.default_rng(5)
    samples = [disk_sample(rng)]
    start = train_boxes(samples, ["a"], seed=0, training=SHORT)
    with pytest.raises(StoppedError):
        fit_regressor(start.network, samples, 1, start.grid, SHORT, rng, check)


def test_the_regressor_is_right_in_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its constant carries no penalty, so at the mean features it says the mean correction."""
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    real = box_training._regression_rows

    def noted(*arguments: Any) -> Any:
        rows.append(real(*arguments))
        return rows[-1]

    monkeypatch.setattr(box_training, "_regression_rows", noted)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    samples = [disk_sample(rng) for _ in range(4)]
    network = PointNet(PointNetConfig(1, 16, 16)).eval()
    training = replace(SHORT, regressor_rois=40)
    fitted = box_training.fit_regressor(network, samples, 1, AnchorGrid(), training, rng)
    features, targets = (np.concatenate([row[part] for row in rows]) for part in (0, 1))
    said = fitted.predict(features.mean(axis=0, keepdims=True), np.zeros(1, dtype=int))[0]
    np.testing.assert_allclose(said, targets.mean(axis=0), atol=1e-4)
    assert np.abs(targets.mean(axis=0)).max() > 1e-3, "there is something to correct"
