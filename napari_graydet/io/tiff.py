"""TIFF files with one image: 8 to 16 bit integers, gray or RGB(A) and palettes that are gray.

The chain of pages is walked here first: it may run in circles or be endless, and multi-page files
are stacks, which are refused. Only then tifffile reads the page, whose every segment must lie
inside of the file (missing ones would silently become black).
"""

from __future__ import annotations

import io
import json
import logging
import math
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import tifffile

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
from napari_graydet.io.limits import check_frames, check_size

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What matters is raised here; without a handler Python would print tifffile's findings as well.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_SUBFILE_TYPE = 254
_REDUCED = 1
_INCH, _CENTIMETRE = 2, 3
_MM_OF_UNIT = {"mm": 1.0, "cm": 10.0, "um": 1e-3, "micron": 1e-3, "inch": MM_PER_INCH}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_UNSIGNED, _SIGNED = 1, 2
_JPEG_COMPRESSIONS = (6, 7)


def decode_tiff(data: bytes, name: str) -> Decoded:
    """Decode a TIFF file of one image (a smaller preview beside it is left out).

    Parameters
    ----------
    data
        The file's bytes.
    name
        File name for messages.

    Raises
    ------
    ImageError
        If it is damaged, truncated, a stack, coloured, or not of 8 to 16 bit integers.
    LimitError
        If it has too many pixels or pages.
    """
    pages = full_size_pages(data, name)
    if len(pages) > 1:
        raise _stack(name, len(pages))
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[pages[0]]
            if not isinstance(page, tifffile.TiffPage):
                raise damaged(name, "TIFF", "its page cannot be read")
            _check_page(page, len(data), name)
            _check_single(file, page, name)
            pixels = np.asarray(page.asarray(maxworkers=1))
            return _decoded(file, page, pixels, name)
    except BROKEN as cause:
        raise damaged(name, "TIFF", cause) from cause


def full_size_pages(data: bytes, name: str) -> list[int]:
    """List the pages that are no previews by walking the chain of headers, without trusting it.

    Raises
    ------
    ImageError
        If the chain runs in a circle, leads out of the file, or has no full-size page.
    LimitError
        If it has too many pages.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    offset_code, count_code, entry_size = ("Q", "Q", 20) if big else ("I", "H", 12)
    seen: dict[int, None] = {}
    full_size: list[int] = []
    try:
        (offset,) = struct.unpack_from(order + offset_code, data, 8 if big else 4)
        while offset:
            if offset in seen:
                raise damaged(name, "TIFF", "its pages run in a circle")
            (entries,) = struct.unpack_from(order + count_code, data, offset)
            start = offset + struct.calcsize(order + count_code)
            if not _is_preview(data, order, start, big):
                full_size.append(len(seen))
            seen[offset] = None
            check_frames(len(seen), name)
            (offset,) = struct.unpack_from(order + offset_code, data, start + entries * entry_size)
    except (struct.error, OverflowError) as cause:
        raise damaged(name, "TIFF", "a page lies outside of the file") from cause
    if not full_size:
        raise damaged(name, "TIFF", "it has no full-size page")
    return full_size


def _is_preview(data: bytes, order: str, start: int, big: bool) -> bool:
    """Tell whether a page is a reduced copy; tags are sorted, so the first one says it."""
    (tag,) = struct.unpack_from(order + "H", data, start)
    (value,) = struct.unpack_from(order + "I", data, start + (12 if big else 8))
    return bool(tag == _SUBFILE_TYPE and value & _REDUCED)


def _stack(name: str, images: int) -> ImageError:
    return ImageError(
        f"{name} is a stack of {images} images, expected one radiograph; save its pages as "
        "single files."
    )


_NUMBERS = {_UNSIGNED: "integers", _SIGNED: "integers", 3: "floating-point numbers"}
"""What a page's numbers are, by its sample format (TIFF 6.0, page 80)."""


