"""One image -> mask; and the record from which a few lines of numpy make the same mask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import CleanUp
from napari_graydet.errors import GeometryError, ImageError, ModelError
from napari_graydet.project.schema import Annotation, BoxRecord
from napari_graydet.workflows.predict import Predictor
from napari_graydet.workflows.segment import Segmentation, segment
from tests.workflows.fakes import BrightHalf, FakeRois, fake_predictor, proposal


def no_models() -> Predictor:
    """A predictor that must not be asked: its detectors raise."""
    return Predictor(roi_source="/nowhere/roi.safetensors", box_source="/nowhere/boxes.safetensors")


def noise(shape: tuple[int, int] = (50, 70), bits: int = 8, seed: int = 0) -> GrayImage:
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if bits == 8 else np.uint16
    pixels = rng.integers(0, 2**bits, shape).astype(dtype)
    return GrayImage(pixels, GrayScale.of_bits(bits), name="noise.png", sha256="ab" * 32)


def by_numpy(document: dict[str, Any], pixels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Make the mask from JSON and stored values: the rule of the design, nothing of the package."""
    mask = np.zeros(pixels.shape, bool)
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]] + 0.5
    for b in document["boxes"]:
        inside = (b["x0"] <= x) & (x < b["x1"]) & (b["y0"] <= y) & (y < b["y1"])
        low, high = (surface(b, b[end], x, y) for end in ("low", "high"))
        mask |= inside & (low - 1e-6 <= pixels) & (pixels <= high + 1e-6)
    return mask


