"""The fit: any mask -> the box with K x K nets of bottom and top grays that gives it back best.

The IoU of a box's mask is a step function of its control grays. So the fit climbs a soft IoU, in
which a pixel belongs to the box by two sigmoids, with exact gradients (L-BFGS-B) on a regular grid
of at most `SAMPLE` pixels, and sharpens the sigmoids step by step. Then every control gray in turn
goes to its best place by exact counts on the same pixels. The flat box is the exact best range
(core/ceiling.py); nets start from it and from the best ranges of tiles. What is compared and
returned in the end is counted on all pixels. Source: METHOD.md, section 2.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from napari_graydet.core.boxes import MAX_NET, GrayBox, hat_weights
from napari_graydet.core.ceiling import best_range, best_range_of_counts
from napari_graydet.core.grayscale import GrayImage, GrayRange
from napari_graydet.core.metrics import dice_of_iou, iou
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import Mask, box_mask
from napari_graydet.errors import GeometryError

SMOOTHNESS = 1e-4
"""Default weight of a net's unevenness against IoU."""

SAMPLE = 20_000
"""Pixels that the search looks at."""

SHARPENING = (0.1, 0.03, 0.01)
"""Widths of the sigmoids as shares of the ROI's gray span, one after the other."""

ITERATIONS = 20
"""Steps of L-BFGS-B at each sharpness."""

SWEEPS = 2
"""How often every control gray goes to its best place at the end."""

REACH = 2.0
"""How far beyond the ROI's gray span control grays may lie, in spans: to leave a corner of the ROI
out, bottom and top must cross. More gains nothing (Montgomery, K = 3)."""

_PLACES = 512
"""Places that a control gray is tried at, over one gray span around where it is."""

_STAY = 1e-9
"""Of places that are equally good, a control gray takes the nearest one."""

_TILE_LEVELS = 64
"""Gray levels of the best ranges of tiles, which only start the search."""

_DECIMALS = 3
"""Control grays are kept to a thousandth of a stored value, so that records stay readable."""

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Fit:
    """The best box of a mask, and the IoU of its mask with the given one."""

    box: GrayBox
    iou: float

    @property
    def dice(self) -> float:
        """DSC of the same masks."""
        return dice_of_iou(self.iou)


def fit_box(
    image: GrayImage, mask: Mask, roi: RoiBox, k: int = 3, smoothness: float = SMOOTHNESS
) -> Fit:
    """Find the box over an ROI whose mask is most like a given one.

    Parameters
    ----------
    image
        The radiograph; the nets are in its stored units.
    mask
        (H, W), what the box should give back: every pixel that is not 0. Those outside the ROI
        count as missed.
    roi
        Extent of the box; clipped to the image.
    k
        Control grays per side, 1 to 4. 1 is the paper's box and gives the exact optimum.
    smoothness
        Weight of the nets' unevenness (Dirichlet energy over the unit square, gray as a share of
        the ROI's span) against IoU. 0 asks for IoU alone; a large one gives a flat box.

    Returns
    -------
    Fit
        A box with K x K nets and its exact IoU. ``iou - smoothness * unevenness`` never falls
        from K = 1 to 2, from 2 to 3 or from 2 to 4, so no box is worse than the best flat one.

    Raises
    ------
    MaskError
        If the mask has another size than the image, or no pixel inside the ROI.
    GeometryError
        If the ROI covers no pixel, or `k` or `smoothness` is out of range.
    """
    if not 1 <= k <= MAX_NET:
        raise GeometryError(f"A box has 1 to {MAX_NET} grays per side, got {k}.")
    if not (np.isfinite(smoothness) and smoothness >= 0):
        raise GeometryError(f"The smoothness must be a number from 0 up, got {smoothness}.")
    mask = np.asarray(mask) != 0
    flat = best_range(image, mask, roi)
    box, overlap = GrayBox.flat(roi.clip(image.shape), flat.range), flat.iou
    if k > 1 and overlap < 1.0:
        sample = _Sample.of(image, mask, box.roi)
        value = overlap
        for size in sorted({2, k}):
            search = _Search(sample, size, smoothness)
            found = search.box(box.roi, flat.range)
            reached = iou(box_mask(image.pixels, [found]), mask)
            worth = reached - search.cost(sample.nets_of(found))
            if worth > value:
                box, overlap, value = found, reached, worth
    return Fit(box.with_nets(k), overlap)


