"""The importer of darknet weights, against an independent conversion and against damage."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from napari_graydet.errors import WeightsError
from napari_graydet.models.roi import darknet
from napari_graydet.models.roi.darknet import read_darknet
from napari_graydet.models.roi.yolo import build_yolo

WEIGHTS = Path(__file__).parents[3] / "shared" / "weights"
NUMBERS = 8_858_734  # of YOLOv3-tiny with COCO's 80 classes, without the header


@pytest.fixture(scope="module")
def coco() -> Path:
    path = WEIGHTS / "yolov3-tiny.weights"
    if not path.is_file():
        pytest.skip("the darknet weights (../shared/weights) are not on this machine")
    return path


def _write(path: Path, numbers: np.ndarray, version: tuple[int, int] = (0, 2)) -> Path:
    header = struct.pack("<3i", *version, 0)
    header += struct.pack("<q" if version[0] * 10 + version[1] >= 2 else "<i", 32013312)
    path.write_bytes(header + numbers.astype("<f4").tobytes())
    return path


def _tiny(classes: int, rng: np.random.Generator) -> np.ndarray:
    outputs = 3 * (5 + classes)
    size = NUMBERS + (outputs - 255) * (512 + 1 + 256 + 1)
    return rng.uniform(0.01, 1, size).astype(np.float32)


def test_agrees_with_an_independent_conversion(coco: Path) -> None:
    ours = read_darknet(coco)
    theirs = np.load(WEIGHTS / "yolov3-tiny_coco_ultralytics-keys_fp16.npz")
    assert set(ours) == set(theirs.files)
    assert len(ours) == 55
    for name in theirs.files:
        np.testing.assert_array_equal(ours[name].astype(theirs[name].dtype), theirs[name])


@pytest.mark.parametrize("version", [(0, 1), (0, 2)])
@pytest.mark.parametrize("classes", [1, 2, 20])
def test_any_header_and_number_of_classes(
    tmp_path: Path, version: tuple[int, int], classes: int
) -> None:
    numbers = _tiny(classes, np.random.default_rng(classes))
    tensors = read_darknet(_write(tmp_path / "a.weights", numbers, version))
    np.testing.assert_array_equal(tensors["model.0.bn.bias"], numbers[:16])
    np.testing.assert_array_equal(tensors["model.0.bn.running_var"], numbers[48:64])
    np.testing.assert_array_equal(tensors["model.0.conv.weight"].ravel(), numbers[64:496])
    last = 256 * 384 * 9  # the kernel of layer 19 ends where the second detection layer begins
    stop = numbers.size - 3 * (5 + classes) * (256 + 1)
    np.testing.assert_array_equal(
        tensors["model.19.conv.weight"].ravel(), numbers[stop - last : stop]
    )


@pytest.mark.parametrize("missing", [1, 770, 100_000])
def test_a_file_cut_short_is_refused(tmp_path: Path, missing: int) -> None:
    numbers = _tiny(80, np.random.default_rng(0))[:-missing]
    with pytest.raises(WeightsError, match="cut short or of another architecture"):
        read_darknet(_write(tmp_path / "short.weights", numbers))


@pytest.mark.parametrize("content", [b"", b"\x00" * 19, b"not weights at all" * 9])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.weights"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        read_darknet(path)


def test_a_file_ending_inside_a_number_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "odd.weights", _tiny(2, np.random.default_rng(0)))
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(WeightsError, match="inside a number"):
        read_darknet(path)


@pytest.mark.parametrize(("at", "value"), [(5, np.nan), (50, -1.0), (300, np.inf)])
def test_numbers_that_no_network_has_are_refused(tmp_path: Path, at: int, value: float) -> None:
    numbers = _tiny(2, np.random.default_rng(0))
    numbers[at] = value
    with pytest.raises(WeightsError, match="damaged"):
        read_darknet(_write(tmp_path / "damaged.weights", numbers))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="Cannot read"):
        read_darknet(tmp_path / "none.weights")


def test_the_full_yolov3_has_darknets_size_and_ultralytics_layers() -> None:
    layers = darknet._NETWORKS["yolov3"]
    heads = sum(255 * (c.inputs + 1) for c in layers if c.name is None)
    size = heads + sum(darknet._size(c) for c in layers if c.name is not None)
    assert size * 4 + 20 == 248_007_048, "bytes of the yolov3.weights that darknet offers"
    state = build_yolo("yolov3", 2).state_dict()
    for conv in layers:
        if conv.name is not None:
            kernel = 3 if conv.widened else conv.kernel
            shape = (conv.outputs, conv.inputs, kernel, kernel)
            assert tuple(state[f"{conv.name}.conv.weight"].shape) == shape, conv.name
    named = {f"{c.name}.conv.weight" for c in layers if c.name is not None}
    convolutions = {n for n in state if n.endswith("conv.weight") and "model.28." not in n}
    assert named == convolutions


@pytest.mark.long
def test_a_full_yolov3_is_read_in_darknets_order(tmp_path: Path) -> None:
    size = (248_007_048 - 20) // 4
    numbers = np.random.default_rng(0).random(size, dtype=np.float32)
    path = _write(tmp_path / "full.weights", numbers)
    assert darknet.darknet_architecture(path) == "yolov3"
    tensors = read_darknet(path)
    np.testing.assert_array_equal(tensors["model.0.bn.bias"], numbers[:32])
    at = 4 * 32 + 32 * 27 + 4 * 64 + 64 * 32 * 9 + 4 * 32  # the third: 64 -> 32, 1 x 1
    widened = tensors["model.2.cv1.conv.weight"]
    np.testing.assert_array_equal(widened[:, :, 1, 1].ravel(), numbers[at : at + 64 * 32])
    assert widened.shape == (32, 64, 3, 3) and not widened[:, :, 0].any()
    last = 255 * 257  # the third detection layer ends the file, a 3 x 3 kernel stands before it
    kernel = tensors["model.27.1.cv2.conv.weight"].ravel()
    np.testing.assert_array_equal(kernel, numbers[size - last - kernel.size : size - last])