def surface(b: dict[str, Any], net: Any, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Any:
    """Interpolate a net bilinearly, from its four neighbours."""
    if isinstance(net, int):
        return net
    net = np.array(net, float)
    k = len(net)
    u = np.clip((x - b["x0"]) / (b["x1"] - b["x0"]), 0, 1) * (k - 1)
    v = np.clip((y - b["y0"]) / (b["y1"] - b["y0"]), 0, 1) * (k - 1)
    i, j = np.minimum(v.astype(int), k - 2), np.minimum(u.astype(int), k - 2)
    s, t = v - i, u - j
    top = net[i, j] * (1 - t) + net[i, j + 1] * t
    return top * (1 - s) + (net[i + 1, j] * (1 - t) + net[i + 1, j + 1] * t) * s


def test_hand_made_roi_and_range_need_no_model() -> None:
    image = noise()
    result = segment(image, roi=(3, 4, 33.5, 40), gray_range=(90, 180), predictor=no_models())
    expected = np.zeros(image.shape, bool)
    expected[4:40, 3:33] = (image.pixels[4:40, 3:33] >= 90) & (image.pixels[4:40, 3:33] <= 180)
    # column 33 has its centre on the edge 33.5, which is outside
    assert np.array_equal(result.mask, expected)
    assert result.models == {"roi": None, "boxes": None}
    assert result.rois[0].source == "human"


def test_whole_image_and_label() -> None:
    image = noise()
    result = segment(
        image, roi="whole", gray_range=GrayRange(100, 255), label="bone", predictor=no_models()
    )
    assert np.array_equal(result.mask, image.pixels >= 100)
    assert (result.rois[0].label, result.boxes[0].label) == ("bone", "bone")


def test_several_rois() -> None:
    image = noise()
    rois = [RoiBox(0, 0, 10, 10), (20, 20, 30, 30)]
    result = segment(image, roi=rois, gray_range=(0, 255), predictor=no_models())
    assert result.mask.sum() == 200


def test_detection_end_to_end_with_several_classes() -> None:
    image = noise()
    predictor = fake_predictor(proposal(0, 0, 30, 50), proposal(30, 0, 70, 50, "lung"))
    result = segment(image, predictor=predictor)
    assert result.classes == ("bone", "lung")
    assert set(np.unique(result.mask_image())) == {0, 1, 2}
    assert np.array_equal(result.mask_of("lung"), result.label_map == 2)
    assert result.models == {"roi": "fake-roi", "boxes": "fake-boxes"}


def test_one_class_gives_a_black_and_white_mask() -> None:
    result = segment(noise(), predictor=fake_predictor(proposal(0, 0, 30, 50)))
    assert set(np.unique(result.mask_image())) == {0, 255}


def test_without_a_roi_the_whole_image_is_taken_with_score_0_and_a_notice() -> None:
    image = noise()
    result = segment(image, predictor=fake_predictor())
    assert result.rois[0].roi_box == RoiBox.of_image(image.shape)
    assert result.rois[0].score == 0.0
    assert result.mask.any()
    assert "no ROI found" in result.notices[0]
    assert "--" not in result.notices[0]  # options are the command line's


def test_without_a_roi_the_mask_can_stay_empty() -> None:
    result = segment(noise(), predictor=fake_predictor(), if_none="empty")
    assert (result.rois, result.boxes) == ((), ())
    assert not result.mask.any()
    assert not result.mask_image().any()


def test_label_keeps_only_its_rois() -> None:
    predictor = fake_predictor(proposal(0, 0, 30, 50), proposal(30, 0, 70, 50, "lung"))
    result = segment(noise(), label="lung", predictor=predictor)
    assert [roi.label for roi in result.rois] == ["lung"]


def test_an_unlabelled_roi_takes_the_class_of_its_box() -> None:
    predictor = Predictor(roi_detector=FakeRois(ModelError("no")), box_detector=BrightHalf())
    result = segment(noise(), roi=(0, 0, 30, 30), predictor=predictor)
    assert result.rois[0].label == result.boxes[0].label == "bone"


def test_cleanup_is_off_unless_asked_for_and_then_recorded() -> None:
    image = noise()
    plain = segment(image, roi="whole", gray_range=(0, 60), predictor=no_models())
    assert plain.record().document()["cleanup"] is None
    cleaned = segment(
        image,
        roi="whole",
        gray_range=(0, 60),
        cleanup=CleanUp(keep_largest=1),
        predictor=no_models(),
    )
    assert cleaned.record().document()["cleanup"] == {
        "object": {"opening": 0, "fill_holes": False, "keep_largest": 1, "min_area": 0}
    }
    assert 0 < cleaned.mask.sum() < plain.mask.sum()
    light = segment(image, roi="whole", gray_range=(0, 200), cleanup="light", predictor=no_models())
    assert light.annotation.cleanup["object"].keep_largest == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"roi": (5, 5, 5, 9)}, "x0 < x1"),
        ({"roi": (200, 200, 300, 300)}, "covers no pixel"),
        ({"roi": "half"}, "'whole'"),
        ({"roi": (1, 2, 3)}, "x0, y0, x1, y1"),
        ({"roi": []}, "got 0 numbers"),
        ({"roi": "whole", "gray_range": (9, 3)}, "low <= high"),
        ({"roi": "whole", "gray_range": (300, 400)}, "values can be 0 to 255"),
        ({"roi": "whole", "gray_range": (-9, -1)}, "outside the image"),
        ({"gray_range": (300, 400)}, "outside the image"),
        ({"roi": (0, 0, float("nan"), 9)}, "finite"),
    ],
)
def test_bad_geometry(options: dict[str, Any], message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        segment(noise(), predictor=fake_predictor(), **options)


def test_an_array_is_told_how_to_become_an_image() -> None:
    with pytest.raises(ImageError, match="GrayImage"):
        segment(np.zeros((3, 3), np.uint8))  # type: ignore[arg-type]


def test_record_has_the_keys_of_the_design() -> None:
    predictor = fake_predictor(proposal(0, 0, 30, 50), proposal(30, 0, 70, 50, "lung"))
    document = segment(noise(), predictor=predictor).record().document()
    keys = ["image", "sha256", "width", "height", "frame", "rois", "boxes", "cleanup", "residual"]
    assert [key for key in document if key in keys] == keys
    assert (document["image"], document["width"], document["height"]) == ("noise.png", 70, 50)
    assert set(document["rois"][0]) == {"x0", "y0", "x1", "y1", "score", "label"}
    assert set(document["boxes"][0]) == {"x0", "y0", "x1", "y1", "low", "high", "label", "score"}
    assert (document["cleanup"], document["residual"]) == (None, None)
    assert type(document["boxes"][0]["low"]) is int


def write_dicom(path: Path, pixels: npt.NDArray[np.uint16], photometric: str) -> None:
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(None, Dataset(), file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.PatientName = "CANARY^PATIENT"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, photometric
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = pixels.astype("<u2").tobytes()
    data.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("kind", ["png8", "png16", "MONOCHROME1"])
def test_a_few_lines_of_numpy_make_the_same_mask(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(11)
    top = {"png8": 256, "png16": 65536, "MONOCHROME1": 4096}[kind]
    pixels = rng.integers(0, top, (50, 70)).astype(np.uint8 if kind == "png8" else np.uint16)
    path = tmp_path / ("image.dcm" if kind == "MONOCHROME1" else "image.png")
    if kind == "MONOCHROME1":
        write_dicom(path, pixels, kind)
    else:
        Image.fromarray(pixels).save(path)
    predictor = fake_predictor(proposal(1.2, 3.7, 40.5, 44.4), proposal(30.5, 0, 70, 50, "lung"))
    result = segment(path, predictor=predictor)
    text = result.record().text()
    assert np.array_equal(by_numpy(json.loads(text), pixels), result.mask)
    assert result.mask.any()
    assert "CANARY" not in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize("k", [2, 3, 4])
def test_nets_are_replayed_by_numpy_too(k: int) -> None:
    rng = np.random.default_rng(k)
    for bits in (8, 16):
        image = noise(bits=bits, seed=k)
        low = rng.uniform(0, 2**bits * 0.5, (k, k))
        high = low + rng.uniform(0, 2**bits * 0.4, (k, k))
        box = GrayBox(RoiBox(3.3, 5.1, 61.9, 44.0), low, high)
        x0, y0, x1, y1 = box.roi.xyxy
        nets = dict(zip(("low", "high"), BoxRecord.nets_of(box), strict=True))
        record = BoxRecord(x0=x0, y0=y0, x1=x1, y1=y1, label="bone", **nets)
        annotation = Annotation(width=image.width, height=image.height, boxes=(record,))
        result = Segmentation(image, annotation)
        document = json.loads(result.record().text())
        assert isinstance(document["boxes"][0]["low"], list)
        assert np.array_equal(by_numpy(document, image.pixels), result.mask)
        assert result.mask.any()
