from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from napari_graydet.errors import ImageError, LimitError
from napari_graydet.io.png import decode_png
from tests.io.helpers import gradient, pillow_bytes, png, png_chunk, raw_png

GRAY = gradient((17, 23), 256)
DEEP = gradient((17, 23), 65536, "uint16") * 151


@given(
    hnp.arrays(
        st.sampled_from(["uint8", "uint16"]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)
    )
)
def test_stored_values_come_back(pixels: np.ndarray) -> None:
    decoded = decode_png(png(pixels), "a.png")
    assert decoded.pixels.dtype == pixels.dtype
    assert decoded.bits == 8 * pixels.dtype.itemsize
    np.testing.assert_array_equal(decoded.pixels, pixels)


def gray_as(mode: str) -> Image.Image:
    image = Image.fromarray(GRAY)
    if mode == "RGBA":
        return Image.merge("RGBA", [image] * 3 + [Image.new("L", image.size, 255)])
    if mode == "LA":
        return Image.merge("LA", [image, Image.new("L", image.size, 255)])
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_channels_and_palettes_that_are_gray_are_read(mode: str) -> None:
    data = pillow_bytes(gray_as(mode), "PNG")
    np.testing.assert_array_equal(decode_png(data, "a.png").pixels, GRAY)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_16_bit_channels_keep_16_bit(channels: int) -> None:
    stack = np.repeat(DEEP[..., None], channels, axis=2)
    if channels in (2, 4):
        stack[..., -1] = 65535
    decoded = decode_png(imagecodecs.png_encode(stack), "a.png")
    assert decoded.bits == 16
    np.testing.assert_array_equal(decoded.pixels, DEEP)


def adam7(pixels: np.ndarray) -> bytes:
    passes = [
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]  # fmt: skip
    parts = (pixels[y0::dy, x0::dx] for x0, y0, dx, dy in passes)
    return b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)


def test_interlaced_files_are_read() -> None:
    data = raw_png(23, 17, adam7(GRAY), interlace=1)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), GRAY)
    np.testing.assert_array_equal(decode_png(data, "a.png").pixels, GRAY)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_one_coloured_pixel_is_refused(channel: int) -> None:
    colour = np.repeat(GRAY[..., None], 3, axis=2)
    colour[5, 5, channel] ^= 1
    with pytest.raises(ImageError, match="colour image"):
        decode_png(png(colour), "a.png")


def test_transparency_is_refused() -> None:
    alpha = np.dstack([GRAY] * 3 + [np.full_like(GRAY, 255)])
    alpha[3, 3, 3] = 254
    with pytest.raises(ImageError, match="transparent"):
        decode_png(png(alpha), "a.png")
    with pytest.raises(ImageError, match="transparent"):
        decode_png(png(GRAY, transparency=5), "a.png")


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_fewer_than_8_bits_are_refused(depth: int) -> None:
    with pytest.raises(ImageError, match=f"{depth} bit per pixel"):
        decode_png(raw_png(8, 1, b"\0" * (1 + depth), depth=depth), "a.png")


def test_animations_are_refused() -> None:
    data = raw_png(1, 1, b"\0\0", extra=png_chunk(b"acTL", struct.pack(">II", 3, 0)))
    with pytest.raises(ImageError, match="animation of 3"):
        decode_png(data, "a.png")


def test_spacing_comes_from_the_resolution_unless_it_is_a_screens() -> None:
    decoded = decode_png(png(GRAY, dpi=(254, 127)), "a.png")
    assert decoded.spacing_mm == pytest.approx((0.2, 0.1), rel=1e-3)
    assert decoded.notes
    assert decode_png(png(GRAY, dpi=(72, 72)), "a.png").spacing_mm is None
    assert decode_png(png(GRAY), "a.png").spacing_mm is None


def test_every_truncation_is_refused() -> None:
    data = png(GRAY)
    for length in range(8, len(data)):
        with pytest.raises(ImageError):
            decode_png(data[:length], "a.png")


def test_every_flipped_byte_is_seen_by_the_checksums() -> None:
    data = png(GRAY)
    for index in range(8, len(data)):
        bad = bytearray(data)
        bad[index] ^= 1
        with pytest.raises(ImageError):
            decode_png(bytes(bad), "a.png")


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ImageError, match="damaged"):
        decode_png(raw_png(16, 16, b"\0" * 100), "a.png")


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0)])
def test_no_pixels_are_refused(width: int, height: int) -> None:
    with pytest.raises(ImageError, match="no pixels"):
        decode_png(raw_png(width, height, b""), "a.png")


@pytest.mark.parametrize(
    ("width", "height", "colour", "depth"),
    [(50_000, 50_000, 0, 8), (2**31 - 1, 2**31 - 1, 6, 16), (2**31 - 1, 1, 0, 8)],
)
def test_bombs_are_refused_at_once_and_without_memory(
    width: int, height: int, colour: int, depth: int
) -> None:
    data = raw_png(width, height, b"\0" * 10**6, colour=colour, depth=depth)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(LimitError, match="megapixels"):
        decode_png(data, "a.png")
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 1
    assert peak < 10**6


def test_a_text_that_unpacks_to_a_gigabyte_is_never_unpacked() -> None:
    text = b"c\0\0" + zlib.compress(b"\0" * 50_000_000)
    profile = b"icc\0\0" + zlib.compress(b"\0" * 50_000_000)
    extra = png_chunk(b"zTXt", text) + png_chunk(b"iCCP", profile)
    rows = b"".join(b"\0" + row.tobytes() for row in GRAY)
    data = raw_png(23, 17, rows, extra=extra)
    tracemalloc.start()
    np.testing.assert_array_equal(decode_png(data, "a.png").pixels, GRAY)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**7


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_rubbish_behind_the_signature_is_refused(rubbish: bytes) -> None:
    with pytest.raises(ImageError):
        decode_png(b"\x89PNG\r\n\x1a\n" + rubbish, "a.png")


@pytest.mark.parametrize("options", [{"depth": 3}, {"colour": 5}, {"colour": 2, "depth": 4}])
def test_headers_without_sense_are_refused(
    options: dict[str, int], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ImageError, match="makes no sense"):
        decode_png(raw_png(4, 4, bytes(100), **options), "a.png")
    assert capfd.readouterr().err == ""