@dataclass(frozen=True, eq=False)
class _Sample:
    """A regular grid of an ROI's pixels.

    Parameters
    ----------
    gray
        (n, m) float32, 0 at the stored value `first` and 1 at ``first + span``.
    true
        (n, m) bool.
    v, u
        (n,) and (m,) places in the ROI's extent, 0..1.
    missed
        True pixels outside the ROI, scaled to this grid.
    first, span
        How stored values became gray.
    """

    gray: Float32
    true: Mask
    v: Float
    u: Float
    missed: float
    first: int
    span: int

    @classmethod
    def of(cls, image: GrayImage, mask: Mask, roi: RoiBox) -> _Sample:
        rows, cols = roi.slices(image.shape)
        window, inside = image.pixels[rows, cols], mask[rows, cols]
        r, c = (_spread(length, window.size) for length in window.shape)
        first, last = int(window.min()), int(window.max())
        span = max(last - first, 1)
        gray = (window[np.ix_(r, c)].astype(np.float64) - first) / span
        missed = np.count_nonzero(mask) - np.count_nonzero(inside)
        return cls(
            gray.astype(np.float32),
            inside[np.ix_(r, c)],
            (r + rows.start + 0.5 - roi.y0) / roi.height,
            (c + cols.start + 0.5 - roi.x0) / roi.width,
            missed * gray.size / window.size,
            first,
            span,
        )

    def nets_of(self, box: GrayBox) -> Float:
        """Return the nets of a box as (2, K, K), bottom and top, as shares of the gray span."""
        return (np.stack([box.low, box.high]) - self.first) / self.span

    def box_of(self, nets: Float, roi: RoiBox) -> GrayBox:
        """Return the box of nets; inverse of `nets_of` but for rounding."""
        low, high = np.round(nets * self.span + self.first, _DECIMALS)
        return GrayBox(roi, low, high)

    def tile_ranges(self, flat: Float, k: int) -> Float:
        """Return nets that hold at every control gray the best range of the pixels next to it."""
        knots = [np.rint(at * (k - 1)).astype(np.intp) for at in (self.v, self.u)]
        tiles = knots[0][:, None] * k + knots[1]
        levels = np.minimum((self.gray * _TILE_LEVELS).astype(np.intp), _TILE_LEVELS - 1)
        places = tiles * _TILE_LEVELS + levels
        true, other = (
            np.bincount(places[pixels], minlength=k * k * _TILE_LEVELS).reshape(k * k, -1)
            for pixels in (self.true, ~self.true)
        )
        nets = flat.copy().reshape(2, -1)
        for tile in np.flatnonzero(true.any(axis=1)):
            low, high, _ = best_range_of_counts(true[tile], other[tile])
            nets[:, tile] = low / _TILE_LEVELS, (high + 1) / _TILE_LEVELS
        return nets.reshape(2, k, k)


def _spread(length: int, pixels: int) -> npt.NDArray[np.intp]:
    """Return indices of equally spread rows (or columns), so that a grid keeps to `SAMPLE`."""
    count = max(1, int(length * min(1.0, float(np.sqrt(SAMPLE / pixels)))))
    return ((np.arange(count) + 0.5) * length / count).astype(np.intp)


