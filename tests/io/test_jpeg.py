from __future__ import annotations

import io
import struct
import time

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from napari_graydet.errors import ImageError, LimitError
from napari_graydet.io.jpeg import decode_jpeg
from tests.io.helpers import gradient, pillow_bytes

SMOOTH = np.add.outer(np.arange(60), np.arange(80)).astype("uint8")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_values_are_those_of_another_decoder(mode: str, progressive: bool) -> None:
    data = pillow_bytes(Image.fromarray(SMOOTH).convert(mode), "JPEG", progressive=progressive)
    decoded = decode_jpeg(data, "a.jpg")
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert decoded.bits == 8
    np.testing.assert_array_equal(decoded.pixels, expected)


def test_12_bit_files_are_read() -> None:
    deep = gradient((40, 50), 4096, "uint16")
    data = imagecodecs.jpeg8_encode(deep, bitspersample=12, lossless=True)
    decoded = decode_jpeg(data, "a.jpg")
    assert decoded.bits == 12
    np.testing.assert_array_equal(decoded.pixels, deep)


def test_colour_is_refused() -> None:
    red = np.zeros((30, 30, 3), np.uint8)
    red[..., 0] = 200
    with pytest.raises(ImageError, match="colour image"):
        decode_jpeg(pillow_bytes(Image.fromarray(red), "JPEG"), "a.jpg")
    with pytest.raises(ImageError, match="4 channels"):
        decode_jpeg(pillow_bytes(Image.fromarray(red).convert("CMYK"), "JPEG"), "a.jpg")


@pytest.mark.parametrize("progressive", [False, True])
def test_every_truncation_is_refused(progressive: bool) -> None:
    data = pillow_bytes(Image.fromarray(SMOOTH), "JPEG", progressive=progressive)
    for length in range(3, len(data)):
        with pytest.raises(ImageError):
            decode_jpeg(data[:length], "a.jpg")


def test_an_end_marker_in_a_thumbnail_does_not_hide_a_truncation() -> None:
    thumbnail = pillow_bytes(Image.fromarray(SMOOTH[:8, :8]), "JPEG")
    data = pillow_bytes(Image.fromarray(SMOOTH), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    assert decode_jpeg(data[:2] + segment + data[2:], "a.jpg").pixels.shape == (60, 80)
    with pytest.raises(ImageError, match="too early"):
        decode_jpeg((data[:2] + segment + data[2:])[:-20], "a.jpg")


def test_the_exif_orientation_is_named() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = pillow_bytes(Image.fromarray(SMOOTH), "JPEG", exif=exif)
    decoded = decode_jpeg(data, "a.jpg")
    assert decoded.pixels.shape == (60, 80)
    assert any("orientation" in note for note in decoded.notes)
    plain = decode_jpeg(pillow_bytes(Image.fromarray(SMOOTH), "JPEG"), "a.jpg")
    assert not any("orientation" in note for note in plain.notes)


def patched(data: bytes, width: int, height: int) -> bytes:
    start = data.index(b"\xff\xc0")
    return data[: start + 5] + struct.pack(">HH", height, width) + data[start + 9 :]


def test_bombs_and_empty_frames_are_refused() -> None:
    data = pillow_bytes(Image.fromarray(SMOOTH), "JPEG")
    start = time.perf_counter()
    with pytest.raises(LimitError):
        decode_jpeg(patched(data, 65_000, 65_000), "a.jpg")
    assert time.perf_counter() - start < 1
    with pytest.raises(ImageError, match="no pixels"):
        decode_jpeg(patched(data, 0, 60), "a.jpg")


def test_rubbish_between_markers_is_refused_and_fill_bytes_are_skipped() -> None:
    data = pillow_bytes(Image.fromarray(SMOOTH), "JPEG")
    filled = data[:2] + b"\xff\xff" + data[2:]
    np.testing.assert_array_equal(decode_jpeg(filled, "a").pixels, decode_jpeg(data, "a").pixels)
    with pytest.raises(ImageError, match="no marker at byte 2"):
        decode_jpeg(data[:2] + b"rubbish" + data[2:], "a")


def test_fewer_than_8_bits_are_refused() -> None:
    data = imagecodecs.jpeg8_encode(SMOOTH // 64, lossless=True, bitspersample=4)
    with pytest.raises(ImageError, match="4 bits per pixel"):
        decode_jpeg(data, "a.jpg")
