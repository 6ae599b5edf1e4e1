"""Preset `paper`, tiny: stages, labels of anchors, weights that come back, pretraining."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.anchors import AnchorGrid
from napari_graydet.core.boxes import pairwise_iou_3d
from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import segment_mask
from napari_graydet.errors import ModelError, WeightsError
from napari_graydet.models.boxes import paper_training
from napari_graydet.models.boxes.paper_pointnet import (
    PaperBoxDetector,
    PaperConfig,
    PaperModel,
    PaperPointNet,
    anchor_clouds,
)
from napari_graydet.models.boxes.paper_training import (
    EPOCHS,
    PaperLearner,
    fit_paper_regressor,
    iou_along_gray,
    labelled,
    train_paper_boxes,
)
from napari_graydet.models.boxes.samples import BoxSample
from napari_graydet.models.learning.loop import Budget, fit
from napari_graydet.models.loading import load_box_detector
from napari_graydet.models.modelnet import Clouds
from napari_graydet.models.pretraining import point_layers, pretrain
from napari_graydet.models.roi.training import PRESETS
from napari_graydet.workflows.training.job import PAPER_ROI_EPOCHS
from tests.models.learners import StoppedError, stops_after

TINY = PaperConfig(1, points=16, global_width=32, tnet_width=16)
GRID = AnchorGrid(8)


def samples(count: int = 3) -> list[BoxSample]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40] / 40 - 0.5
    mask = x**2 + y**2 < 0.14
    out = []
    for _ in range(count):
        unit = np.clip(np.where(mask, 0.75, 0.3) + rng.normal(0, 0.03, mask.shape), 0, 1)
        out.append(BoxSample(unit.astype(np.float32), mask, RoiBox(1, 1, 39, 39), 0, "a"))
    return out


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@given(low=st.floats(0, 0.8), height=st.floats(0.05, 0.2))
def test_overlap_along_gray_is_the_3d_iou(low: float, height: float) -> None:
    truth = np.array([low, low + height])
    solids = np.zeros((len(GRID) + 1, 6))
    solids[:, 3:5] = 7.0
    solids[:, [2, 5]] = np.concatenate([GRID.edges, truth[None]])
    expected = pairwise_iou_3d(solids[:-1], solids[-1:])[:, 0]
    np.testing.assert_allclose(iou_along_gray(GRID.edges, truth), expected, atol=1e-9)


def test_clouds_hold_the_points_of_their_range_only() -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 100, 300)
    points = np.stack([levels, levels, levels], axis=1).astype(np.float32)
    ranges = np.array([[0, 10], [200, 256], [50, 51]])
    clouds, places = anchor_clouds(points, levels, ranges, 40, rng)
    assert places.tolist() == [0, 2] and clouds.shape == (2, 40, 3)
    assert clouds[0].max() < 10 and (clouds[1] == 50).all()


def test_dark_parts_whose_boxes_are_mostly_empty_are_learned_from() -> None:
    dark = samples(1)[0]
    dark = dataclasses.replace(dark, unit=dark.unit * 0.012)
    learner = PaperLearner(PaperPointNet(TINY), labelled([dark], GRID, 1), GRID, 0, "cpu")
    drawn, kept = learner._clouds(np.zeros(0, dtype=np.int64), learner.rng)
    assert drawn.shape == (0, TINY.points, 3) and not kept.size
    model = train_paper_boxes(
        [*samples(2), dark], ["a"], seed=0, epochs=0.4, config=TINY, grid=GRID, device="cpu"
    )
    assert np.isfinite(model.regressor.coef).all()


def test_the_papers_numbers() -> None:
    """METHOD.md, section 1; whoever changes one changes what `paper` stands for."""
    assert (PAPER_ROI_EPOCHS, EPOCHS) == (50, 200)
    first, second = PRESETS["paper"]
    assert (first.share, first.rates, first.frozen) == (0.5, (1e-3, 1e-3), -3)
    assert (second.share, second.rates, second.frozen) == (0.5, (1e-4, 1e-4), 0)
    descent = inspect.signature(RidgeRegressor.fit_sgd).parameters
    assert (descent["learning_rate"].default, descent["epochs"].default) == (1e-4, 200)


def test_every_roi_has_an_object_among_its_anchors() -> None:
    for roi in labelled(samples(), GRID, background=1):
        positive = roi.labels == 0
        assert positive.any() and (~positive).any()
        assert not roi.deltas[~positive].any() and np.isfinite(roi.deltas).all()


def test_stage_1_trains_the_last_layers_and_stage_2_all() -> None:
    torch.manual_seed(0)
    learner = PaperLearner(PaperPointNet(TINY), labelled(samples(), GRID, 1), GRID, 0, "cpu")

    def moved(share: float) -> set[str]:
        before = {k: v.clone() for k, v in learner.network.state_dict().items()}
        learner.prepare(0, share)
        learner.optimiser.zero_grad(set_to_none=True)
        learner.loss().backward()  # type: ignore[no-untyped-call]
        learner.optimiser.step()
        after = learner.network.state_dict()
        return {k.split(".")[0] for k, v in before.items() if not torch.equal(v, after[k])}

    assert moved(0.1) == {"head", "scores"}
    assert learner.optimiser.param_groups[0]["lr"] == 1e-3
    assert moved(0.6) >= {"input_tnet", "mlp1", "feature_tnet", "mlp2", "mlp3", "head", "scores"}
    assert learner.optimiser.param_groups[0]["lr"] == 1e-4


def test_it_learns_is_saved_and_detects_anchor_by_anchor(tmp_path: Path) -> None:
    def trained() -> PaperModel:
        return train_paper_boxes(
            samples(6), ("a",), seed=0, epochs=60, config=TINY, grid=GRID, device="cpu"
        )

    model, again = trained(), trained()
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name
    np.testing.assert_array_equal(model.regressor.coef, again.regressor.coef)
    path = tmp_path / "paper.safetensors"
    model.save(path, seed=0)
    detector = load_box_detector(path, device="cpu")
    assert isinstance(detector, PaperBoxDetector) and detector.labels == ("a",)
    pixels = (samples(7)[-1].unit * 255).astype(np.uint8)
    image = GrayImage(pixels, GrayScale.of_bits(8))
    found = detector.detect(image, RoiBox(1, 1, 39, 39))
    assert len(found) == 1, "one box per class remains"
    inside = segment_mask(pixels, [found[0].box])
    mask = samples(1)[0].mask
    assert (inside & mask).sum() / (inside | mask).sum() > 0.7
    with pytest.raises(ModelError, match="knows a, got 'b'"):
        detector.detect(image, RoiBox(1, 1, 39, 39), label="b")


def test_pretraining_is_a_start_for_networks_of_its_widths(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flat = rng.uniform(-1, 1, (24, 64, 3)).astype(np.float32)
    labels = np.arange(24) % 2
    flat[labels == 1, :, 2] = 0
    clouds = Clouds(flat, labels, ("ball", "plate"))
    out = tmp_path / "pointnet.safetensors"
    card = pretrain(clouds, clouds, out, seed=0, epochs=60, config=TINY, device="cpu")
    assert card.kind == "pointnet" and float(str(card.metrics["accuracy"])) > 0.8
    layers = point_layers(out, 16, 32)
    network = PaperPointNet(TINY)
    network.load_state_dict(network.state_dict() | layers)
    assert not {name.split(".")[0] for name in layers} & {"head", "scores"}
    with pytest.raises(WeightsError, match="widths 16 and 32"):
        point_layers(out, 1024, 1024)
    one = Clouds(flat, np.zeros(24, np.int64), ("ball",))
    with pytest.raises(ModelError, match="two classes"):
        pretrain(one, one, tmp_path / "x.safetensors", seed=0)
    assert not (tmp_path / "x.safetensors").exists()


def test_it_stops_at_every_roi_and_batch_between_steps() -> None:
    """Frozen features and regressors take long and make no steps."""

    rois = labelled(samples(4), GRID, 1)
    network = PaperPointNet(TINY).eval()
    rng = np.random.default_rng(0)
    with pytest.raises(StoppedError):
        labelled(samples(4), GRID, 1, stops_after(3))
    with pytest.raises(StoppedError):
        PaperLearner(network, rois, GRID, 0, "cpu", stops_after(0)).prepare(0, 0.1)
    for calls in (3, 4 + 100):  # at the last ROI; at epoch 101 of the descent
        with pytest.raises(StoppedError):
            fit_paper_regressor(network, rois, GRID, 1, rng, stops_after(calls))
    fit_paper_regressor(network, rois, GRID, 1, rng, stops_after(4 + 200))


def test_memory_that_was_full_in_stage_1_leaves_it_stage_1(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = PaperLearner(PaperPointNet(TINY), labelled(samples(4), GRID, 1), GRID, 0, "cpu")
    scored = paper_training.scored

    def full(network: object, clouds: np.ndarray, device: object) -> object:
        if len(clouds) > 20:
            raise RuntimeError("CUDA out of memory")
        return scored(network, clouds, device)  # type: ignore[arg-type]

    monkeypatch.setattr(paper_training, "scored", full)
    assert len(learner._label) > 40
    fit(learner, Budget(1))
    assert learner._frozen is not None and learner.batch < paper_training.BATCH
    trained = {n.split(".")[0] for n, p in learner.network.named_parameters() if p.requires_grad}
    assert trained == {"head", "scores"}
