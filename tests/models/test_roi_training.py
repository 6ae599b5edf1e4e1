"""Training of the ROI detector, tiny: it learns, stops, repeats itself and refuses nonsense."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.proposals import RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import CancelledError, ModelError, WeightsError
from napari_graydet.io.weights import load_weights, save_weights
from napari_graydet.models.learning.checkpoints import Checkpoints
from napari_graydet.models.learning.group import Group
from napari_graydet.models.learning.loop import Budget, Step, Watch, fit
from napari_graydet.models.roi import learner as roi_learner
from napari_graydet.models.roi import training as roi_training
from napari_graydet.models.roi.augmentation import Example
from napari_graydet.models.roi.detector import RoiSettings, YoloRoiDetector
from napari_graydet.models.roi.learner import RoiLearner, Stage, _odds, run_layers
from napari_graydet.models.roi.metrics import matched_ious, roi_scores
from napari_graydet.models.roi.training import (
    WeightsCard,
    examples_of,
    start_from,
    tensors_of,
    train_roi,
)
from napari_graydet.models.roi.yolo import build_yolo
from tests.models.learners import StoppedError, stops_after

DARKNET = Path(__file__).parents[3] / "shared" / "weights" / "yolov3-tiny.weights"


@dataclass(frozen=True)
class _Sample:
    image: GrayImage
    rois: list[RoiBox]
    label: str = "bone"
    kind: str = "disc"


def squares(count: int) -> list[_Sample]:
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


def make_start(folder: Path) -> Path:
    torch.manual_seed(1)
    card = WeightsCard(kind="roi", architecture="yolov3-tiny", classes=["bone"])
    save_weights(folder / "start", tensors_of(build_yolo("yolov3-tiny", 1)), card)
    return folder / "start.safetensors"


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return make_start(tmp_path)


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = (Stage(0.2, 13, (1e-3, 1e-3), (64,)), Stage(0.8, 0, (1e-3, 5e-4), (64,)))
    monkeypatch.setitem(roi_training.PRESETS, "default", stages)


def learner(stages: tuple[Stage, ...], seed: int = 0) -> RoiLearner:
    torch.manual_seed(1)
    examples = examples_of(squares(8), ["bone"])
    network = build_yolo("yolov3-tiny", 1)
    return RoiLearner(network, stages, examples, torch.device("cpu"), seed)


def test_the_mean_gradient_of_a_group_is_that_of_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """YOLO's loss is a sum over pictures: two halves of a batch have half of its gradient each."""
    run = learner((Stage(1.0, 0, (1e-3, 1e-3), (64,)),))
    run.prepare(0, 0.0)
    batch = run._draw(64, 8, run.rng)
    monkeypatch.setattr(run, "_draw", lambda *_: batch)
    alone = float(run.loss())
    monkeypatch.setattr(roi_learner, "current", lambda: Group(0, 2))
    in_group = float(run.loss())
    assert in_group == pytest.approx(2 * alone, rel=1e-3)
    assert run.shown(in_group) == pytest.approx(alone / run.batch, rel=1e-3)


def test_steps_on_one_batch_lower_its_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    run = learner((Stage(1.0, 0, (1e-3, 1e-3), (64,)),))
    batch = run._draw(64, 8, run.rng)
    monkeypatch.setattr(run, "_draw", lambda *_: batch)
    losses: list[float] = []
    # The first steps match no prediction to any object, so their loss says nothing; from when on it
    # falls depends on the last digits, and so on the number of threads.
    fit(run, Budget(80), Watch(step=lambda at: losses.append(at.loss)))
    assert np.mean(losses[-10:]) < 0.6 * max(losses[:10])


def test_features_computed_once_are_those_of_the_whole_network() -> None:
    run = learner((Stage(1.0, "backbone", (1e-3, 1e-3), (64,), views=6),))
    run.prepare(0, 0.0)
    views = run._views
    assert views is not None and len(views) == 6
    places = np.array([4, 1, 1])
    pictures = views._pictures.gray[places][:, None].expand(-1, 3, -1, -1)
    run.network.eval()
    with torch.no_grad():
        quick, whole = views.outputs(places), run.network(pictures)
        layers = len(run.network.model)
        by_layers = run_layers(run.network, pictures, 0, layers, {})[layers - 1]
    torch.testing.assert_close(by_layers[0], whole[0])
    torch.testing.assert_close(quick[0], whole[0])
    for name, parameter in run.network.named_parameters():
        assert parameter.requires_grad == (int(name.split(".")[1]) >= 13 and ".dfl" not in name)


