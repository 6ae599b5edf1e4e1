"""Gray values: stored units, the 0..1 view of them, and closed integer ranges.

Thresholds are kept in the *stored* units of the file, always. `GrayScale` is the one bridge to the
0..1 that networks and displays see; it carries bit depth and inversion (MONOCHROME1). `GrayRange`
is a closed range; as edges of a 3D box it reaches to one above its highest value.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_graydet.errors import GeometryError, ImageError

LEVELS = 256
"""Number of gray levels that the networks and the histogram distinguish."""

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, order=True)
class GrayRange:
    """A closed range of stored integer gray values, ``low <= v <= high``.

    Raises
    ------
    GeometryError
        If ``low > high``.
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise GeometryError(
                f"A gray range needs low <= high, got low={self.low} and high={self.high}."
            )

    @property
    def edges(self) -> tuple[int, int]:
        """Bottom and top of the range as edges of a 3D box: ``[low, high + 1)``."""
        return self.low, self.high + 1

    @property
    def width(self) -> int:
        """Number of integer gray values in the range."""
        return self.high + 1 - self.low

    def contains(self, values: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Tell which values lie in the range; same shape as `values`."""
        return (values >= self.low) & (values <= self.high)

    def clip(self, lowest: int, highest: int) -> GrayRange:
        """Pull both ends into ``lowest..highest``."""
        return GrayRange(min(max(self.low, lowest), highest), max(min(self.high, highest), lowest))

    def intersection(self, other: GrayRange) -> GrayRange | None:
        """Return the common values, or None."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return GrayRange(low, high) if low <= high else None

    def iou(self, other: GrayRange) -> float:
        """Intersection over union, counted in gray values."""
        common = self.intersection(other)
        if common is None:
            return 0.0
        return common.width / (self.width + other.width - common.width)


@dataclass(frozen=True)
class GrayScale:
    """How stored values map to the 0..1 that networks and displays see.

    Parameters
    ----------
    lowest, highest
        Smallest and largest value that the file's type can store (bit depth, sign).
    black, white
        Stored values that map to 0 and to 1. ``black > white`` is an inverted image
        (MONOCHROME1, or a negative rescale slope).
    slope, intercept
        DICOM modality rescale, for showing physical values; thresholds never use it.
    unit
        Name of the rescaled unit, empty if none.
    """

    lowest: int
    highest: int
    black: float
    white: float
    slope: float = 1.0
    intercept: float = 0.0
    unit: str = ""

    def __post_init__(self) -> None:
        if self.lowest > self.highest:
            raise ImageError(f"A gray scale needs lowest <= highest, got {self}.")
        if self.black == self.white:
            raise ImageError("A gray scale needs two different values for black and white.")

    @classmethod
    def of_bits(cls, bits: int, *, inverted: bool = False) -> GrayScale:
        """Return the full scale of an unsigned type of `bits` bits."""
        highest = 2**bits - 1
        black, white = (highest, 0) if inverted else (0, highest)
        return cls(0, highest, black, white)

    @property
    def inverted(self) -> bool:
        """Whether larger stored values are shown darker (MONOCHROME1)."""
        return self.black > self.white

    def to_unit(self, values: npt.ArrayLike) -> Float:
        """Map stored values to 0..1, clipped; float64, same shape."""
        scaled = (np.asarray(values, dtype=np.float64) - self.black) / (self.white - self.black)
        return np.clip(scaled, 0.0, 1.0)

    def from_unit(self, unit: npt.ArrayLike) -> Float:
        """Map 0..1 back to (fractional) stored values; inverse of `to_unit` inside the window."""
        return np.asarray(unit, dtype=np.float64) * (self.white - self.black) + self.black

    def to_levels(self, values: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
        """Quantise stored values to gray levels 0..LEVELS-1 (level l covers l/LEVELS..)."""
        return np.minimum((self.to_unit(values) * LEVELS).astype(np.intp), LEVELS - 1)

    def range_from_unit(self, bottom: float, top: float) -> GrayRange:
        """Turn edges in 0..1 into the closed stored range that they enclose.

        An edge at (or beyond) 0 or 1 opens the range to the end of the type, because
        `to_unit` clips: everything blacker than black counts as 0.
        """
        lo, hi = sorted((float(self.from_unit(bottom)), float(self.from_unit(top))))
        ends = (bottom <= 0.0, top >= 1.0)
        open_low, open_high = (ends[1], ends[0]) if self.inverted else ends
        low = self.lowest if open_low else int(np.ceil(lo))
        high = self.highest if open_high else int(np.ceil(hi)) - 1
        if self.inverted and not open_high:
            high = int(np.floor(hi))
        if self.inverted and not open_low:
            low = int(np.floor(lo)) + 1
        low = min(max(low, self.lowest), self.highest)
        high = min(max(high, self.lowest), self.highest)
        if high < low:  # narrower than one stored value: keep the nearest one
            low = high = min(max(round((lo + hi) / 2), self.lowest), self.highest)
        return GrayRange(low, high)


@dataclass(frozen=True, eq=False)
class GrayImage:
    """A grayscale image in stored values, with its scale.

    Parameters
    ----------
    pixels
        (H, W) integer array of stored values (uint8, uint16 or int16). Read-only.
    scale
        How the values map to 0..1.
    name
        File name for messages and records.
    sha256
        Hex digest of the file's bytes, empty if the image came from memory.
    spacing_mm
        Pixel spacing (row, column) in millimetres, None if unknown.
    frame
        Which frame of a multi-frame file this is.
    notes
        Lines for the user on what reading the file assumed or left out.

    Raises
    ------
    ImageError
        If the array is not a non-empty 2D integer array.
    """

    pixels: npt.NDArray[np.integer]
    scale: GrayScale
    name: str = ""
    sha256: str = ""
    spacing_mm: tuple[float, float] | None = None
    frame: int = 0
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.size == 0:
            raise ImageError(
                f"Expected a 2D grayscale image with at least one pixel, got shape "
                f"{self.pixels.shape}; open single grayscale radiographs."
            )
        if not np.issubdtype(self.pixels.dtype, np.integer):
            raise ImageError(
                f"Expected integer gray values, got {self.pixels.dtype}; "
                "convert the image to 8 or 16 bit."
            )
        view = self.pixels.view()
        view.flags.writeable = False
        object.__setattr__(self, "pixels", view)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.shape[0]

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.shape[1]

    def unit(self) -> Float32:
        """Return the image as (H, W) float32 in 0..1, black to white."""
        return self.scale.to_unit(self.pixels).astype(np.float32)

    def display8(self) -> npt.NDArray[np.uint8]:
        """Return the image windowed to (H, W) uint8, black 0 to white 255."""
        return np.rint(self.scale.to_unit(self.pixels) * 255).astype(np.uint8)


def scale_for_pixels(
    pixels: npt.NDArray[np.integer], bits: int, *, signed: bool = False, inverted: bool = False
) -> GrayScale:
    """Choose the scale of an image: full range at 8 bit, the image's own range when deeper.

    Deep images rarely fill their type; networks trained on 8-bit images need the range that is
    used. Min and max are taken after dropping 0.05 % of the pixels at either end, so that a few
    dead pixels do not squeeze the rest.

    Parameters
    ----------
    pixels
        (H, W) stored values.
    bits
        Stored bits, 1 to 16.
    signed
        Whether values are two's complement.
    inverted
        Whether larger is darker (MONOCHROME1).
    """
    lowest = -(2 ** (bits - 1)) if signed else 0
    highest = lowest + 2**bits - 1
    if bits <= 8 and not signed:
        black, white = float(lowest), float(highest)
    else:
        black, white = (float(v) for v in np.percentile(pixels, (0.05, 99.95)))
        if black == white:
            black, white = float(lowest), float(highest)
    return GrayScale(lowest, highest, *((white, black) if inverted else (black, white)))