def _check_page(page: tifffile.TiffPage, file_size: int, name: str) -> None:
    """Refuse what is not one plain integer image, before anything is allocated."""
    check_size(page.imagewidth, page.imagelength, name)
    if page.imagedepth > 1 or page.samplesperpixel > 4:
        raise _stack(name, max(page.imagedepth, page.samplesperpixel))
    if page.is_tiled:
        check_size(page.tilewidth, page.tilelength, f"{name} (one tile)")
    if page.sampleformat not in (_UNSIGNED, _SIGNED) or not 8 <= page.bitspersample <= 16:
        what = _NUMBERS.get(page.sampleformat, "other numbers")
        raise ImageError(
            f"{name} holds {what} of {page.bitspersample} bit, expected integers of 8 to 16 bit; "
            "convert it to 16 bit."
        )
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if len(segments) < math.prod(page.chunked) or any(
        start <= 0 or size <= 0 or start + size > file_size for start, size in segments
    ):
        raise damaged(name, "TIFF", "pixels are missing at its end")


def _check_single(file: tifffile.TiffFile, page: tifffile.TiffPage, name: str) -> None:
    """Refuse stacks that hide behind one page: ImageJ's and tifffile's own descriptions."""
    images = 1
    if file.imagej_metadata:
        images = int(file.imagej_metadata.get("images", 1))
    elif page.shaped_description:
        with suppress(ValueError, TypeError, KeyError):
            size = math.prod(json.loads(page.shaped_description)["shape"])
            images = size // (page.imagewidth * page.imagelength * page.samplesperpixel)
    if images > 1:
        raise _stack(name, images)


def _decoded(
    file: tifffile.TiffFile, page: tifffile.TiffPage, pixels: Pixels, name: str
) -> Decoded:
    photometric = int(page.photometric)
    if pixels.dtype == np.int8:
        pixels = pixels.astype(np.int16)
    pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    in_colour = photometric == _RGB or (
        photometric == _YCBCR and page.compression in _JPEG_COMPRESSIONS
    )
    if photometric == _PALETTE:
        pixels = _apply_palette(page.colormap, pixels, name)
    elif not in_colour and photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
        raise ImageError(
            f"{name} has the colour type {_photometric_name(photometric)}, expected gray; "
            "convert it."
        )
    elif pixels.ndim == 3:
        by_plane = page.axes.startswith("S")
        pixels = gray_of_channels(np.moveaxis(pixels, 0, -1) if by_plane else pixels, name)
    spacing = _spacing(file, page)
    return Decoded(
        pixels,
        bits=8 * pixels.dtype.itemsize if photometric == _PALETTE else page.bitspersample,
        signed=page.sampleformat == _SIGNED,
        inverted=photometric == _WHITE_IS_ZERO,
        spacing_mm=spacing,
        notes=("pixel spacing from the file's resolution",) if spacing else (),
    )


def _photometric_name(photometric: int) -> str:
    with suppress(ValueError):
        return str(tifffile.PHOTOMETRIC(photometric).name)
    return f"number {photometric}"


def _apply_palette(palette: Any, indices: Pixels, name: str) -> Pixels:
    """Look up (H, W) indices in the (3, N) uint16 palette; 8 bit if the palette has no more."""
    if palette is None:
        raise damaged(name, "TIFF", "its palette is missing")
    table = np.asarray(palette, dtype=np.uint16).T
    if not (table % 257).any() or not (table % 256).any():
        table = (table >> 8).astype(np.uint8)
    return gray_of_channels(table[indices], name)


def _spacing(file: tifffile.TiffFile, page: tifffile.TiffPage) -> tuple[float, float] | None:
    """Return (row, column) millimetres from the resolution tags or ImageJ's unit."""
    tags = page.tags
    if "XResolution" not in tags or "YResolution" not in tags:
        return None
    try:
        x, y = (tags[key].value[0] / tags[key].value[1] for key in ("XResolution", "YResolution"))
        unit = str((file.imagej_metadata or {}).get("unit", ""))
    except BROKEN:  # the spacing is an extra: the image itself is whole
        return None
    millimetres = {_INCH: MM_PER_INCH, _CENTIMETRE: 10.0}.get(int(page.resolutionunit))
    millimetres = _MM_OF_UNIT.get(unit.replace("µ", "u").replace("\\u00B5", "u"), millimetres)
    if millimetres is None:
        return None
    return spacing_of_dpi(*(v / millimetres * MM_PER_INCH for v in (x, y)))
