"""The 3D box detector: shipped weights, errors, determinism, threads, weights files."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from napari_graydet.core.anchors import AnchorGrid
from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.ceiling import best_range
from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
from napari_graydet.core.metrics import iou
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.sample import Sample
from napari_graydet.core.segmentation import box_mask
from napari_graydet.errors import GeometryError, ModelError, WeightsError
from napari_graydet.io.weights import read_card
from napari_graydet.models.boxes import detector as box_detector
from napari_graydet.models.boxes.detector import BoxDetector, BoxModel, RoiInput, level_ranges
from napari_graydet.models.loading import shipped
from napari_graydet.models.pointnet import PointNet, PointNetConfig
from napari_graydet.workflows.shipped_data import HELD_OUT_START, phantom_sample


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def detector() -> BoxDetector:
    return BoxDetector.load(shipped("boxes"), device="cpu")


@pytest.fixture(scope="module")
def chest() -> Sample:
    return phantom_sample("chest", HELD_OUT_START + 77)


@pytest.fixture
def image() -> GrayImage:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70), dtype=np.uint8)
    return GrayImage(pixels, GrayScale.of_bits(8))


def small_model() -> BoxModel:
    torch.manual_seed(0)
    config = PointNetConfig(2, global_width=16, tnet_width=16)
    coef = np.random.default_rng(0).normal(0, 0.01, (2, config.feature_width + 1, 2))
    regressor = RidgeRegressor(coef.astype(np.float32).astype(np.float64))
    network = PointNet(config).eval()
    for tensor in network.state_dict().values():  # what half precision can hold
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())
    return BoxModel(network, regressor, AnchorGrid(8, (0.2, 0.5)), ("bone", "lung"))


def as_rows(proposals: list[BoxProposal]) -> list[tuple[GrayRange, str, float]]:
    return [(p.box.gray, p.label, p.score) for p in proposals]


# --- With the shipped weights ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["chest", "forearm"])
def test_shipped_weights_beat_any_constant_range_on_held_out_phantoms(
    detector: BoxDetector, kind: str
) -> None:
    """Three exposures each; the rival is the mean of the very ranges that are best here."""
    cases: list[tuple[GrayImage, RoiBox, npt.NDArray[np.bool_], str]] = []
    for index in range(2):
        sample = phantom_sample(kind, HELD_OUT_START + 50 + index)
        for gamma in (0.6, 1.0, 1.6):
            pixels = np.rint(sample.image.unit() ** gamma * 255).astype(np.uint8)
            image = GrayImage(pixels, GrayScale.of_bits(8))
            cases += [(image, roi, sample.mask, sample.label) for roi in sample.rois[:3]]
    truths = [best_range(image, within(mask, roi), roi) for image, roi, mask, _ in cases]
    mean = GrayRange(
        round(np.mean([truth.range.low for truth in truths])),
        round(np.mean([truth.range.high for truth in truths])),
    )
    constant, reached = [], []
    for image, roi, mask, label in cases:
        best = detector.detect(image, roi, label=label, alternatives=0)[0]
        assert best.label == label
        for box, ious in ((best.box, reached), (GrayBox.flat(roi, mean), constant)):
            ious.append(iou(box_mask(image.pixels, [box]), within(mask, roi)))
    ceiling = np.mean([truth.iou for truth in truths])
    assert np.mean(reached) > np.mean(constant) + 0.03
    assert np.mean(reached) > 0.88 * ceiling


def within(mask: npt.NDArray[np.bool_], roi: RoiBox) -> npt.NDArray[np.bool_]:
    """Return the part of a mask that lies in an ROI."""
    out = np.zeros_like(mask)
    window = roi.slices((mask.shape[0], mask.shape[1]))
    out[window] = mask[window]
    return out


def test_proposals_come_best_first_with_scores_and_without_doubles(
    detector: BoxDetector, chest: Sample
) -> None:
    roi = chest.rois[0]
    found = detector.detect(chest.image, roi, alternatives=7)
    assert 1 <= len(found) <= 8
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    assert all(0 <= p.score <= 1 and p.box.is_flat and p.box.roi == roi for p in found)
    assert found[0].label == chest.label
    assert all(p.margin is not None and -1 <= p.margin <= p.score for p in found)
    assert all(p.spread is not None and 0 <= p.spread < 1 for p in found)
    only = detector.detect(chest.image, roi, label="bone", alternatives=1)
    assert {p.label for p in only} == {"bone"} and len(only) <= 2
    assert len(detector.detect(chest.image, roi, alternatives=0)) == 1


def test_the_same_roi_gives_the_same_boxes_also_from_threads(
    detector: BoxDetector, chest: Sample
) -> None:
    rois = [roi.grow(g, chest.image.shape) for roi in chest.rois for g in (0.0, 0.05)]
    alone = [as_rows(detector.detect(chest.image, roi)) for roi in rois]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda roi: as_rows(detector.detect(chest.image, roi)), rois))
    assert together == alone
    again = BoxDetector.load(shipped("boxes"), device="cpu")
    assert [as_rows(again.detect(chest.image, roi)) for roi in rois] == alone


def test_a_negative_and_a_deeper_copy_give_the_same_range_in_their_own_units(
    detector: BoxDetector,
) -> None:
    """The network sees unit gray: bit depth and MONOCHROME1 are only units."""
    pixels = np.random.default_rng(1).normal(90, 15, (80, 60)).clip(0, 254)
    pixels[20:60, 15:45] += 80
    pixels = pixels.clip(0, 254).astype(np.uint16)
    roi = RoiBox(0, 0, 60, 80)
    plain = GrayImage(pixels.astype(np.uint8), GrayScale.of_bits(8))
    deep = GrayImage(pixels * 100 + 1000, GrayScale(0, 65535, 1000, 26500))
    negative = GrayImage(255 - pixels, GrayScale.of_bits(8, inverted=True))
    masks = [
        box_mask(image.pixels, [detector.detect(image, roi, label="bone")[0].box])
        for image in (plain, deep, negative)
    ]
    assert 0 < masks[0].sum() < masks[0].size
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])


def test_the_shipped_card_says_what_it_is() -> None:
    card = json.loads(shipped("boxes").with_suffix(".json").read_text())
    assert card["kind"] == "boxes" and card["classes"] == ["bone", "lung"]
    assert any("Montgomery" in line for line in card["data"]) and card["metrics"]
    assert "henzhen" not in json.dumps(card["data"])


# --- Input ----------------------------------------------------------------------------------


def test_masses_count_all_pixels_and_points_stay_few() -> None:
    pixels = np.random.default_rng(2).integers(0, 4096, (300, 400), dtype=np.uint16)
    image = GrayImage(pixels, GrayScale.of_bits(12))
    roi = RoiBox(50, 20, 350, 280)
    seen = RoiInput.of_roi(image, roi)
    assert len(seen.points) <= box_detector.POINTS
    levels = image.scale.to_levels(pixels[20:280, 50:350])
    expected = np.bincount(levels.ravel(), minlength=256) / levels.size
    np.testing.assert_allclose(seen.histogram, expected, atol=1e-7)


def test_level_ranges_hold_exactly_the_levels_of_their_gray_range() -> None:
    scale = GrayScale.of_bits(8)
    values = np.arange(256)
    for low, high in ((0, 255), (0, 0), (255, 255), (17, 200), (128, 129), (253, 253)):
        first, stop = level_ranges(scale.to_unit(GrayRange(low, high).edges))
        inside = scale.to_levels(values[(values >= low) & (values <= high)])
        assert (first, stop) == (inside.min(), inside.max() + 1)


def test_bad_rois_and_labels_are_refused_in_one_line(image: GrayImage) -> None:
    detector = BoxDetector(small_model(), device="cpu")
    with pytest.raises(GeometryError, match="covers no pixel"):
        detector.detect(image, RoiBox(500, 500, 600, 600))
    with pytest.raises(ModelError, match=r"knows bone, lung, got 'tibia'"):
        detector.detect(image, RoiBox(0, 0, 50, 50), label="tibia")
    flat = GrayImage(np.full((40, 40), 7, np.uint8), GrayScale.of_bits(8))
    with pytest.raises(ModelError, match="got 7 in all its 100 pixels"):
        detector.detect(flat, RoiBox(0, 0, 10, 10))
    with pytest.raises(ModelError, match="'tpu'"):
        BoxDetector(small_model(), device="tpu")


@pytest.mark.parametrize("size", [(1, 2), (2, 1), (3, 3), (90, 1)])
def test_tiny_rois_work(image: GrayImage, size: tuple[int, int]) -> None:
    height, width = size
    found = BoxDetector(small_model(), device="cpu").detect(image, RoiBox(3, 0, 3 + width, height))
    assert found and image.scale.lowest <= found[0].box.gray.low


def test_untrained_scores_and_wild_regressors_still_give_valid_boxes(image: GrayImage) -> None:
    model = small_model()
    wild = BoxModel(
        model.network, RidgeRegressor(model.regressor.coef * 1e6), model.grid, model.classes
    )
    roi = RoiBox(0, 0, 70, 90)
    found = BoxDetector(wild, device="cpu").detect(image, roi)
    for proposal in found:
        gray = proposal.box.gray
        assert 0 <= gray.low <= gray.high <= 255
    # A correction is made only where it scores higher, so the best anchor is the least to get.
    still = BoxModel(
        model.network, RidgeRegressor(model.regressor.coef * 0), model.grid, model.classes
    )
    assert found[0].score >= BoxDetector(still, device="cpu").detect(image, roi)[0].score


# --- Memory of the accelerator ---------------------------------------------------------------


def test_out_of_memory_goes_on_on_the_cpu_with_a_warning(
    image: GrayImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = BoxDetector(small_model(), device="cpu")
    expected = as_rows(detector.detect(image, RoiBox(0, 0, 70, 90)))
    propose = box_detector.propose

    def full(model, network, roi, class_ids, device):  # type: ignore[no-untyped-def]
        if device.type == "meta":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return propose(model, network, roi, class_ids, device)

    monkeypatch.setattr(box_detector, "propose", full)
    monkeypatch.setattr(detector, "_device", torch.device("meta"))
    with pytest.warns(RuntimeWarning, match="Out of memory on meta"):
        assert as_rows(detector.detect(image, RoiBox(0, 0, 70, 90))) == expected
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # and stays there
        assert as_rows(detector.detect(image, RoiBox(0, 0, 70, 90))) == expected


# --- Weights files ---------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mine.safetensors"
    small_model().save(path, data=["nothing"], seed=3)
    yield path


def test_weights_survive_the_round_trip(saved: Path, image: GrayImage) -> None:
    loaded = BoxDetector.load(saved, device="cpu")
    assert loaded.name == f"pointnet {read_card(saved).sha256[:8]}"
    assert loaded.labels == ("bone", "lung")
    fresh = BoxDetector(small_model(), device="cpu")
    roi = RoiBox(5, 5, 60, 80)
    assert as_rows(loaded.detect(image, roi)) == as_rows(fresh.detect(image, roi))


def edit_card(path: Path, **changes: object) -> None:
    card_path = path.with_suffix(".json")
    card_path.write_text(json.dumps({**json.loads(card_path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "roi"},
        {"architecture": "pointnet-anchors-0"},
        {"classes": ["bone"]},
        {"classes": ["bone", "lung", "tooth"]},
        {"configuration": {}},
        {"configuration": {"network": {"n_classes": 2, "global_width": 32}, "anchors": {}}},
        {"configuration": {"network": {"depth": 3}, "anchors": {"n": 1, "scales": [1]}}},
    ],
)
def test_weights_that_do_not_fit_are_refused(saved: Path, changes: dict[str, object]) -> None:
    edit_card(saved, **changes)
    with pytest.raises(WeightsError) as caught:
        BoxDetector.load(saved, device="cpu")
    assert "\n" not in str(caught.value)


def test_weights_with_nan_are_refused(tmp_path: Path) -> None:
    model = small_model()
    model.regressor.coef[0, 3, 1] = np.nan
    model.save(tmp_path / "nan.safetensors")
    with pytest.raises(WeightsError, match=r"regressor\.coef is not finite"):
        BoxDetector.load(tmp_path / "nan.safetensors", device="cpu")


def test_damaged_weights_are_refused(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[-3] ^= 1
    saved.write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        BoxDetector.load(saved, device="cpu")
