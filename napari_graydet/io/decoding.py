"""What all image decoders share: their result, the errors of broken files, channels to gray."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.errors import ImageError
from napari_graydet.io.files import reason_of

Pixels = npt.NDArray[np.integer]

BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What the decoding libraries raise on broken or unusual files (all of these were seen or are in
their sources; ImportError stands for a codec that is not installed)."""

MM_PER_INCH = 25.4
_SCREEN_DPI = (72, 96)
"""Resolutions that programs write by default; they say nothing about the object."""


@dataclass(frozen=True)
class Decoded:
    """One decoded image.

    Parameters
    ----------
    pixels
        (H, W) stored values, uint8, uint16 or int16.
    bits
        Stored bits, 8 to 16.
    signed
        Whether values are two's complement.
    inverted
        Whether larger values are shown darker.
    slope, intercept, unit
        Linear rescale to physical values, and their unit.
    spacing_mm
        (row, column) spacing in millimetres, None if unknown.
    padding
        Stored value of pixels outside of the exposed field, None if there is none.
    notes
        What a user should know about how it was read.
    """

    pixels: Pixels
    bits: int
    signed: bool = False
    inverted: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    unit: str = ""
    spacing_mm: tuple[float, float] | None = None
    padding: int | None = None
    notes: tuple[str, ...] = ()


def damaged(name: str, kind: str, cause: BaseException | str) -> ImageError:
    """Return the error that says that a file is damaged."""
    reason = cause if isinstance(cause, str) else reason_of(cause)
    return ImageError(
        f"{name} is a damaged, truncated or unusual {kind} file ({reason}); "
        "copy or export it again."
    )


def gray_of_channels(channels: Pixels, name: str, *, tolerance: int = 0) -> Pixels:
    """Reduce (H, W, C) channels that really are gray to (H, W).

    Parameters
    ----------
    channels
        C is 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha).
    name
        File name for messages.
    tolerance
        Largest difference between red, green and blue that still is gray (lossy files).

    Raises
    ------
    ImageError
        If the image is coloured or not opaque.
    """
    count = channels.shape[2]
    if count not in (1, 2, 3, 4):
        raise ImageError(f"{name} has {count} channels, expected 1; open single gray radiographs.")
    if count in (2, 4):
        opaque = np.iinfo(channels.dtype).max
        if not (channels[..., -1] == opaque).all():
            raise ImageError(f"{name} has transparent parts; save it without transparency.")
    if count >= 3:
        spread = max(_difference(channels, 0, 1), _difference(channels, 1, 2))
        if spread > tolerance:
            raise ImageError(
                f"{name} is a colour image (its channels differ by up to {spread} levels), "
                "expected a grayscale radiograph; convert it to gray first."
            )
    return np.ascontiguousarray(channels[..., 1 if count >= 3 else 0])


def _difference(channels: Pixels, a: int, b: int) -> int:
    first, second = channels[..., a], channels[..., b]
    return int((np.maximum(first, second) - np.minimum(first, second)).max(initial=0))


def spacing_of_dpi(x: float, y: float) -> tuple[float, float] | None:
    """Turn dots per inch in x and y into (row, column) millimetres; None for a screen's default."""
    if not all(math.isfinite(v) and v > 0 for v in (x, y)):
        return None
    if all(round(v) in _SCREEN_DPI for v in (x, y)):
        return None
    return MM_PER_INCH / y, MM_PER_INCH / x
