"""The ROI detector: what it proposes, what it refuses, and what it leaves alone."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.nms import RoiCandidates
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import ModelError, WeightsError
from napari_graydet.io.weights import WeightsCard, save_weights
from napari_graydet.models import loading
from napari_graydet.models.roi.detector import RoiSettings, YoloRoiDetector
from napari_graydet.models.roi.metrics import matched_ious
from napari_graydet.models.roi.training import tensors_of
from napari_graydet.models.roi.yolo import build_yolo
from napari_graydet.workflows.shipped_data import HELD_OUT_START, phantom_samples

CLASSES = ["bone", "lung"]


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    return tensors_of(build_yolo("yolov3-tiny", 2))


@pytest.fixture
def card() -> WeightsCard:
    return WeightsCard(
        kind="roi",
        architecture="yolov3-tiny",
        configuration=RoiSettings(image_size=128).model_dump(),
        classes=CLASSES,
    )


@pytest.fixture(scope="module")
def shipped() -> YoloRoiDetector:
    try:
        path = loading.shipped("roi")
    except WeightsError as error:
        pytest.skip(str(error))
    return YoloRoiDetector.from_weights(path, device="cpu")


def _image(pixels: np.ndarray) -> GrayImage:
    return GrayImage(pixels, GrayScale.of_bits(8 * pixels.itemsize))


def _noise(seed: int, shape: tuple[int, int] = (120, 90)) -> GrayImage:
    return _image(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def test_finds_the_lungs_of_a_phantom(shipped: YoloRoiDetector) -> None:
    sample = next(phantom_samples("chest", 1, start=HELD_OUT_START))
    found = shipped.detect(sample.image)
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    assert {p.label for p in found} == {"lung"}
    assert matched_ious(sample.rois, [p.roi for p in found]).mean() > 0.7


def test_depth_and_inversion_of_the_file_change_nothing(shipped: YoloRoiDetector) -> None:
    sample = next(phantom_samples("chest", 1, start=HELD_OUT_START))
    gray = sample.image.display8()
    plain = GrayImage(gray, GrayScale.of_bits(8))
    deep = GrayImage((65535 - gray.astype(np.uint16) * 257), GrayScale.of_bits(16, inverted=True))
    for a, b in zip(shipped.detect(plain), shipped.detect(deep), strict=True):
        np.testing.assert_allclose(a.roi.xyxy, b.roi.xyxy, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_blank_images_have_no_objects(shipped: YoloRoiDetector, seed: int) -> None:
    assert shipped.detect(_noise(seed, (300, 400))) == []
    assert shipped.detect(_image(np.full((200, 300), 80 * seed, np.uint8))) == []


def test_proposals_lie_in_the_image_and_a_higher_score_keeps_fewer(
    tmp_path: Path, tensors: dict[str, np.ndarray], card: WeightsCard
) -> None:
    save_weights(tmp_path / "w", tensors, card)
    detector = YoloRoiDetector.from_weights(tmp_path / "w.safetensors", device="cpu")
    for shape in ((120, 90), (1, 400), (33, 1), (700, 650)):
        image = _noise(0, shape)
        many = detector.detect(image, min_score=1e-6)
        assert many, "an untrained network proposes something at any score"
        for proposal in many:
            assert proposal.roi == proposal.roi.clip(shape)
            assert proposal.label in CLASSES
        middle = many[len(many) // 2].score
        assert all(p.score >= middle for p in detector.detect(image, min_score=middle))


def test_weights_of_other_classes_kinds_and_architectures_are_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray], card: WeightsCard
) -> None:
    path = tmp_path / "w.safetensors"
    cases = [
        (card.model_copy(update={"classes": ["a", "b", "c"]}), "other classes"),
        (card.model_copy(update={"kind": "boxes"}), "expected 'roi'"),
        (card.model_copy(update={"architecture": "yolov8n"}), "differ"),
        (card.model_copy(update={"architecture": "../../etc/x"}), "describes no YOLO"),
        (card.model_copy(update={"architecture": "no-such-net"}), "describes no YOLO"),
        (card.model_copy(update={"configuration": {"image_size": 7}}), "describes no"),
    ]
    for other, message in cases:
        save_weights(path, tensors, other)
        with pytest.raises(WeightsError, match=message):
            YoloRoiDetector.from_weights(path)


def test_damaged_weights_are_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray], card: WeightsCard
) -> None:
    path = tmp_path / "w.safetensors"
    name = "model.0.bn.bias"
    save_weights(path, tensors | {name: np.full_like(tensors[name], np.nan)}, card)
    with pytest.raises(WeightsError, match="not finite"):
        YoloRoiDetector.from_weights(path)
    save_weights(path, {k: v for k, v in tensors.items() if k != name}, card)
    with pytest.raises(WeightsError, match=name):
        YoloRoiDetector.from_weights(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="SHA-256"):
        YoloRoiDetector.from_weights(path)


def test_any_architecture_of_ultralytics_is_built_without_spoiling_the_next() -> None:
    names = [
        {type(m).__name__ for m in build_yolo(name, 2).modules()}
        for name in ("yolov8n", "yolov3-tiny", "yolov8n")
    ]
    assert "SiLU" in names[0] and names[0] == names[2]
    assert "LeakyReLU" in names[1] and "SiLU" not in names[1]


def test_an_unknown_architecture_is_an_error() -> None:
    for name in ("no-such-net", "https://example.org/x", "yolov8n-seg"):
        with pytest.raises(ModelError):
            build_yolo(name, 2)


def test_out_of_memory_goes_on_on_the_cpu_with_a_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notices: list[str] = []
    detector = YoloRoiDetector(
        build_yolo("yolov3-tiny", 2), CLASSES, name="x", device="cpu", notice=notices.append
    )
    inner = detector._candidates

    def full(canvas: torch.Tensor, width: int, least: float, device: torch.device) -> RoiCandidates:
        if device.type != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(canvas, width, least, device)

    expected = detector.detect(_noise(1), min_score=1e-3)
    monkeypatch.setattr(detector, "_candidates", full)
    monkeypatch.setattr(detector, "_device", torch.device("cuda"))
    assert detector.detect(_noise(1), min_score=1e-3) == expected
    assert detector.detect(_noise(1), min_score=1e-3) == expected
    assert detector.device.type == "cpu"
    assert len(notices) == 1


def test_detection_from_several_threads_agrees_with_one() -> None:
    detector = YoloRoiDetector(build_yolo("yolov3-tiny", 2), CLASSES, name="x", device="cpu")
    images = [_noise(i, (60 + 40 * i, 150)) for i in range(4)]
    alone = [detector.detect(image, min_score=1e-6) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: detector.detect(i, min_score=1e-6), images))
    assert together == alone


class _Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("wrap", [False, True])
def test_a_malicious_checkpoint_does_not_run(tmp_path: Path, wrap: bool) -> None:
    planted = tmp_path / "planted"
    path = tmp_path / "bad.pt"
    content = {"model": _Payload(planted)} if wrap else _Payload(planted)
    torch.save(content, path)
    with pytest.raises(WeightsError):
        YoloRoiDetector.from_checkpoint(path)
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError):
        YoloRoiDetector.from_checkpoint(path)
    assert not planted.exists()
    torch.load(_saved(content, tmp_path), weights_only=False)
    assert planted.exists(), "the payload was a real one"


def _saved(content: object, folder: Path) -> Path:
    torch.save(content, folder / "again.pt")
    return folder / "again.pt"


def test_a_checkpoint_of_ultralytics_can_be_used(tmp_path: Path) -> None:
    network = build_yolo("yolov8n", 3)
    network.names = {0: "a", 1: "b", 2: "c"}
    torch.save({"model": network, "train_args": {}}, tmp_path / "mine.pt")
    detector = YoloRoiDetector.from_checkpoint(tmp_path / "mine", device="cpu")
    assert (detector.name, detector.labels) == ("mine", ("a", "b", "c"))
    assert {p.label for p in detector.detect(_noise(0), min_score=1e-6)} <= {"a", "b", "c"}


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04garbage"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.pt"):
        YoloRoiDetector.from_checkpoint(tmp_path / "x.pt")


def test_ultralytics_leaves_the_environment_alone_and_is_kept_offline(tmp_path: Path) -> None:
    code = """