def test_several_classes_of_one_image_are_one_picture() -> None:
    first, second = squares(2)
    lung = _Sample(first.image, [RoiBox(1, 2, 30, 40)], "lung")
    examples = examples_of([first, lung, second], ["bone", "lung"])
    assert [e.class_ids.tolist() for e in examples] == [[0, 1], [0]]
    np.testing.assert_allclose(examples[0].boxes[1], [1, 2, 30, 40])


def test_a_training_reports_and_writes_usable_weights(tmp_path: Path, start: Path) -> None:
    seen: list[Step] = []
    samples = squares(16)
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
        watch=Watch(step=seen.append),
    )
    assert [p.step for p in seen] == [1, 2, 3, 4]
    assert [p.share for p in seen] == [0.25, 0.5, 0.75, 1]
    assert set(card.metrics) == {"roi_iou_disc", "roi_extra_disc"}
    detector = YoloRoiDetector.from_weights(out, device="cpu")
    assert detector.labels == ("bone",)
    assert detector.settings.image_size == 64
    assert load_weights(out)[1] == card.model_copy(update={"sha256": load_weights(out)[1].sha256})
    assert card.data == ["squares"]


@pytest.mark.parametrize(
    ("preset", "mirrored", "voting", "coarse"),
    [("paper", False, 1.0, None), ("default", True, 0.7, 320)],
)
def test_only_the_papers_preset_looks_once(
    tmp_path: Path, start: Path, preset: str, mirrored: bool, voting: float, coarse: int | None
) -> None:
    out = tmp_path / "out.safetensors"
    train_roi(
        squares(2),
        start=start,
        out=out,
        seed=0,
        steps=1,
        classes=["bone"],
        preset=preset,
        settings=RoiSettings(image_size=64),
        device="cpu",
    )
    looks = YoloRoiDetector.from_weights(out, device="cpu").settings
    assert (looks.mirrored, looks.voting_iou, looks.image_size) == (mirrored, voting, 64)
    assert looks.coarse_size == coarse


def test_the_papers_network_is_asked_at_the_size_that_it_learned_at(
    tmp_path: Path, start: Path
) -> None:
    out = tmp_path / "out.safetensors"
    train_roi(
        squares(2), start=start, out=out, seed=0, steps=1, classes=["bone"], preset="paper",
        device="cpu",
    )  # fmt: skip
    learned = {size for stage in roi_training.PRESETS["paper"] for size in stage.sizes}
    assert {YoloRoiDetector.from_weights(out, device="cpu").settings.image_size} == learned


