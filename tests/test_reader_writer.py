from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_graydet._reader import get_reader
from napari_graydet._writer import write_mask_layer
from napari_graydet.errors import ExportError, ImageError, MaskError
from napari_graydet.io.masks import read_mask
from tests.io.helpers import dicom, gradient, png

DEEP = gradient((20, 30), 4096, "uint16")


def read(path: str | list[str]) -> list[tuple[np.ndarray, dict, str]]:
    reader = get_reader(path)
    assert reader is not None
    return reader(path)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_layer_shows_stored_values_as_the_file_asks(tmp_path: Path, photometric: str) -> None:
    path = tmp_path / "hand.dcm"
    path.write_bytes(dicom(DEEP, photometric=photometric, PixelSpacing=[0.2, 0.1]))
    [(data, options, kind)] = read(str(path))
    assert kind == "image"
    np.testing.assert_array_equal(data, DEEP)
    assert options["name"] == "hand"
    assert options["colormap"] == ("gray_r" if photometric == "MONOCHROME1" else "gray")
    low, high = options["contrast_limits"]
    assert 0 <= low < high <= 4095
    assert options["metadata"]["spacing_mm"] == (0.2, 0.1)


def test_layers_are_what_napari_takes(tmp_path: Path) -> None:
    layers = pytest.importorskip("napari.layers")
    path = tmp_path / "flat.png"
    path.write_bytes(png(np.full((4, 5), 7, np.uint8)))
    [(data, options, _)] = read(str(path))
    layer = layers.Image(data, **options)
    assert layer.contrast_limits == [0, 255]


def test_several_paths_are_several_layers(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        path.write_bytes(png(DEEP))
    assert len(read([str(path) for path in paths])) == 2


def test_other_files_are_left_to_other_readers(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"text")
    for path in ("a.png", "missing.png", "."):
        assert get_reader(str(tmp_path / path)) is None
    assert get_reader([]) is None


def test_a_damaged_image_is_our_error(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(DEEP)[:-20])
    with pytest.raises(ImageError, match=r"a\.png"):
        read(str(path))


@pytest.mark.parametrize(("label", "written"), [(1, 255), (2, 2), (255, 255)])
def test_labels_are_written_as_masks(tmp_path: Path, label: int, written: int) -> None:
    labels = np.zeros((6, 7), np.int32)
    labels[2:4, 3:6] = label
    paths = write_mask_layer(str(tmp_path / "mask"), labels, {"name": "x"})
    assert paths == [str(tmp_path / "mask.png")]
    stored = np.asarray(Image.open(paths[0]))
    np.testing.assert_array_equal(stored, (labels > 0) * written)
    np.testing.assert_array_equal(read_mask(Path(paths[0]), (6, 7)), labels > 0)


def test_an_empty_mask_is_a_mask(tmp_path: Path) -> None:
    [path] = write_mask_layer(str(tmp_path / "mask.png"), np.zeros((3, 4), np.uint8), {})
    assert not read_mask(Path(path), (3, 4)).any()


def test_what_is_no_mask_is_refused(tmp_path: Path) -> None:
    for labels in (np.zeros((2, 3, 4), int), np.full((3, 4), 256), np.zeros((0, 0), int)):
        with pytest.raises(MaskError):
            write_mask_layer(str(tmp_path / "a.png"), labels, {})


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a file where a folder is needed")
    with pytest.raises(ExportError):
        write_mask_layer(str(tmp_path / "f" / "a.png"), np.zeros((3, 4), int), {})
