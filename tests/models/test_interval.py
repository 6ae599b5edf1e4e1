"""The simple rivals as box detectors: same use as the network, weights files, names, errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.metrics import iou
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import box_mask
from napari_graydet.errors import GeometryError, ModelError, WeightsError
from napari_graydet.io.weights import load_weights, read_card, save_weights
from napari_graydet.models import loading
from napari_graydet.models.boxes.interval import (
    ANY_CLASS,
    KINDS,
    IntervalDetector,
    IntervalKind,
    IntervalModel,
    fit_interval,
)
from napari_graydet.models.boxes.samples import BoxSample

CLASSES = ("bone", "lung")


def disc(seed: int, class_id: int) -> BoxSample:
    """A bright (bone) or dark (lung) disc on a background that is neither black nor white."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :40]
    mask = np.hypot(y - 24, x - 20) < 14
    inside, outside = (0.75, 0.4) if class_id == 0 else (0.2, 0.55)
    unit = np.where(mask, inside, outside) + rng.normal(0, 0.03, mask.shape)
    roi = RoiBox(4, 8, 36, 40)
    return BoxSample(unit.clip(0, 1).astype(np.float32), mask, roi, class_id, CLASSES[class_id])


def image_of(sample: BoxSample, bits: int = 8, inverted: bool = False) -> GrayImage:
    top = 2**bits - 1
    stored = np.rint((1 - sample.unit if inverted else sample.unit) * top)
    pixels = stored.astype(np.uint8 if bits == 8 else np.uint16)
    return GrayImage(pixels, GrayScale.of_bits(bits, inverted=inverted))


@pytest.fixture(scope="module")
def samples() -> list[BoxSample]:
    return [disc(seed, seed % 2) for seed in range(12)]


@pytest.fixture(scope="module")
def models(samples: list[BoxSample]) -> dict[IntervalKind, IntervalModel]:
    return {kind: fit_interval(kind, samples, CLASSES, 0) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("bits", "inverted"), [(8, False), (16, False), (12, True)])
def test_easy_objects_are_found_at_any_depth(
    models: dict[IntervalKind, IntervalModel], kind: IntervalKind, bits: int, inverted: bool
) -> None:
    detector = IntervalDetector(models[kind], name=kind)
    for class_id, label in enumerate(CLASSES):
        sample = disc(99, class_id)
        image = image_of(sample, bits, inverted)
        found = detector.detect(image, sample.roi, label=label)
        assert found[0].label == label and found[0].box.is_flat and found[0].box.roi == sample.roi
        assert all(0 <= p.score <= 1 for p in found)
        reached = iou(box_mask(image.pixels, [found[0].box]), sample.mask)
        # one range for all exposures it was shown cannot be a good one
        assert reached > (0.6 if kind == "constant" else 0.9)


def test_without_a_label_every_class_is_proposed(models: dict[IntervalKind, IntervalModel]) -> None:
    sample = disc(99, 0)
    detector = IntervalDetector(models["otsu"], name="otsu")
    found = detector.detect(image_of(sample), sample.roi)
    assert {p.label for p in found[:2]} == set(CLASSES)
    assert len(detector.detect(image_of(sample), sample.roi, alternatives=0)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_weights_come_back_as_they_were(
    models: dict[IntervalKind, IntervalModel], kind: IntervalKind, tmp_path: Path
) -> None:
    path = tmp_path / f"{kind}.safetensors"
    models[kind].save(path, data=["discs"], seed=0)
    loaded = loading.load_box_detector(path)
    assert isinstance(loaded, IntervalDetector)
    assert loaded.labels == CLASSES and loaded.name == f"{kind} {read_card(path).sha256[:8]}"
    sample = disc(5, 1)
    before = IntervalDetector(models[kind], name="x").detect(image_of(sample), sample.roi)
    after = loaded.detect(image_of(sample), sample.roi)
    assert [(p.box.gray, p.label, p.score) for p in after] == [
        (p.box.gray, p.label, p.score) for p in before
    ]


def test_the_same_seed_gives_the_same_weights(samples: list[BoxSample], tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit_interval("ridge", samples, CLASSES, seed).save(tmp_path / name)
        digests.append(read_card(tmp_path / name).sha256)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("name", ["otsu", "multi-otsu"])
def test_otsu_by_name_takes_the_bright_side(name: str) -> None:
    sample = disc(7, 0)
    detector = loading.load_box_detector(name)
    assert detector.name == name and detector.labels == (ANY_CLASS,)
    found = detector.detect(image_of(sample), sample.roi)
    assert found[0].box.gray.high == 255
    if name == "otsu":
        assert iou(box_mask(image_of(sample).pixels, [found[0].box]), sample.mask) > 0.95
        assert found[1].box.gray.low == 0


def test_otsu_by_name_loads_no_network_library() -> None:
    code = (
        "import sys\nfrom napari_graydet.models.loading import load_box_detector\n"
        "load_box_detector('otsu')\n"
        "assert not {'torch', 'ultralytics', 'qtpy'} & {k for k, v in sys.modules.items() if v}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_cannot_be_used_is_refused(models: dict[IntervalKind, IntervalModel]) -> None:
    image = image_of(disc(0, 0))
    detector = IntervalDetector(models["ridge"], name="ridge")
    with pytest.raises(ModelError, match="knows bone, lung, got 'heart'"):
        detector.detect(image, RoiBox(0, 0, 9, 9), label="heart")
    with pytest.raises(GeometryError, match="covers no pixel"):
        detector.detect(image, RoiBox(90, 90, 99, 99))
    flat = GrayImage(np.full((9, 9), 3, np.uint8), GrayScale.of_bits(8))
    with pytest.raises(ModelError, match="different grays"):
        detector.detect(flat, RoiBox(0, 0, 9, 9))
    with pytest.raises(ModelError, match="trained"):
        IntervalDetector.untrained("ridge")
    with pytest.raises(ModelError, match="interval method out of"):
        fit_interval("magic", [disc(0, 0)], CLASSES, 0)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="none of class 1"):
        fit_interval("otsu", [disc(0, 0)], CLASSES, 0)


@pytest.mark.parametrize(
    ("kind", "tensor", "value"),
    [
        ("ridge", "coef", np.full((2, 64, 2), np.nan)),
        ("ridge", "coef", np.zeros((2, 5, 2))),
        ("constant", "edges", np.zeros((1, 2))),
        ("otsu", "ranking", np.array([[[0, 7]], [[0, 0]]])),
        ("otsu", "bands", np.zeros(3)),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    models: dict[IntervalKind, IntervalModel],
    kind: IntervalKind,
    tensor: str,
    value: np.ndarray,
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.safetensors"
    models[kind].save(path)
    tensors, card = load_weights(path)
    if tensor not in tensors:
        tensors.clear()
    save_weights(path, {**tensors, tensor: value}, card)
    with pytest.raises(WeightsError, match="do not fit its card"):
        IntervalModel.load(path)


def test_other_architectures_are_refused(
    models: dict[IntervalKind, IntervalModel], tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    models["otsu"].save(path)
    card = json.loads(path.with_suffix(".json").read_text())
    card["architecture"] = "interval-otsu-99"
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="Expected weights of an interval method"):
        loading.load_box_detector(path)
