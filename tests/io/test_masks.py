from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from napari_graydet.errors import ExportError, MaskError
from napari_graydet.io.masks import is_untouched, read_label_map, read_mask, write_mask
from tests.io.helpers import pillow_bytes, tiff

MASK = np.indices((9, 12)).sum(axis=0) % 3 == 0


@settings(max_examples=40)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_masks_come_back_and_are_0_or_255(
    tmp_path_factory: pytest.TempPathFactory, mask: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("masks") / "deep" / "a.png"
    write_mask(path, mask)
    stored = np.asarray(Image.open(path))
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, mask * np.uint8(255))
    np.testing.assert_array_equal(read_mask(path, mask.shape), mask)


@settings(max_examples=40)
@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)),
    st.integers(0, 80),
    st.integers(1, 255),
)
def test_a_mask_that_was_changed_is_told_from_one_of_ours(
    tmp_path_factory: pytest.TempPathFactory, mask: np.ndarray, place: int, change: int
) -> None:
    path = tmp_path_factory.mktemp("masks") / "a.png"
    write_mask(path, mask)
    assert not is_untouched(path), "what a person has painted is saved unsigned"
    write_mask(path, mask, signed=True)
    assert is_untouched(path)
    edited, note = mask.copy(), Image.open(path).info
    edited.flat[place % edited.size] ^= change
    keeps = PngInfo()
    for name, text in note.items():
        keeps.add_text(name, text)
    Image.fromarray(edited).save(path, pnginfo=keeps)  # by a program that keeps what it read
    assert not is_untouched(path)
    Image.fromarray(mask).save(path)
    assert not is_untouched(path), "of another program"
    path.write_bytes(path.read_bytes()[:30])
    assert not is_untouched(path)


@settings(max_examples=40)
@given(
    hnp.arrays(
        st.sampled_from(["uint8", "int64", "uint16"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.integers(0, 255),
    )
)
def test_label_ids_come_back(tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("masks") / "a.png"
    write_mask(path, labels[:, ::-1])  # not contiguous
    np.testing.assert_array_equal(np.asarray(Image.open(path)), labels[:, ::-1])
    np.testing.assert_array_equal(read_mask(path, labels.shape), labels[:, ::-1] != 0)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(MASK),  # 1 bit
        Image.fromarray(MASK.astype("uint8")),  # 0 and 1
        Image.fromarray(MASK.astype("uint16") * 65535),
        Image.fromarray(MASK * np.uint8(255)).convert("RGB"),
        Image.fromarray(np.dstack([MASK * np.uint8(9), *[np.zeros_like(MASK, "u1")] * 2])),
        Image.merge("LA", [Image.fromarray(MASK * np.uint8(255)), Image.new("L", (12, 9), 255)]),
    ],
    ids=["1 bit", "0 and 1", "16 bit", "RGB", "red", "gray and alpha"],
)
def test_masks_of_other_programs_are_read(tmp_path: Path, image: Image.Image) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(pillow_bytes(image, "PNG"))
    np.testing.assert_array_equal(read_mask(path, MASK.shape), MASK)


def test_tiff_masks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(MASK * np.uint8(1)))
    np.testing.assert_array_equal(read_mask(path, MASK.shape), MASK)


def test_another_size_is_refused(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.png", MASK)
    with pytest.raises(MaskError, match="12 x 9 pixels, its image 9 x 12"):
        read_mask(tmp_path / "a.png", (12, 9))


def test_what_is_no_mask_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    stream = io.BytesIO()
    Image.fromarray(MASK * np.uint8(255)).save(stream, "JPEG")
    for content in (
        b"",
        b"text",
        stream.getvalue(),
        pillow_bytes(Image.fromarray(MASK), "PNG")[:-9],
    ):
        path.write_bytes(content)
        with pytest.raises(MaskError) as info:
            read_mask(path, MASK.shape)
        assert "\n" not in str(info.value)
    with pytest.raises(MaskError):
        read_mask(tmp_path / "missing.png", MASK.shape)


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((3, 4, 5), bool),
        np.zeros((0, 4), bool),
        np.full((3, 4), 256),
        np.full((3, 4), -1),
        np.zeros((3, 4)),
        np.array([["a"]]),
    ],
)
def test_what_cannot_be_a_mask_is_not_written(tmp_path: Path, mask: np.ndarray) -> None:
    with pytest.raises(MaskError):
        write_mask(tmp_path / "a.png", mask)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    write_mask(path, MASK)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ExportError, match="No space"):
        write_mask(path, ~MASK)
    np.testing.assert_array_equal(read_mask(path, MASK.shape), MASK)


def test_real_masks_are_read(shared_data: Path) -> None:
    for path in sorted((shared_data / "limb" / "masks").iterdir())[:5]:
        expected = np.asarray(Image.open(path)) > 0
        np.testing.assert_array_equal(read_mask(path, expected.shape), expected)


def test_label_maps_keep_their_ids(tmp_path: Path) -> None:
    ids = (np.indices((9, 12)).sum(axis=0) * 7).astype(np.uint8)
    write_mask(tmp_path / "a.png", ids)
    Image.fromarray(ids.astype(np.uint16)).save(tmp_path / "b.tif")
    for name in ("a.png", "b.tif"):
        read = read_label_map(tmp_path / name, ids.shape)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, ids)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.fromarray(MASK * np.uint8(255)).convert("RGB"), "colours"),
        (Image.fromarray(MASK.astype("uint16") * 300), "0 to 300"),
        (Image.fromarray(MASK[:, 1:]), "11 x 9"),
    ],
)
def test_what_is_no_label_map(tmp_path: Path, image: Image.Image, message: str) -> None:
    image.save(tmp_path / "a.png")
    with pytest.raises(MaskError, match=message) as error:
        read_label_map(tmp_path / "a.png", MASK.shape)
    assert "\n" not in str(error.value)
