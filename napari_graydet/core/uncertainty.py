"""How doubtful a proposed box and the mask of an image are, from the method itself.

Signs of doubt about one box (`Signs`) come from the networks (class margin, score of the ROI, how
far a refiner disagrees) and from the pixels: how many lie near a threshold, how well the range
parts the grays of the ROI, whether the mask's outline runs along the edges of the image, whether
the mask goes on beyond the ROI, and whether the range is as common around the ROI as in it. The
last three tell of an ROI that is misplaced, which no threshold can mend. A logistic function with
fixed weights makes one number of them, 0 sure to 1 doubtful. It is for ranking, not a probability:
what to look at first. All but the spread come from a record and its image, at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import expit

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import LEVELS, GrayImage
from napari_graydet.core.metrics import dice
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import Mask

Float = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer]

CLUSTER_IOU = 0.3
"""Ranges of a class that overlap the best one by so much are its cluster."""

NEAR = 4
"""So many gray levels (of 256) beside a threshold are near it."""

SIDE = 96
"""Edges are looked for in a picture of the ROI whose longest side has at most so many pixels."""

STRONG = 0.1
"""This share of an ROI's pixels, those where gray changes most, are its edges."""

AROUND = 0.25
"""The surroundings of an ROI reach so far, as a share of its size."""

_FLAT = 1e-9
"""Gray that changes less than this does not change."""


# --- In the detector ------------------------------------------------------------------------


def class_margins(probabilities: Float, classes: Ints) -> Float:
    """Return by how much the class of a proposal beats the runner-up.

    Parameters
    ----------
    probabilities
        (N, k) of the classes; what is missing to 1 is the background's.
    classes
        (N,) class ids of the proposals.

    Returns
    -------
    (N,) in -1..1
    """
    own = np.take_along_axis(probabilities, classes[:, None], axis=1)[:, 0]
    others = np.concatenate([probabilities, 1 - probabilities.sum(axis=1, keepdims=True)], axis=1)
    np.put_along_axis(others, classes[:, None], -np.inf, axis=1)
    return np.asarray(own - others.max(axis=1))


def cluster_spreads(edges: Float, scores: Float, classes: Ints, kept: Ints) -> Float:
    """Return how far the proposals around each kept one disagree with one another.

    Parameters
    ----------
    edges
        (N, 2) bottoms and tops before NMS.
    scores, classes
        (N,).
    kept
        (M,) indices that NMS left.

    Returns
    -------
    (M,) mean of the standard deviations, weighted by score, of bottom and top over the proposals of
    the class that overlap the kept one by `CLUSTER_IOU`, as a share of its height.
    """
    spreads = []
    for best in kept:
        bottom, top = edges[best]
        common = np.minimum(edges[:, 1], top) - np.maximum(edges[:, 0], bottom)
        union = np.maximum(edges[:, 1], top) - np.minimum(edges[:, 0], bottom)
        cluster = (classes == classes[best]) & (common >= CLUSTER_IOU * union)
        cluster[best] = True
        weights = np.maximum(scores[cluster], np.finfo(np.float64).tiny)
        mean = np.average(edges[cluster], axis=0, weights=weights)
        variance = np.average((edges[cluster] - mean) ** 2, axis=0, weights=weights)
        spreads.append(float(np.sqrt(variance).mean() / max(top - bottom, 1 / LEVELS)))
    return np.array(spreads)


# --- Signs of doubt -------------------------------------------------------------------------


