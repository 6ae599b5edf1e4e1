"""The choice between box detectors on held-out ROIs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.held_out_rois import held_out_rois, mask_ious
from napari_graydet.models.boxes import choice as box_choice
from napari_graydet.models.boxes.choice import with_best_rival
from napari_graydet.models.boxes.detector import BoxDetector, BoxModel
from napari_graydet.models.boxes.interval import KINDS, IntervalDetector, fit_intervals
from napari_graydet.models.boxes.scores import (
    ScoredRoi,
    box_scores,
    ious_of,
    ious_of_network,
    scored_rois,
)
from napari_graydet.models.boxes.training import BoxTraining, for_classes, train_boxes
from napari_graydet.models.loading import load_box_detector
from tests.models.test_interval import CLASSES, disc

SAMPLES = [disc(seed, seed % 2) for seed in range(20, 28)]


SHORT = BoxTraining(steps=2, batch=2, points=32, regressor_rois=4, global_width=16, tnet_width=16)


@pytest.fixture(scope="module")
def trained() -> BoxModel:
    """Return a network that learned next to nothing."""
    return train_boxes(SAMPLES, CLASSES, seed=0, training=SHORT)


def rois() -> list[ScoredRoi]:
    return scored_rois(SAMPLES, np.random.default_rng(0))


def test_a_rival_that_does_better_is_used_and_the_network_kept(
    trained: BoxModel, tmp_path: Path
) -> None:
    rivals = fit_intervals(SAMPLES, CLASSES, 0)
    chosen, table = with_best_rival(trained, rivals, rois(), images=8)
    assert set(table) == {*KINDS, "pointnet"}
    assert chosen.rival is not None and table[chosen.rival.kind] == max(table.values()) > 0.97
    assert box_scores(chosen, rois())["share of the ceiling"] == table[chosen.rival.kind]

    chosen.save(tmp_path / "boxes.safetensors", metrics={}, seed=0)
    used, own = load_box_detector(tmp_path / "boxes.safetensors"), chosen.rival
    assert isinstance(used, IntervalDetector) and used.name.startswith(own.kind)
    held = held_out_rois(SAMPLES, CLASSES, seed=1)
    assert (mask_ious(used, held) == mask_ious(IntervalDetector(own, name=""), held)).all()
    network = BoxDetector(chosen)
    for roi in held:
        boxes = used.detect(roi.image, roi.roi)
        told = network.detect(roi.image, roi.roi, alternatives=0)[0].label
        assert boxes[0].label == told != boxes[1].label, (
            "the network tells, each class has its turn"
        )
        assert boxes[0].box.low == used.detect(roi.image, roi.roi, label=boxes[0].label)[0].box.low
    again = BoxModel.load(tmp_path / "boxes.safetensors")
    assert again.rival is not None and for_classes(again, ("bone",)).rival is None
    weights, before = again.network.state_dict(), trained.network.state_dict()
    assert all(np.allclose(weights[name], before[name], atol=0.01) for name in before)


def test_what_few_images_cannot_tell_from_chance_changes_nothing(
    trained: BoxModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals = fit_intervals(SAMPLES, CLASSES, 0)
    ahead = max(ious_of(rival, rois()).mean() for rival in rivals)
    ahead -= ious_of_network(trained, rois()).mean()
    monkeypatch.setattr(box_choice, "SPREAD", ahead * np.sqrt(10) / 2)  # ten images would do
    for images, used in ((1, False), (9, False), (11, True), (200, True)):
        model, _ = with_best_rival(trained, rivals, rois(), images)
        assert (model.rival is not None) is used


def test_without_held_out_rois_the_network_is_used(trained: BoxModel) -> None:
    model, table = with_best_rival(trained, fit_intervals(SAMPLES, CLASSES, 0), [], 0)
    assert model.rival is None and table == {}
