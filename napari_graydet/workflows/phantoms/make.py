"""One phantom radiograph: anatomy, exposure, overlays, stored values, and its exact parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label as connected

from napari_graydet.errors import GraydetError
from napari_graydet.workflows.phantoms.build import Subject
from napari_graydet.workflows.phantoms.chest import build_chest
from napari_graydet.workflows.phantoms.hand import build_hand
from napari_graydet.workflows.phantoms.limb import build_forearm
from napari_graydet.workflows.phantoms.overlays import add_grid, add_marker, collimator
from napari_graydet.workflows.phantoms.physics import detect, display, quantise, transmission

Array = NDArray[Any]

_BUILDERS = {"forearm": build_forearm, "hand": build_hand, "chest": build_chest}
KINDS: tuple[str, ...] = tuple(_BUILDERS)
_BITS = (8, 12, 16)
_SMALLEST = 64


@dataclass(frozen=True)
class Phantom:
    """A phantom radiograph with its exact ground truth.

    Attributes
    ----------
    pixels : (H, W) uint8 or uint16
        Stored values, 0 .. 2**bits - 1.
    bits : int
        8, 12 or 16.
    monochrome1 : bool
        True when small stored values are shown bright.
    parts : (H, W) uint16
        0 background, else the id of the anatomical part; every id is one connected region.
    part_names : tuple of str
        Name of part id i at index i - 1; a part that something cuts in two has two ids.
    label : str
        "bone" for forearm and hand, "lung" for chest.
    kind : str
        One of `KINDS`.
    spacing_mm : float
        Pixel size at the detector in mm.
    """

    pixels: Array
    bits: int
    monochrome1: bool
    parts: Array
    part_names: tuple[str, ...]
    label: str
    kind: str
    spacing_mm: float

    @property
    def mask(self) -> Array:
        """Exact mask of the label, (H, W) bool."""
        out: Array = self.parts > 0
        return out


def make_phantom(
    kind: str,
    rng: np.random.Generator,
    *,
    size: int | None = None,
    bits: int = 8,
    monochrome1: bool = False,
) -> Phantom:
    """Draw one phantom radiograph.

    The same generator state gives the same bits; ``bits`` and ``monochrome1`` change how the same
    picture is stored and nothing else.

    Parameters
    ----------
    kind : str
        One of `KINDS`. "forearm" includes elbow, wrist and leg crops (shin, knee).
    rng : numpy.random.Generator
        Source of everything that varies.
    size : int, optional
        Longest side in pixels, at least 64; drawn from 384 .. 1024 when left out.
    bits : int
        8, 12 or 16 bits per stored value.
    monochrome1 : bool
        Store the picture inverted, as MONOCHROME1 does.

    Raises
    ------
    GraydetError
        For an unknown kind, depth or too small a size.
    """
    if kind not in _BUILDERS:
        raise GraydetError(f"expected a kind of phantom among {', '.join(KINDS)}, got {kind!r}")
    if bits not in _BITS:
        raise GraydetError(f"expected 8, 12 or 16 bits, got {bits}")
    if size is None:
        size = int(rng.integers(384, 1025))
    if size < _SMALLEST:
        raise GraydetError(f"expected a size of at least {_SMALLEST} pixels, got {size}")
    subject = _BUILDERS[kind](rng, size)
    gray, beam = _radiograph(subject, rng)
    parts, names = separate_parts(np.where(beam > 0.5, subject.scene.parts, 0), subject.scene.names)
    return Phantom(
        pixels=quantise(gray, bits, monochrome1),
        bits=bits,
        monochrome1=monochrome1,
        parts=parts,
        part_names=names,
        label=subject.label,
        kind=kind,
        spacing_mm=subject.scene.spacing,
    )


def _radiograph(subject: Subject, rng: np.random.Generator) -> tuple[Array, Array]:
    """Gray (H, W) in 0..1 with overlays, and the beam that the collimator lets through."""
    scene, exposure = subject.scene, subject.exposure
    beam = collimator(scene.shape, rng, subject.collimator)
    if subject.pad:
        beam[round(scene.shape[0] * (1 - subject.pad)) :] = 0
    primary = transmission(scene.soft, scene.bone, scene.metal, exposure.kvp)
    body = (scene.soft > 1) & (beam > 0.99)
    optical = detect(primary, body, np.maximum(beam, 0.004), exposure, scene.spacing, rng)
    gray = display(optical, body, exposure, scene.spacing)
    bare = rng.random() < 0.35 and not subject.pad
    border = rng.uniform(0.9, 1) if bare else 0.0  # digital shutter, or bare film
    gray = gray * beam + np.float32(border) * (1 - beam)
    if subject.lines:
        gray = add_grid(gray, subject.lines / scene.spacing, rng)
    if rng.random() < 0.75:
        gray = add_marker(gray, "L" if scene.mirror else "R", rng)
    return gray, beam


def separate_parts(parts: Array, names: list[str]) -> tuple[Array, tuple[str, ...]]:
    """Renumber so that every id is one connected region and every name has one.

    Where one bone crosses another, the hidden bone falls apart: crumbs below a fifth of its
    largest region go to the part that lies around them, larger pieces get an id of their own.

    Returns
    -------
    parts : (H, W) uint16
    names : tuple of str
    """
    pieces: list[tuple[Array, str, tuple[slice, slice]]] = []
    crumbs: list[tuple[Array, str, tuple[slice, slice]]] = []
    for index, name in enumerate(names, start=1):
        rows = np.flatnonzero((parts == index).any(1))
        if not rows.size:
            continue
        cols = np.flatnonzero((parts == index).any(0))
        where = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
        regions, count = connected(parts[where] == index)
        sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
        for region in range(1, count + 1):
            found = regions == region
            if sizes[region - 1] * 5 >= sizes.max():
                pieces.append((found, name, where))
            else:
                crumbs.append((found, name, where))
    out = np.zeros(parts.shape, np.uint16)
    for index, (found, _, where) in enumerate(pieces, start=1):
        out[where][found] = index
    kept = [name for _, name, _ in pieces]
    for found, name, where in crumbs:
        if not _give_to_neighbour(out, found, where):
            kept.append(name)
            out[where][found] = len(kept)
    return out, tuple(kept)


def _give_to_neighbour(out: Array, found: Array, where: tuple[slice, slice]) -> bool:
    """Assign a crumb to the part that touches it most; False when none touches it."""
    rows, cols = np.nonzero(found)
    rows, cols = rows + where[0].start, cols + where[1].start
    around: list[Array] = []
    for dr, dc in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        r = np.clip(rows + dr, 0, out.shape[0] - 1)
        c = np.clip(cols + dc, 0, out.shape[1] - 1)
        around.append(out[r, c])
    touching = np.concatenate(around)
    touching = touching[touching > 0]
    if touching.size:
        out[rows, cols] = np.bincount(touching).argmax()
    return bool(touching.size)