@dataclass(frozen=True)
class Signs:
    """What makes the mask of one box doubtful; None where it is not known.

    Parameters
    ----------
    margin, spread
        As of the proposal; an unknown margin is taken to be the least that its score allows.
    near
        Pixels within `NEAR` gray levels of a threshold over pixels of the mask: they change sides
        when a threshold moves a little.
    separability
        Share of the ROI's gray variance that the split by the box explains (Otsu's eta).
    edges
        Share of the ROI's strongest edges that lie at the outline of the mask.
    spill
        Largest share of a side of the ROI at which the mask goes on in the pixels beyond it.
    around
        Share of the pixels around the ROI that lie in the gray range, less the share in the ROI.
    roi_score
        How sure the ROI detector is of the ROI.
    disagreement
        1 - DSC of the box's mask and the refiner's in the ROI.
    """

    margin: float | None
    spread: float | None
    near: float
    separability: float
    edges: float
    spill: float
    around: float
    roi_score: float | None = None
    disagreement: float | None = None


def signs_of(
    image: GrayImage,
    proposal: BoxProposal,
    *,
    roi_score: float | None = None,
    refined: Mask | None = None,
) -> Signs:
    """Gather the signs of doubt about a proposed box.

    Parameters
    ----------
    image
        The radiograph.
    proposal
        The box; flat or with nets.
    roi_score
        Score of its ROI, if it was detected.
    refined
        (H, W) mask of its label after refinement, if there is a refiner.
    """
    window, inside = proposal.box.inside(image.pixels)
    disagreement = None
    if refined is not None:
        disagreement = 1 - dice(inside, refined[window])
    spill, around = _beyond(image, proposal.box)
    return Signs(
        2 * proposal.score - 1 if proposal.margin is None else proposal.margin,
        proposal.spread,
        near_share(image, proposal.box),
        _separability(image.pixels[window], inside),
        edges_at_outline(image.pixels[window], inside),
        spill,
        around,
        roi_score,
        disagreement,
    )


def near_share(image: GrayImage, box: GrayBox) -> float:
    """Return the pixels within `NEAR` gray levels of a threshold over the pixels of the mask.

    A threshold beyond all grays of the ROI cuts nothing and is near nothing.
    """
    reach = NEAR / (LEVELS - 1) * abs(image.scale.white - image.scale.black)
    window, inside = box.inside(image.pixels)
    values = image.pixels[window]
    if values.size == 0:
        return 0.0
    low = np.where(box.low > values.min(), reach, 0.0)
    high = np.where(box.high < values.max(), reach, 0.0)
    wide = GrayBox(box.roi, box.low - low, box.high + high).inside(image.pixels)[1]
    narrow = np.zeros_like(inside)
    if (box.high - high >= box.low + low).any():
        narrow = GrayBox(box.roi, box.low + low, box.high - high).inside(image.pixels)[1]
    near = int(np.count_nonzero(wide)) - int(np.count_nonzero(narrow))
    return near / max(int(np.count_nonzero(inside)), 1)


def _separability(values: npt.NDArray[np.integer], inside: Mask) -> float:
    share = float(inside.mean()) if inside.size else 0.0
    if share in (0.0, 1.0):
        return 0.0
    gray = values.astype(np.float64)
    variance = float(gray.var())
    between = (float(gray[inside].mean()) - float(gray.mean())) ** 2 * share / (1 - share)
    return min(between / variance, 1.0) if variance > 0 else 0.0