def test_the_figures_are_those_of_the_detector_that_is_saved(
    tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its least score is chosen after training, and ROIs come and go with it."""
    monkeypatch.setattr(roi_training, "choose_min_score", lambda *_: 1e-6)
    out, held_out = tmp_path / "out.safetensors", squares(4)
    card = train_roi(
        squares(4), start=start, out=out, seed=0, steps=2, classes=["bone"], device="cpu",
        settings=RoiSettings(image_size=64, min_score=0.9), validation=held_out, validations=1,
    )  # fmt: skip
    assert card.configuration["min_score"] == 1e-6
    saved = roi_scores(YoloRoiDetector.from_weights(out, device="cpu"), held_out)
    assert saved["extra ROIs"] > 0, "at 0.9 it finds none"
    assert card.metrics == pytest.approx(saved)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path, start: Path) -> None:
    results = []
    for name in ("a", "b"):
        out = tmp_path / f"{name}.safetensors"
        train_roi(
            squares(8), start=start, out=out, seed=3, epochs=2, classes=["bone"], device="cpu"
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
    train_roi(squares(8), start=start, out=out, seed=0, epochs=3, classes=["bone"], device="cpu")
    before, after = load_weights(start)[0], load_weights(out)[0]
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    layers = {int(name.split(".")[1]) for name in changed}
    assert min(layers) == 13
    assert {13, 14, 15, 16, 19, 20} == layers


def test_stopping_writes_no_weights_and_going_on_ends_in_the_same_ones(
    tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = Stage(0.5, "backbone", (1e-3, 1e-3), (64,), views=6)
    monkeypatch.setitem(
        roi_training.PRESETS, "default", (views, Stage(0.5, 5, (1e-3, 1e-4), (64,)))
    )

    def train(name: str, watch: Watch) -> dict[str, np.ndarray]:
        out = tmp_path / f"{name}.safetensors"
        train_roi(
            squares(8),
            start=start,
            out=out,
            seed=0,
            steps=6,
            classes=["bone"],
            validation=squares(2),
            validations=3,
            device="cpu",
            watch=watch,
        )
        return load_weights(out)[0]

    def stop_at(step: int) -> Watch:
        def stop(at: object) -> None:
            if at.step == step:  # type: ignore[attr-defined]
                raise CancelledError("stopped")

        return Watch(step=stop, checkpoints=Checkpoints(tmp_path / "checkpoints"))

    whole = train("whole", Watch())
    for step in (2, 4):
        with pytest.raises(CancelledError):
            train("stopped", stop_at(step))
        assert not (tmp_path / "stopped.safetensors").exists()
    resumed = train("stopped", stop_at(99))
    assert all(np.array_equal(values, resumed[name]) for name, values in whole.items())


def test_scores_count_missed_and_extra_rois() -> None:
    class Fixed:
        name, labels = "fixed", ("bone",)

        def detect(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiProposal]:
            boxes = [RoiBox(0, 0, 10, 10), RoiBox(50, 50, 60, 60)]
            return [RoiProposal(box, "bone", 0.9) for box in boxes]

    image = squares(1)[0].image
    found, missed = RoiBox(0, 0, 10, 10), RoiBox(20, 20, 40, 40)
    scores = roi_scores(Fixed(), [_Sample(image, [found, missed]), _Sample(image, [found])])
    assert scores["ROI IoU"] == pytest.approx(2 / 3)
    assert scores["missed ROIs"] == pytest.approx(1 / 3)
    assert scores["extra ROIs"] == 0.5
    assert scores["ROI quality"] == pytest.approx(2 / 4)


def test_starts_from_darknet_and_from_nothing_else_that_does_not_fit(
    tmp_path: Path, start: Path
) -> None:
    network = build_yolo("yolov3-tiny", 2)
    start_from(network, start, ["lung", "bone"])  # a class more: the one that is known stays
    head = network.state_dict()["model.20.cv3.0.2.weight"]
    known = load_weights(start)[0]["model.20.cv3.0.2.weight"]
    np.testing.assert_array_equal(head[1], known[0])
    boxes = tmp_path / "boxes"
    save_weights(
        boxes, {"a": np.zeros(1)}, WeightsCard(kind="boxes", architecture="a", classes=["b"])
    )
    with pytest.raises(WeightsError, match="holds a boxes model"):
        start_from(network, boxes.with_suffix(".safetensors"), ["bone", "lung"])
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
        samples = changes.pop("samples", squares(1))
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
    network = build_yolo("yolov3-tiny", 1)
    assert first.frozen_layers(network) == len(network.model) - 3 == 18
    assert second.frozen_layers(network) == 0


def test_rare_classes_are_drawn_more_often_within_their_kind() -> None:
    def example(kind: str, *class_ids: int) -> Example:
        boxes = np.zeros((len(class_ids), 4), dtype=np.float32)
        ids = np.array(class_ids, dtype=np.int64)
        return Example(torch.zeros(4, 4, dtype=torch.uint8), boxes, ids, kind)

    same = _odds([example("a", 0)] * 4)
    np.testing.assert_allclose(same, 0.25)
    one_rare = _odds([*[example("a", 0, 0)] * 9, example("a", 0, 1)])
    np.testing.assert_allclose(one_rare[-1] / one_rare[0], 10**0.5)
    kinds = _odds([*[example("a", 0)] * 16, example("b", 1)])  # of one class each
    np.testing.assert_allclose(kinds[-1] / kinds[0], 4.0)
    many = [example("a", n % 5) for n in range(100)] + [example("b", 9)] * 400
    np.testing.assert_allclose(_odds(many)[:100].sum(), 1 / 3)
    assert np.isclose(_odds([example("a"), example("a", 0)]).sum(), 1.0)


def test_memory_that_was_full_while_views_were_computed_leaves_them_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, batches = learner((Stage(1.0, "backbone", (1e-3, 1e-3), (64,), views=12),)), list[int]()
    layers = roi_learner.run_layers

    def full(network: object, x: torch.Tensor, *given: object) -> object:
        batches.append(len(x))
        if len(x) > 4:
            raise RuntimeError("CUDA out of memory")
        return layers(network, x, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(roi_learner, "run_layers", full)
    fit(run, Budget(1))
    assert batches[0] > 4 >= run.batch and run._views is not None and len(run._views) == 12


def test_views_stop_at_every_picture() -> None:
    run = learner((Stage(1.0, "backbone", (1e-3, 1e-3), (64,), views=12),))
    run._check, run.batch = stops_after(12 + 1), 6  # all are drawn, one batch of two is computed
    with pytest.raises(StoppedError):
        run.prepare(0, 0.0)
    assert run._views is None and run._stage is None, "who goes on computes them"
