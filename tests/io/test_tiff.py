from __future__ import annotations

import io
import struct
import time
import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from napari_graydet.errors import ImageError, LimitError
from napari_graydet.io import limits
from napari_graydet.io.tiff import decode_tiff
from tests.io.helpers import gradient, pillow_bytes, tiff

GRAY = gradient((32, 48), 256)
DEEP = gradient((32, 48), 4096, "uint16")


@given(
    hnp.arrays(
        st.sampled_from(["u1", "<u2", ">u2", "<i2"]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    ),
    st.sampled_from(["<", ">"]),
    st.booleans(),
    st.sampled_from([None, "zlib", "lzw", "packbits"]),
)
def test_stored_values_come_back(
    pixels: np.ndarray, order: str, big: bool, compression: str | None
) -> None:
    data = tiff(pixels, byteorder=order, bigtiff=big, compression=compression)
    decoded = decode_tiff(data, "a.tif")
    assert decoded.pixels.dtype == pixels.dtype.newbyteorder("=")
    assert decoded.bits == 8 * pixels.dtype.itemsize
    assert decoded.signed == (pixels.dtype.kind == "i")
    np.testing.assert_array_equal(decoded.pixels, pixels)


def test_8_bit_signed_values_become_16_bit() -> None:
    signed = (GRAY.astype(int) - 128).astype("int8")
    decoded = decode_tiff(tiff(signed), "a.tif")
    assert decoded.pixels.dtype == np.int16
    assert (decoded.bits, decoded.signed) == (8, True)
    np.testing.assert_array_equal(decoded.pixels, signed)


def test_tiles_strips_predictors_and_other_writers() -> None:
    for options in ({"tile": (16, 16)}, {"rowsperstrip": 5}, {"predictor": 2, "compression": 5}):
        np.testing.assert_array_equal(decode_tiff(tiff(DEEP, **options), "a").pixels, DEEP)
    by_pillow = pillow_bytes(Image.fromarray(DEEP), "TIFF", compression="tiff_deflate")
    np.testing.assert_array_equal(decode_tiff(by_pillow, "a").pixels, DEEP)


def test_min_is_white_is_inverted_but_stored_values_stay() -> None:
    decoded = decode_tiff(tiff(DEEP, photometric="miniswhite"), "a.tif")
    assert decoded.inverted
    np.testing.assert_array_equal(decoded.pixels, DEEP)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("alpha", [False, True])
def test_rgb_that_is_gray_is_read(planar: str, alpha: bool) -> None:
    channels = [DEEP] * 3 + [np.full_like(DEEP, 65535)] * alpha
    stack = np.stack(channels, axis=0 if planar == "separate" else -1)
    options = {"extrasamples": ["unassalpha"]} if alpha else {}
    data = tiff(stack, photometric="rgb", planarconfig=planar, **options)
    np.testing.assert_array_equal(decode_tiff(data, "a.tif").pixels, DEEP)
    stack[0, 0, 0] += 1
    with pytest.raises(ImageError, match="colour image"):
        decode_tiff(tiff(stack, photometric="rgb", planarconfig=planar, **options), "a.tif")


def test_palettes_that_are_gray_are_looked_up() -> None:
    ramp = np.arange(256, dtype=np.uint16)[::-1] * 257
    data = tiff(GRAY, photometric="palette", colormap=np.stack([ramp] * 3))
    np.testing.assert_array_equal(decode_tiff(data, "a.tif").pixels, 255 - GRAY)
    coloured = np.stack([ramp, ramp, ramp[::-1]])
    with pytest.raises(ImageError, match="colour"):
        decode_tiff(tiff(GRAY, photometric="palette", colormap=coloured), "a.tif")


@pytest.mark.parametrize(
    ("pixels", "what"),
    [
        (GRAY.astype("float32"), "32 bit"),
        (GRAY.astype("uint32"), "32 bit"),
        (GRAY.astype("float16"), "floating-point numbers"),
        (GRAY > 100, "1 bit"),
    ],
)
def test_other_numbers_are_refused(pixels: np.ndarray, what: str) -> None:
    with pytest.raises(ImageError, match=what) as info:
        decode_tiff(tiff(pixels), "a.tif")
    assert "8 to 16 bit" in str(info.value)


@pytest.mark.parametrize(
    "options",
    [{}, {"imagej": True, "metadata": {"axes": "ZYX"}}, {"metadata": {"axes": "ZYX"}}],
    ids=["pages", "imagej", "tifffile"],
)
@pytest.mark.parametrize("count", [2, 5])
def test_stacks_are_refused_with_their_count(options: dict, count: int) -> None:
    with pytest.raises(ImageError, match=f"stack of {count} images") as info:
        decode_tiff(tiff(np.stack([DEEP] * count), **options), "a.tif")
    assert "single files" in str(info.value)


@pytest.mark.parametrize("options", [{"imagej": True}, {}], ids=["imagej", "tifffile"])
def test_stacks_that_hide_behind_one_page_are_refused(options: dict) -> None:
    """Some programs write a volume behind a single page header."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, **options) as writer:
        data = np.stack([DEEP] * 4)
        truncate = {} if options else {"metadata": {"axes": "ZYX", "truncate": True}}
        writer.write(data, photometric="minisblack", **truncate)
    raw = stream.getvalue()
    if options:  # cut the chain behind the first page, as ImageJ does for large stacks
        (first,) = struct.unpack_from("<I", raw, 4)
        (entries,) = struct.unpack_from("<H", raw, first)
        end = first + 2 + 12 * entries
        raw = raw[:end] + bytes(4) + raw[end + 4 :]
    with pytest.raises(ImageError, match="stack of 4 images"):
        decode_tiff(raw, "a.tif")


def test_a_preview_is_left_out() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(DEEP, photometric="minisblack", metadata=None)
        writer.write(DEEP[::2, ::2], photometric="minisblack", subfiletype=1, metadata=None)
    np.testing.assert_array_equal(decode_tiff(stream.getvalue(), "a").pixels, DEEP)


def test_spacing_from_tags_and_from_imagej() -> None:
    metric = tiff(GRAY, resolution=(100, 50), resolutionunit="CENTIMETER")
    assert decode_tiff(metric, "a").spacing_mm == pytest.approx((0.2, 0.1))
    inches = tiff(GRAY, resolution=(254, 254), resolutionunit="INCH")
    assert decode_tiff(inches, "a").spacing_mm == pytest.approx((0.1, 0.1))
    screen = tiff(GRAY, resolution=(72, 72), resolutionunit="INCH")
    assert decode_tiff(screen, "a").spacing_mm is None
    imagej = tiff(GRAY, imagej=True, resolution=(4, 8), metadata={"unit": "mm"})
    assert decode_tiff(imagej, "a").spacing_mm == pytest.approx((0.125, 0.25))
    assert decode_tiff(tiff(GRAY), "a").spacing_mm is None


@pytest.mark.parametrize("options", [{}, {"rowsperstrip": 4}, {"compression": "zlib"}])
def test_pixels_cut_off_are_refused(options: dict) -> None:
    data = tiff(DEEP, **options)
    for length in range(4, len(data), 7):
        with pytest.raises(ImageError):
            decode_tiff(data[:length], "a.tif")


def test_missing_strips_are_not_read_as_black() -> None:
    data = bytearray(tiff(DEEP, rowsperstrip=8))
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    where = page.tags["StripOffsets"].valueoffset
    data[where : where + 4] = bytes(4)
    with pytest.raises(ImageError, match="pixels are missing"):
        decode_tiff(bytes(data), "a.tif")


def looped(order: str, big: bool) -> bytes:
    """A file whose single page is followed by itself."""
    data = bytearray(tiff(GRAY, byteorder=order, bigtiff=big))
    code, at = ("Q", 8) if big else ("I", 4)
    (first,) = struct.unpack_from(order + code, data, at)
    (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, first)
    end = first + (8 + 20 * entries if big else 2 + 12 * entries)
    struct.pack_into(order + code, data, end, first)
    return bytes(data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_pages_in_a_circle_are_refused(order: str, big: bool) -> None:
    start = time.perf_counter()
    with pytest.raises(ImageError, match="circle"):
        decode_tiff(looped(order, big), "a.tif")
    assert time.perf_counter() - start < 1


def test_too_many_pages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FRAMES", 10)
    chain = b"".join(struct.pack("<HHHIII", 1, 256, 3, 1, 5, 8 + 18 * (i + 1)) for i in range(50))
    with pytest.raises(LimitError, match="frames"):
        decode_tiff(struct.pack("<2sHI", b"II", 42, 8) + chain, "a.tif")


@pytest.mark.parametrize("tag", ["ImageWidth", "TileWidth"])
def test_bombs_are_refused_at_once_and_without_memory(tag: str) -> None:
    data = bytearray(tiff(DEEP, tile=(16, 16)))
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    entry = page.tags[tag].offset
    struct.pack_into("<HHII", data, entry, page.tags[tag].code, 4, 1, 2**31)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(LimitError):
        decode_tiff(bytes(data), "a.tif")
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 1
    assert peak < 10**7


def packed(pixels: np.ndarray, bits: int) -> bytes:
    """A file whose rows are `bits` bits per pixel without gaps, as some scanners write."""
    shifts = np.arange(bits)[::-1]
    rows = np.packbits((pixels[..., None] >> shifts & 1).reshape(len(pixels), -1), axis=1)
    data = bytearray(tiff(rows, photometric="minisblack"))
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    for tag, value in (("ImageWidth", pixels.shape[1]), ("BitsPerSample", bits)):
        struct.pack_into("<HHII", data, page.tags[tag].offset, page.tags[tag].code, 4, 1, value)
    return bytes(data)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits_are_unpacked(bits: int) -> None:
    pixels = gradient((9, 16), 2**bits, "uint16") * 7 % 2**bits
    decoded = decode_tiff(packed(pixels, bits), "a.tif")
    assert decoded.bits == bits
    assert decoded.pixels.dtype == np.uint16
    np.testing.assert_array_equal(decoded.pixels, pixels)


def test_jpeg_in_tiff_that_is_gray_is_read_closely() -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype("uint8")
    data = tiff(np.dstack([smooth] * 3), photometric="rgb", compression="jpeg")
    assert np.abs(decode_tiff(data, "a").pixels.astype(int) - smooth).max() < 10


def test_other_colour_types_are_refused() -> None:
    with pytest.raises(ImageError, match="SEPARATED"):
        decode_tiff(tiff(np.dstack([GRAY] * 4), photometric="separated"), "a.tif")
    with pytest.raises(ImageError, match="stack of 5"):
        decode_tiff(tiff(np.dstack([GRAY] * 5), planarconfig="contig"), "a.tif")


def test_gray_with_alpha() -> None:
    opaque = np.dstack([DEEP, np.full_like(DEEP, 65535)])
    options = {"extrasamples": ["unassalpha"], "planarconfig": "contig"}
    np.testing.assert_array_equal(decode_tiff(tiff(opaque, **options), "a").pixels, DEEP)
    with pytest.raises(ImageError, match="transparent"):
        decode_tiff(tiff(opaque // 2, **options), "a")


def test_a_file_of_previews_only_or_without_pages_is_refused() -> None:
    with pytest.raises(ImageError, match="no full-size page"):
        decode_tiff(tiff(GRAY, subfiletype=1), "a.tif")
    with pytest.raises(ImageError, match="no full-size page"):
        decode_tiff(b"II*\0" + bytes(40), "a.tif")


def test_a_senseless_resolution_is_no_spacing() -> None:
    data = bytearray(tiff(GRAY, resolution=(100, 50), resolutionunit="CENTIMETER"))
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    where = page.tags["XResolution"].valueoffset
    for numbers in ((1, 0), (0, 1)):
        struct.pack_into("<II", data, where, *numbers)
        decoded = decode_tiff(bytes(data), "a.tif")
        assert decoded.spacing_mm is None
        np.testing.assert_array_equal(decoded.pixels, GRAY)