def edges_at_outline(values: npt.NDArray[np.integer], inside: Mask) -> float:
    """Return the share of the strongest edges that lie within a pixel of the mask's outline.

    Both are looked at in a picture of at most `SIDE` pixels: means of blocks, the mask by its
    pixels in their middle.
    """
    if values.size == 0:
        return 0.0
    step = -(-max(values.shape) // SIDE)
    down, across = (min(step, n) for n in values.shape)  # slivers are narrower than a block
    rows, cols = values.shape[0] // down, values.shape[1] // across
    blocks = values[: rows * down, : cols * across].reshape(rows, down, cols, across)
    slope = ndimage.gaussian_gradient_magnitude(blocks.mean(axis=(1, 3), dtype=np.float64), 1.0)
    if slope.max() < _FLAT:
        return 0.0
    mask = inside[down // 2 :: down, across // 2 :: across][:rows, :cols]
    strong = slope >= np.quantile(slope, 1 - STRONG)
    outline = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask, border_value=1)
    return float(ndimage.binary_dilation(outline)[strong].mean())


def _beyond(image: GrayImage, box: GrayBox) -> tuple[float, float]:
    """Return `Signs.spill` and `Signs.around`; nothing beyond the image counts."""
    rows, cols = box.roi.slices(image.shape)
    if rows.start == rows.stop or cols.start == cols.stop:
        return 0.0, 0.0
    wide = box.roi.grow(AROUND, image.shape)
    (above, left), found = _reached(image, box, wide)
    top, bottom = rows.start - above, rows.stop - above
    first, last = cols.start - left, cols.stop - left
    part = found[top:bottom, first:last]
    if part.size == found.size:
        return 0.0, 0.0
    spills = [0.0]
    if top > 0:
        spills.append(float((part[0] & found[top - 1, first:last]).mean()))
    if bottom < found.shape[0]:
        spills.append(float((part[-1] & found[bottom, first:last]).mean()))
    if first > 0:
        spills.append(float((part[:, 0] & found[top:bottom, first - 1]).mean()))
    if last < found.shape[1]:
        spills.append(float((part[:, -1] & found[top:bottom, last]).mean()))
    ring = np.count_nonzero(found) - np.count_nonzero(part)
    return max(spills), ring / (found.size - part.size) - float(part.mean())


def _reached(image: GrayImage, box: GrayBox, wide: RoiBox) -> tuple[tuple[int, int], Mask]:
    """Return where `wide` starts in the image, and its pixels in the box's mean gray range."""
    window, found = box.with_nets(1).with_roi(wide).inside(image.pixels)
    return (window[0].start, window[1].start), found


# --- One number -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Weight:
    """Mean and deviation of a sign over the images it was fitted to, and its weight."""

    centre: float
    scale: float
    weight: float


WEIGHTS: Mapping[str, Weight] = {
    "margin": Weight(0.493, 0.145, -0.4),
    "spread": Weight(-2.060, 0.211, 0.0),
    "near": Weight(-2.607, 0.320, 0.4),
    "separability": Weight(0.612, 0.114, -0.4),
    "edges": Weight(0.691, 0.167, -0.4),
    "spill": Weight(0.687, 0.170, 0.4),
    "around": Weight(-0.166, 0.142, 0.4),
    "roi_score": Weight(0.8, 0.2, -0.4),
    "disagreement": Weight(0.1, 0.1, 1.0),
}
"""Centres and scales are printed by `benchmarks/uncertainty.py --scales`, from training images;
those of the last two are judged. All signs count alike, as weights that were fitted ranked no
better; the spread told nothing. A refiner that disagrees counts more than any other sign."""


def box_uncertainty(signs: Signs) -> float:
    """Return one number for a box, 0 sure to 1 doubtful; well and badly placed ROIs meet at 0.5.

    A sign that is not known counts as an average one.
    """
    total = 0.0
    for name, value in asdict(signs).items():
        if value is not None:
            by = WEIGHTS[name]
            total += by.weight * float(np.clip((scaled(name, value) - by.centre) / by.scale, -3, 3))
    return float(expit(total))


def scaled(name: str, value: float) -> float:
    """Return a sign as it goes into the sum: ratios by their logarithm."""
    return float(np.log(value + 0.01)) if name in ("near", "spread") else value


def image_uncertainty(boxes: Sequence[float], areas: Sequence[float]) -> float:
    """Return one number for an image: the mean over its boxes, by the areas of their masks.

    An image in which nothing was found is as doubtful as can be.

    Parameters
    ----------
    boxes
        Uncertainty of every box.
    areas
        Pixels of every box's mask.
    """
    if not boxes:
        return 1.0
    return float(np.average(boxes, weights=np.asarray(areas, dtype=np.float64) + 1.0))
