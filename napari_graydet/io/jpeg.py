"""JPEG code streams: JPEG files, and the frames of compressed DICOM files.

libjpeg fills what is missing of a truncated stream with gray and says nothing, so the end marker
is asked for here, as are the dimensions before anything is decoded.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import imagecodecs
import numpy as np

from napari_graydet.errors import ImageError
from napari_graydet.io.decoding import BROKEN, Decoded, Pixels, damaged, gray_of_channels
from napari_graydet.io.limits import check_size

SIGNATURE = b"\xff\xd8\xff"
_START_OF_SCAN = 0xDA
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""All kinds of JPEG, and JPEG-LS (0xF7); the three others are tables."""
_STANDALONE = frozenset(range(0xD0, 0xDA)) | {0x01}
_EXIF_ORIENTATION = 0x0112
CHROMA_NOISE = 3
"""Levels by which rounding of neutral colour differences may pull RGB apart."""


class StreamHeader(NamedTuple):
    """What a code stream says of itself: pixels, bits of a sample, number of channels."""

    width: int
    height: int
    precision: int
    channels: int


def decode_jpeg(data: bytes, name: str) -> Decoded:
    """Decode a JPEG file (8 bit, or 12 and 16 bit extended or lossless).

    Parameters
    ----------
    data
        The file's bytes.
    name
        File name for messages.

    Raises
    ------
    ImageError
        If it is damaged, truncated, or coloured.
    LimitError
        If it has too many pixels.
    """
    header = read_header(data, name)
    if header.channels not in (1, 3):
        raise ImageError(
            f"{name} has {header.channels} channels, expected 1; convert it to gray first."
        )
    pixels = decode_stream(data, name)
    if pixels.ndim == 3:
        pixels = gray_of_channels(pixels, name, tolerance=CHROMA_NOISE)
    notes: tuple[str, ...] = ("JPEG is lossy: gray values carry compression noise",)
    if _is_turned(data):
        notes += ("the EXIF orientation is ignored: pixels are as stored in the file",)
    return Decoded(pixels, header.precision, notes=notes)


def decode_stream(data: bytes, name: str) -> Pixels:
    """Decode a whole JPEG stream to (H, W) or (H, W, C), after checking its size and its end.

    Raises
    ------
    ImageError
        If it is damaged or truncated.
    LimitError
        If it has too many pixels.
    """
    header = read_header(data, name)
    if not 8 <= header.precision <= 16:
        raise ImageError(f"{name} has {header.precision} bits per pixel, expected 8 to 16.")
    try:
        pixels: Pixels = imagecodecs.jpeg8_decode(data)
    except BROKEN as cause:
        raise damaged(name, "JPEG", cause) from cause
    if pixels.shape[:2] != (header.height, header.width):
        raise damaged(name, "JPEG", "its dimensions contradict each other")
    return np.asarray(pixels)


def read_header(data: bytes, name: str) -> StreamHeader:
    """Read dimensions of a JPEG or JPEG-LS stream, check its size, and that its end is there.

    Raises
    ------
    ImageError
        If it is not such a stream, has no pixels, or is truncated.
    LimitError
        If it has too many pixels.
    """
    header, position = None, 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise damaged(name, "JPEG", f"no marker at byte {position}")
        marker = data[position + 1]
        if marker == 0xFF or marker in _STANDALONE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _START_OF_SCAN:
            break
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in _START_OF_FRAME and header is None and position + 10 <= len(data):
            precision, height, width, channels = struct.unpack_from(">BHHB", data, position + 4)
            header = StreamHeader(width, height, precision, channels)
            check_size(width, height, name)
        position += 2 + length
    if header is None or b"\xff\xd9" not in data[position:]:
        raise damaged(name, "JPEG", "it ends too early")
    return header


def _is_turned(data: bytes) -> bool:
    """Tell whether EXIF asks viewers to turn the image."""
    start = data.find(b"Exif\0\0", 0, 4096)
    tiff = data[start + 6 : start + 6 + 4096]
    if start < 0 or tiff[:2] not in (b"II", b"MM"):
        return False
    order = "<" if tiff[:2] == b"II" else ">"
    try:
        (offset,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, offset)
        for index in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, offset + 2 + 12 * index)
            if tag == _EXIF_ORIENTATION:
                return bool(value != 1)
    except struct.error:
        return False
    return False
