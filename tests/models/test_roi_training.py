"""Training of the ROI detector, tiny: it learns, stops, repeats itself and refuses nonsense."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import CancelledError, ModelError, WeightsError
from napari_graydet.io.weights import load_weights, save_weights
from napari_graydet.models import roi_training
from napari_graydet.models.roi_augmentation import Example
from napari_graydet.models.roi_detector import RoiSettings, YoloRoiDetector, build_yolo
from napari_graydet.models.roi_training import (
    RoiProgress,
    Stage,
    WeightsCard,
    matched_ious,
    start_from,
    tensors_of,
    train_roi,
)

DARKNET = Path(__file__).parents[3] / "shared" / "weights" / "yolov3-tiny.weights"


@dataclass(frozen=True)
class _Sample:
    image: GrayImage
    rois: list[RoiBox]
    label: str = "bone"
    kind: str = "disc"


def _samples(count: int) -> list[_Sample]:
    """Bright rectangles on dark ground."""
    rng, out = np.random.default_rng(0), []
    for _ in range(count):
        pixels = rng.integers(0, 60, (96, 96)).astype(np.uint8)
        x0, y0 = rng.integers(5, 40, 2)
        w, h = rng.integers(30, 50, 2)
        pixels[y0 : y0 + h, x0 : x0 + w] += 180
        roi = RoiBox(float(x0), float(y0), float(x0 + w), float(y0 + h))
        out.append(_Sample(GrayImage(pixels, GrayScale.of_bits(8)), [roi]))
    return out


@pytest.fixture
def start(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    card = WeightsCard(kind="roi", architecture="yolov3-tiny", classes=["bone"])
    save_weights(tmp_path / "start", tensors_of(build_yolo("yolov3-tiny", 1)), card)
    return tmp_path / "start.safetensors"


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = (Stage(0.2, 13, (1e-3, 1e-3), (64,)), Stage(0.8, 0, (1e-3, 5e-4), (64,)))
    monkeypatch.setitem(roi_training.PRESETS, "default", stages)


def test_steps_on_one_batch_lower_its_loss() -> None:
    torch.manual_seed(1)
    network = build_yolo("yolov3-tiny", 1)
    stages = (Stage(1.0, 0, (1e-3, 1e-3), (64,)),)
    run = roi_training._Run(network, stages, torch.device("cpu"), np.random.default_rng(0))
    run._freeze(0)
    examples = [Example.of(s.image, s.rois, 0, s.kind) for s in _samples(8)]
    batch = run._batch(examples, roi_training._odds(examples), 64)
    losses = [run._step(batch, 1e-3) for _ in range(40)]
    # the first steps match no prediction to any object, so their loss says nothing
    assert np.mean(losses[-10:]) < 0.6 * max(losses[:10])


def test_a_training_reports_and_writes_usable_weights(tmp_path: Path, start: Path) -> None:
    seen: list[RoiProgress] = []
    samples = _samples(16)
    out = tmp_path / "out.safetensors"
    card = train_roi(
        samples,
        start=start,
        out=out,
        seed=0,
        epochs=2,
        classes=["bone"],
        held_out=samples[:4],
        settings=RoiSettings(image_size=64),
        data=["squares"],
        device="cpu",
        on_progress=seen.append,
    )
    assert [p.step for p in seen] == [1, 2, 3, 4]
    assert [p.share for p in seen] == [0, 0.25, 0.5, 0.75]
    assert set(card.metrics) == {"roi_iou_disc", "roi_extra_disc"}
    detector = YoloRoiDetector.from_weights(out, labels=["bone"], device="cpu")
    assert detector.settings.image_size == 64
    assert load_weights(out)[1] == card.model_copy(update={"sha256": load_weights(out)[1].sha256})
    assert card.data == ["squares"]


def test_the_same_seed_gives_the_same_weights(tmp_path: Path, start: Path) -> None:
    results = []
    for name in ("a", "b"):
        out = tmp_path / f"{name}.safetensors"
        train_roi(
            _samples(8), start=start, out=out, seed=3, epochs=2, classes=["bone"], device="cpu"
        )
        results.append(load_weights(out)[0])
    for name, values in results[0].items():
        np.testing.assert_array_equal(values, results[1][name])


def test_frozen_layers_keep_their_weights(
    tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = (Stage(1.0, 13, (1e-3, 1e-3), (64,)),)
    monkeypatch.setitem(roi_training.PRESETS, "default", stages)
    out = tmp_path / "out.safetensors"
    train_roi(_samples(8), start=start, out=out, seed=0, epochs=3, classes=["bone"], device="cpu")
    before, after = load_weights(start)[0], load_weights(out)[0]
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    layers = {int(name.split(".")[1]) for name in changed}
    assert min(layers) == 13
    assert {13, 14, 15, 16, 19, 20} == layers


def test_stopping_leaves_the_last_checkpoint(
    tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roi_training, "CHECKPOINT_SECONDS", 0.0)

    def stop(progress: RoiProgress) -> None:
        if progress.step == 2:
            raise CancelledError("stopped")

    out = tmp_path / "out.safetensors"
    with pytest.raises(CancelledError):
        train_roi(
            _samples(8),
            start=start,
            out=out,
            seed=0,
            minutes=5,
            classes=["bone"],
            device="cpu",
            on_progress=stop,
        )
    YoloRoiDetector.from_weights(out, device="cpu")


def test_starts_from_darknet_and_from_nothing_else_that_does_not_fit(
    tmp_path: Path, start: Path
) -> None:
    network = build_yolo("yolov3-tiny", 2)
    with pytest.raises(WeightsError, match="expected an roi model of bone, lung"):
        start_from(network, start, ["bone", "lung"])
    if not DARKNET.is_file():
        pytest.skip("the darknet weights (../shared/weights) are not on this machine")
    start_from(network, DARKNET, ["bone", "lung"])
    kernel = network.state_dict()["model.0.conv.weight"]
    assert kernel.abs().max() > 0.5, "COCO's first kernels are large; random ones are not"
    with pytest.raises(WeightsError, match="fits yolov3-tiny only"):
        start_from(build_yolo("yolov8n", 2), DARKNET, ["bone", "lung"])


def test_nonsense_is_refused(tmp_path: Path, start: Path) -> None:
    def train(**changes: object) -> None:
        arguments: dict[str, object] = {"start": start, "seed": 0, "epochs": 1, "classes": ["bone"]}
        samples = changes.pop("samples", _samples(1))
        train_roi(samples, out=tmp_path / "o.safetensors", **(arguments | changes))  # type: ignore[arg-type]

    with pytest.raises(ModelError, match="nothing to train"):
        train(samples=[])
    with pytest.raises(ModelError, match="budget"):
        train(minutes=1)
    with pytest.raises(ModelError, match="preset"):
        train(preset="best")
    with pytest.raises(ModelError, match="labelled 'bone'"):
        train(classes=["lung"])
    assert not (tmp_path / "o.safetensors").exists()


def test_matching_counts_every_found_roi_once_and_missed_ones_as_zero() -> None:
    a, b, far = RoiBox(0, 0, 10, 10), RoiBox(2, 0, 12, 10), RoiBox(50, 50, 60, 60)
    np.testing.assert_allclose(matched_ious([a, b], [a]), [1, 0])
    np.testing.assert_allclose(matched_ious([a, far], [b, a]), [1, 0])
    np.testing.assert_allclose(matched_ious([a], []), [0])
    assert matched_ious([], [a]).size == 0
    best = matched_ious([a, b], [b, a])
    np.testing.assert_allclose(best, [1, 1])


def test_the_papers_preset_has_its_stages() -> None:
    first, second = roi_training.PRESETS["paper"]
    assert (first.rates, second.rates) == ((1e-3, 1e-3), (1e-4, 1e-4))
    assert first.share == second.share
    assert first.frozen == 18 and second.frozen == 0
