"""PNG files: 8 and 16 bit gray, and palettes or RGB(A) that really are gray.

The chunks are walked here, with their checksums, and only those that make the image are handed to
libpng. So a truncated file is seen as such, and compressed texts or colour profiles (where the
known decompression bombs live) are never unpacked.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import imagecodecs
import numpy as np

from napari_graydet.errors import ImageError
from napari_graydet.io.decoding import (
    BROKEN,
    MM_PER_INCH,
    Decoded,
    Pixels,
    damaged,
    gray_of_channels,
    spacing_of_dpi,
)
from napari_graydet.io.limits import check_size

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PALETTE = 3
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), _PALETTE: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bits that each colour type may have."""
_METRES = 1


class _Chunk(NamedTuple):
    kind: bytes
    data: memoryview
    raw: memoryview


def decode_png(data: bytes, name: str) -> Decoded:
    """Decode a PNG file.

    Parameters
    ----------
    data
        The file's bytes.
    name
        File name for messages.

    Raises
    ------
    ImageError
        If it is damaged, animated, coloured, transparent or has fewer than 8 bits.
    LimitError
        If it has too many pixels; nothing has been unpacked then.
    """
    _, _, depth, colour = _header(data, name)
    if colour != _PALETTE and depth < 8:
        raise ImageError(
            f"{name} has {depth} bit per pixel, expected 8 to 16; a mask is not a radiograph."
        )
    pixels, spacing = decode_channels(data, name)
    if pixels.ndim == 3:
        pixels = gray_of_channels(pixels, name)
    notes = ("pixel spacing from the file's print resolution",) if spacing else ()
    bits = 8 * np.dtype(pixels.dtype).itemsize
    return Decoded(pixels, bits, spacing_mm=spacing, notes=notes)


def decode_channels(data: bytes, name: str) -> tuple[Pixels, tuple[float, float] | None]:
    """Decode a PNG of any colour type and depth (masks have 1 bit or palettes).

    Returns
    -------
    pixels
        (H, W) or (H, W, C), uint8 or uint16; fewer bits are spread over 0..255.
    spacing
        (row, column) spacing in millimetres, None if unknown.

    Raises
    ------
    ImageError
        If it is damaged or animated.
    LimitError
        If it has too many pixels; nothing has been unpacked then.
    """
    width, height, _, _ = _header(data, name)
    check_size(width, height, name)
    needed: list[bytes | memoryview] = [SIGNATURE]
    spacing, frames = None, 1
    for kind, content, raw in _chunks(data, name):
        if kind in _NEEDED:
            needed.append(raw)
        elif kind == b"pHYs" and len(content) == 9:
            x, y, unit = struct.unpack(">IIB", content)
            if unit == _METRES:
                spacing = spacing_of_dpi(*(v * MM_PER_INCH / 1000 for v in (x, y)))
        elif kind == b"acTL" and len(content) == 8:
            frames = struct.unpack(">II", content)[0]
    if frames > 1:
        raise ImageError(f"{name} is an animation of {frames} images; open single radiographs.")
    try:
        pixels = imagecodecs.png_decode(b"".join(needed))
    except BROKEN as cause:
        raise damaged(name, "PNG", cause) from cause
    return pixels, spacing


def _header(data: bytes, name: str) -> tuple[int, int, int, int]:
    """Return width, height, bit depth and colour type."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise damaged(name, "PNG", "its header is missing")
    header = struct.unpack(">IIBBBBB", data[16:29])
    width, height, depth, colour, compression, row_filter, interlace = header
    # asked here as well, because libpng prints its own remarks
    if depth not in _DEPTHS.get(colour, ()) or compression or row_filter or interlace > 1:
        raise damaged(name, "PNG", "its header makes no sense")
    return width, height, depth, colour


def _chunks(data: bytes, name: str) -> Iterator[_Chunk]:
    view, start = memoryview(data), len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", data[start : start + 8].ljust(8, b"\0"))
        end = start + 12 + length
        if end > len(data):
            raise damaged(name, "PNG", "it ends too early")
        if zlib.crc32(view[start + 4 : end - 4]) != struct.unpack(">I", data[end - 4 : end])[0]:
            raise damaged(name, "PNG", f"wrong checksum at byte {start}")
        yield _Chunk(kind, view[start + 8 : end - 4], view[start:end])
        start = end