import os
os.environ["QT_QPA_FONTDIR"] = "mine"
before = dict(os.environ)
from napari_graydet.models.roi.yolo import build_yolo
build_yolo("yolov3-tiny", 2)
import sys, ultralytics.utils as u
assert "cv2" in sys.modules
assert dict(os.environ) == before, set(os.environ) ^ set(before)
assert u.SETTINGS["sync"] is False
assert u.SAFE_LOAD and not u.ONLINE and not u.AUTOINSTALL
"""
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    )
    assert done.stdout == "", "nothing may mix with the JSON on standard output"
    assert not (tmp_path / ".config").exists()


def test_a_roi_in_the_padding_is_dropped() -> None:
    detector = YoloRoiDetector(build_yolo("yolov3-tiny", 2), CLASSES, name="x", device="cpu")
    assert detector._proposal(np.array([300.0, 10, 400, 60]), 1, 0.9, (100, 200)) is None
    kept = detector._proposal(np.array([75.0, 5, 200, 30]), 1, 0.9, (100, 150))
    assert kept is not None
    assert kept.roi == RoiBox(75, 5, 150, 30)


def test_every_look_is_for_objects_of_its_extents(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = YoloRoiDetector(build_yolo("yolov3-tiny", 2), CLASSES, name="x", device="cpu")
    small, whole, cut_off = (0.0, 0.0, 0.3, 0.2), (0.1, 0.0, 0.9, 1.0), (0.1, 0.0, 0.9, 0.7)
    between = (0.5, 0.1, 0.96, 0.3)
    seen = {480: [(small, 0.9), (cut_off, 0.95), (between, 0.7)]}
    seen |= {320: [(small, 0.99), (whole, 0.6), (between, 0.8)]}

    def candidates(canvas: torch.Tensor, *_: object) -> RoiCandidates:
        corners, scores = zip(*seen[canvas.shape[-1]], strict=True)
        twice = np.array([*corners, *corners]) * canvas.shape[-1]
        classes = np.zeros(len(twice), dtype=np.intp)
        return RoiCandidates(twice, np.array([*scores, *scores]), classes, np.repeat([0, 1], 3))

    monkeypatch.setattr(detector, "_candidates", candidates)
    found = detector.detect(_noise(0, (1000, 1000)))
    wanted = [RoiBox(*(1000 * v for v in roi)) for roi in (small, between, whole)]
    assert [p.score for p in found] == pytest.approx([0.9, 0.8, 0.6])
    assert [p.roi.iou(w) for p, w in zip(found, wanted, strict=True)] == pytest.approx([1, 1, 1])
    detector.settings = RoiSettings(coarse_size=None)
    assert [p.score for p in detector.detect(_noise(0, (1000, 1000)))] == [0.95, 0.9, 0.7]


def test_an_object_that_fills_the_image_is_found_whole(shipped: YoloRoiDetector) -> None:
    one_look = YoloRoiDetector.from_weights(loading.shipped("roi"), device="cpu")
    one_look.settings = shipped.settings.model_copy(update={"coarse_size": None})
    ious: dict[bool, list[float]] = {False: [], True: []}
    for sample in phantom_samples("chest", 3, start=HELD_OUT_START):
        for lung in sample.rois:
            rows, cols = lung.grow(0.05, sample.image.shape).slices(sample.image.shape)
            image = GrayImage(
                np.ascontiguousarray(sample.image.pixels[rows, cols]), sample.image.scale
            )
            true = RoiBox(*np.subtract(lung.xyxy, [cols.start, rows.start] * 2))
            for both, detector in ((False, one_look), (True, shipped)):
                found = [p.roi.iou(true) for p in detector.detect(image)]
                ious[both].append(max(found, default=0.0))
    assert np.mean(ious[True]) > max(0.8, np.mean(ious[False]))


def test_what_is_seen_at_the_wrong_size_is_better_than_nothing(
    shipped: YoloRoiDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, list[tuple[float, ...]]] = {}

    def look(gray: object, least: float, size: int) -> RoiCandidates:
        corners = np.array(seen[size], dtype=np.float64).reshape(-1, 4)
        n = len(corners)
        ids = np.zeros(n, dtype=np.intp)
        return RoiCandidates(corners, np.full(n, 0.5), ids, ids)

    monkeypatch.setattr(shipped, "_look", look)
    image, large, small = _noise(0, (100, 100)), (5.0, 5, 95, 95), (10.0, 10, 30, 30)
    fine, coarse = (size for size, _, _ in shipped.settings.looks)
    for at_fine, at_coarse, expected in (
        ([large], [], [large]),
        ([], [small], [small]),
        ([large, small], [], [small]),
        ([], [], []),
    ):
        seen.update({fine: at_fine, coarse: at_coarse})
        assert [p.roi.xyxy for p in shipped.detect(image)] == expected


@pytest.mark.parametrize("best", [0.1, 0.3, 0.6], ids=lambda score: f"fitting {score}")
def test_a_higher_least_score_only_leaves_rois_out(
    shipped: YoloRoiDetector, monkeypatch: pytest.MonkeyPatch, best: float
) -> None:
    """What is seen at the wrong size counts or not, whatever least score is asked for."""
    fine, coarse = (size for size, _, _ in shipped.settings.looks)
    seen = {  # the first look is for small objects, the second for large ones
        fine: [((5.0, 5, 95, 95), 0.7), ((10.0, 10, 30, 30), best)],
        coarse: [((60.0, 60, 80, 80), 0.4), ((2.0, 2, 97, 90), best / 2)],
    }

    def look(gray: object, least: float, size: int) -> RoiCandidates:
        kept = [one for one in seen[size] if one[1] >= least]
        corners = np.array([corner for corner, _ in kept], dtype=np.float64).reshape(-1, 4)
        ids = np.zeros(len(kept), dtype=np.intp)
        return RoiCandidates(corners, np.array([score for _, score in kept]), ids, ids)

    monkeypatch.setattr(shipped, "_look", look)
    image = _noise(0, (100, 100))
    everything = {(p.roi.xyxy, p.score) for p in shipped.detect(image, min_score=0.01)}
    for least in (0.05, 0.15, 0.2, 0.35, 0.5, 0.65):
        found = {(p.roi.xyxy, p.score) for p in shipped.detect(image, min_score=least)}
        assert found == {one for one in everything if one[1] >= least}


@pytest.mark.parametrize("sizes", [(320, 320), (64, 320), (480, None)])
def test_one_look_is_enough_where_the_other_is_no_coarser(sizes: tuple[int, int | None]) -> None:
    settings = RoiSettings(image_size=sizes[0], coarse_size=sizes[1])
    assert [look[0] for look in settings.looks] == [sizes[0]]
    assert [look[0] for look in RoiSettings().looks] == [480, 320]


def test_the_mirror_image_gets_the_mirrored_rois(shipped: YoloRoiDetector) -> None:
    sample = next(phantom_samples("forearm", 1, start=HELD_OUT_START))
    image = sample.image
    mirrored = GrayImage(np.ascontiguousarray(image.pixels[:, ::-1]), image.scale)
    here, there = shipped.detect(image), shipped.detect(mirrored)
    assert shipped.settings.mirrored
    assert len(here) == len(there) > 0
    for one, other in zip(here, there, strict=True):
        x0, y0, x1, y1 = other.roi.xyxy
        turned = (image.width - x1, y0, image.width - x0, y1)
        assert one.roi.xyxy == pytest.approx(turned, abs=0.05)
        assert one.score == pytest.approx(other.score, abs=1e-4)


def test_many_candidates_of_low_score_change_no_scores(shipped: YoloRoiDetector) -> None:
    image = next(phantom_samples("hand", 1, start=HELD_OUT_START)).image
    few = shipped.detect(image)
    many = shipped.detect(image, min_score=0.05)
    assert len(many) >= len(few) > 5
    assert [p.score for p in many[: len(few)]] == [p.score for p in few]
