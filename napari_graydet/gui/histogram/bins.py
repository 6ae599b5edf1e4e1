"""Counts of gray values, binned for drawing: the numbers behind the histogram, without Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.core.grayscale import GrayScale

MAX_BINS = 256
"""More bars than this cannot be told apart at the width of a dock."""

SPIKE = 3.0
"""A bar is cut at this many times the 95th percentile: padding must not flatten the rest."""

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GrayBins:
    """Binned counts over the gray axis of an image.

    Parameters
    ----------
    counts
        (n,) pixels per bin.
    first
        Stored value at which the first bin starts.
    step
        Stored values per bin.
    low, high
        First and last stored value of the axis.
    scale
        The image's scale; tells black from white.
    """

    counts: npt.NDArray[np.int64]
    first: int
    step: int
    low: int
    high: int
    scale: GrayScale

    @classmethod
    def of_values(cls, values: npt.NDArray[np.integer], scale: GrayScale) -> GrayBins:
        """Bin stored values of any shape; none at all is allowed.

        The axis is the full type up to 8 bit and the image's window when deeper. Values beyond it
        are counted in the bins at its ends.
        """
        low, high = _axis(scale)
        if values.size == 0:
            return cls._binned(np.zeros(high - low + 1, dtype=np.int64), low, high, scale)
        start = int(values.min())
        offset = np.subtract(values.ravel(), start, dtype=np.int64)
        return cls.of_counts(np.bincount(offset), start, scale)

    @classmethod
    def of_counts(cls, counts: npt.NDArray[np.integer], start: int, scale: GrayScale) -> GrayBins:
        """Bin (m,) counts, where ``counts[i]`` is the number of pixels of value ``start + i``."""
        low, high = _axis(scale)
        at = np.clip(np.arange(start, start + len(counts)), low, high) - low
        per_value = np.bincount(at, weights=counts, minlength=high - low + 1)
        return cls._binned(per_value.astype(np.int64), low, high, scale)

    @classmethod
    def _binned(
        cls, per_value: npt.NDArray[np.int64], low: int, high: int, scale: GrayScale
    ) -> GrayBins:
        step = max(1, math.ceil(len(per_value) / MAX_BINS))
        counts = np.add.reduceat(per_value, np.arange(0, len(per_value), step))
        return cls(counts, low, step, low, high, scale)

    @property
    def span(self) -> int:
        """Number of stored values on the axis."""
        return self.high + 1 - self.low

    @property
    def total(self) -> int:
        """Number of pixels."""
        return int(self.counts.sum())

    def count_at(self, value: int) -> int:
        """Return the pixels of the bin that holds a stored value."""
        at = (value - self.first) // self.step
        return int(self.counts[min(max(at, 0), len(self.counts) - 1)])

    def heights(self) -> Float:
        """Return the bars' heights 0..1, the square roots of the counts: few pixels show, too."""
        used = self.counts[self.counts > 0]
        if used.size == 0:
            return np.zeros(len(self.counts))
        tallest = min(float(used.max()), SPIKE * float(np.percentile(used, 95)))
        roots = np.sqrt(self.counts.astype(np.float64))
        return np.minimum(roots / math.sqrt(tallest), 1.0)

    def to_axis(self, value: float) -> float:
        """Map a stored value to 0..1 along the axis, black end first, clipped.

        The value is an edge: value v covers ``[v, v + 1)``.
        """
        return float(self.shares(np.array(value)))

    def shares(self, values: npt.ArrayLike) -> Float:
        """Map many stored values as `to_axis` does one; a drag draws hundreds of bars a frame."""
        share = np.clip((np.asarray(values, dtype=np.float64) - self.low) / self.span, 0.0, 1.0)
        return np.asarray(1.0 - share if self.scale.inverted else share)

    def from_axis(self, share: float) -> float:
        """Map 0..1 along the axis back to a stored value; inverse of `to_axis`."""
        return self.low + (1.0 - share if self.scale.inverted else share) * self.span

    def ticks(self, wanted: int) -> list[int]:
        """Return round stored values on the axis, about as many as `wanted`."""
        raw = self.span / max(wanted, 1)
        base = 10 ** math.floor(math.log10(max(raw, 1)))
        step = next(int(m * base) for m in (1, 2, 5, 10) if m * base >= raw)
        step = max(step, 1)
        first = math.ceil(self.low / step) * step
        return list(range(first, self.high + 1, step))


def _axis(scale: GrayScale) -> tuple[int, int]:
    if scale.highest - scale.lowest < MAX_BINS:
        return scale.lowest, scale.highest
    ends = sorted((scale.black, scale.white))
    return max(math.floor(ends[0]), scale.lowest), min(math.ceil(ends[1]), scale.highest)