class _Search:
    """Looks for K x K nets on a sample; nets here are (2, K, K), bottom and top, unit gray."""

    def __init__(self, sample: _Sample, k: int, smoothness: float) -> None:
        self._sample, self._k, self._smoothness = sample, k, smoothness
        self._rows, self._cols = (
            hat_weights(at, k).astype(np.float32) for at in (sample.v, sample.u)
        )
        self._energy = _dirichlet(k)
        self._true = sample.true.astype(np.float32)
        self._total = float(np.count_nonzero(sample.true)) + sample.missed

    def box(self, roi: RoiBox, flat: GrayRange) -> GrayBox:
        """Return the best box that is found, starting from the best flat range and from tiles."""
        ends = (np.array([flat.low, flat.high]) - self._sample.first) / self._sample.span
        start = np.broadcast_to(ends[:, None, None], (2, self._k, self._k))
        climbed = [self._climb(s) for s in (start, self._sample.tile_ranges(start, self._k))]
        nets = min(climbed, key=lambda found: self._loss(found.ravel(), SHARPENING[-1])[0])
        for _ in range(SWEEPS):
            for side, i, j in np.ndindex(nets.shape):
                nets[side, i, j] = self._best_place(nets, side, i, j)
        return self._sample.box_of(nets, roi)

    def cost(self, nets: Float) -> float:
        """Return what the unevenness of nets counts against their IoU."""
        flat = nets.reshape(2, -1)
        return self._smoothness * float(np.vdot(flat, flat @ self._energy))

    def _climb(self, nets: Float) -> Float:
        for width in SHARPENING:
            found = minimize(
                self._loss,
                nets.ravel(),
                args=(width,),
                jac=True,
                method="L-BFGS-B",
                bounds=[(-REACH, 1 + REACH)] * nets.size,
                options={"maxiter": ITERATIONS},
            )
            nets = np.asarray(found.x).reshape(nets.shape)
        return nets

    def _faces(self, nets: Float) -> tuple[Float32, Float32]:
        bottom, top = (self._rows @ net @ self._cols.T for net in nets.astype(np.float32))
        return bottom, top

    def _loss(self, parameters: Float, width: float) -> tuple[float, Float]:
        """Return the cost of unevenness less the soft IoU, and its gradient."""
        nets = parameters.reshape(2, self._k, self._k)
        bottom, top = self._faces(nets)
        above = _sigmoid(self._sample.gray - bottom, width)
        below = _sigmoid(top - self._sample.gray, width)
        inside = above * below
        hits = float(np.vdot(inside, self._true))
        union = self._total + float(inside.sum()) - hits
        # d(hits / union) / d(inside) is 1 / union at true pixels and -hits / union^2 at others
        slope = np.where(self._sample.true, np.float32(1 / union), np.float32(-hits / union**2))
        slope *= inside
        slope *= np.float32(1 / width)
        gradient = np.stack(
            [
                self._rows.T @ (slope * (above - 1)) @ self._cols,
                self._rows.T @ (slope * (1 - below)) @ self._cols,
            ]
        ).astype(np.float64)
        pull = 2 * self._smoothness * (nets.reshape(2, -1) @ self._energy)
        return self.cost(nets) - hits / union, pull.ravel() - gradient.ravel()

    def _best_place(self, nets: Float, side: int, i: int, j: int) -> float:
        """Return the best value of one control gray while the others stay, by exact counts.

        A pixel lies inside once the face has moved outwards by its distance from the face over the
        control gray's weight there, so running sums over that quotient give the IoU of every move.
        """
        bottom, top = self._faces(nets)
        gray, outwards = self._sample.gray, 2 * side - 1
        moves, face = (gray >= bottom, top) if side else (gray <= top, bottom)
        weight = np.outer(self._rows[:, i], self._cols[:, j])
        needed = outwards * (gray - face) / np.maximum(weight, np.finfo(np.float32).tiny)
        first = np.ceil((np.clip(needed[moves], -1, 1) + 0.5) * _PLACES).clip(0, _PLACES + 1)
        true = self._sample.true[moves]
        hits, false = (
            np.cumsum(np.bincount(first[at].astype(np.intp), minlength=_PLACES + 2)[:-1])
            for at in (true, ~true)
        )
        way = np.linspace(-0.5, 0.5, _PLACES + 1)
        places = np.clip(nets[side, i, j] + outwards * way, -REACH, 1 + REACH)
        value = hits / (self._total + false) - self._cost_of_places(nets[side], i, j, places)
        best = int(np.argmax(value - _STAY * np.abs(way)))
        return float(places[best])

    def _cost_of_places(self, net: Float, i: int, j: int, places: Float) -> Float:
        """Return what unevenness costs if one control gray were elsewhere, up to a constant."""
        row = self._energy[i * self._k + j]
        own = row[i * self._k + j]
        others = float(row @ net.ravel()) - own * net[i, j]
        return np.asarray(self._smoothness * (own * places**2 + 2 * others * places))


def _sigmoid(distance: Float32, width: float) -> Float32:
    half = np.float32(0.5)
    return np.asarray(np.tanh(distance * np.float32(0.5 / width)) * half + half)


def _dirichlet(k: int) -> Float:
    """Return the (K^2, K^2) matrix of a net's Dirichlet energy over the unit square.

    Squared differences of neighbours; those along the border count half (trapezoidal rule), so
    that a bilinear net costs no more when it is written with more control grays.
    """
    energy = np.zeros((k * k, k * k))
    index = np.arange(k * k).reshape(k, k)
    border = np.where(np.isin(np.arange(k), (0, k - 1)), 0.5, 1.0)
    for grid in (index, index.T):
        for line, weight in zip(grid, border, strict=True):
            for a, b in itertools.pairwise(line):
                energy[[a, b], [a, b]] += weight
                energy[[a, b], [b, a]] -= weight
    return energy
