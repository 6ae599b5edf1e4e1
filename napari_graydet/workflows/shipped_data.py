"""What the shipped weights learn from: phantoms and public chest X-rays, and their fixed split.

The shipped weights are trained on phantoms and on the Montgomery chest X-rays only; the Shenzhen
images of the same folder are read for evaluation and never trained on. Phantoms are numbered:
sample `index` of a kind is the same picture for ever (as long as the phantoms' code is), training
indices start at 0 and held-out ones at `HELD_OUT_START`, so the two never meet. Of the Montgomery
set every image is another patient, so a split by image is a split by patient.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Literal

import numpy as np

from napari_graydet.core.grayscale import GrayImage, GrayScale, scale_for_pixels
from napari_graydet.core.sample import LabelMap, Sample, connected_parts
from napari_graydet.errors import ImageError
from napari_graydet.io.images import read_image
from napari_graydet.io.masks import read_mask
from napari_graydet.workflows import phantoms

SEED = 20220322
"""Seed of the split and of the phantoms (the paper's year and number in its volume)."""

HELD_OUT_START = 1_000_000
"""First index of the phantoms that nothing is ever trained on."""

CHOICE_START = 400_000
"""First index of the phantoms that refiners are chosen on: neither trained on nor reported."""

CHOICE_EVERY = 10
"""Of the Montgomery training side, one image in so many is kept to choose on."""

MONTGOMERY = "MCUCXR_"
SHENZHEN = "CHNCXR_"
MONTGOMERY_HELD_OUT = 40

_RECIPE = 2
"""Number of this file's way to make samples of phantoms; a new one empties caches."""

_DEPTHS = (8, 8, 8, 8, 12, 16)
_INVERTED_SHARE = 0.15
_SIZES = (384, 769)
_EPIPHYSIS = re.compile(r"( proximal| distal)? epiphysis$")
_CARPUS = frozenset(
    {"capitate", "hamate", "lunate", "pisiform"}
    | {"scaphoid", "trapezium", "trapezoid", "triquetrum"}
)

Part = Literal["train", "held out", "all"]


def phantom_sample(kind: str, index: int) -> Sample:
    """Draw phantom number `index` of a kind; the same number gives the same picture.

    Size, bit depth (8, 12, 16) and inversion (MONOCHROME1) vary with the number.
    """
    rng = np.random.default_rng([SEED, phantoms.KINDS.index(kind), index])
    bits, inverted = int(rng.choice(_DEPTHS)), bool(rng.random() < _INVERTED_SHARE)
    size = int(rng.integers(*_SIZES))
    made = phantoms.make_phantom(kind, rng, size=size, bits=bits, monochrome1=inverted)
    scale = scale_for_pixels(made.pixels, bits, inverted=inverted)
    stem = f"{kind}-{index:07d}"
    image = GrayImage(made.pixels, scale, name=stem, spacing_mm=(made.spacing_mm, made.spacing_mm))
    return Sample(image, made.label, merge_parts(made.parts, made.part_names), kind, stem)


def merge_parts(parts: LabelMap, names: Sequence[str]) -> LabelMap:
    """Put together the parts that a person would put one ROI around.

    The pieces of one bone, an epiphysis and its shaft, and the bones of the carpus, which cover one
    another in every projection, each become one part.

    Parameters
    ----------
    parts
        (H, W) part ids.
    names
        Name of part id i at index i - 1.
    """
    objects: dict[str, int] = {}
    ids = [0]
    for index, name in enumerate(names):
        whole = "carpus" if name in _CARPUS else _EPIPHYSIS.sub("", name)
        whole = f"{name} {index}" if name == "fragment" else whole
        ids.append(objects.setdefault(whole, len(objects) + 1))
    return np.array(ids, dtype=np.uint16)[parts]


def phantom_samples(
    kind: str, count: int, *, start: int = 0, cache: Path | None = None
) -> Iterator[Sample]:
    """Yield `count` phantoms of a kind.

    Parameters
    ----------
    kind, count
        Which ones, and how many.
    start
        Number of the first one: 0 to train on, else `CHOICE_START` or `HELD_OUT_START`.
    cache
        Folder that keeps drawn phantoms for the next time; a change of the phantoms' code starts
        a new folder inside it. None draws every time.
    """
    folder = cache / _code_digest() if cache is not None else None
    for index in range(start, start + count):
        yield _cached_phantom(kind, index, folder)


@functools.cache
def _code_digest() -> str:
    """Digest of the code that draws phantoms, so that a cache never holds outdated ones."""
    digest = hashlib.sha256(str(_RECIPE).encode())
    for source in sorted(Path(str(phantoms.__file__)).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def _cached_phantom(kind: str, index: int, folder: Path | None) -> Sample:
    if folder is None:
        return phantom_sample(kind, index)
    path = folder / f"{kind}-{index:07d}.npz"
    if path.exists():
        return _load(path, kind)
    sample = phantom_sample(kind, index)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.part.npz")
    np.savez_compressed(
        unfinished,
        pixels=sample.image.pixels,
        parts=sample.parts,
        scale=json.dumps(astuple(sample.image.scale)),
        spacing=np.array(sample.image.spacing_mm),
        label=sample.label,
    )
    unfinished.replace(path)
    return sample


def _load(path: Path, kind: str) -> Sample:
    with np.load(path, allow_pickle=False) as held:
        scale = GrayScale(*json.loads(str(held["scale"])))
        row, col = (float(v) for v in held["spacing"])
        image = GrayImage(held["pixels"], scale, name=path.stem, spacing_mm=(row, col))
        return Sample(image, str(held["label"]), held["parts"], kind, path.stem)


def montgomery_stems(data: Path, part: Part = "all") -> list[str]:
    """Return the stems of the Montgomery set in a data folder, of one side of the fixed split.

    Parameters
    ----------
    data
        Folder that holds ``chest/images`` and ``chest/masks``.
    part
        "held out": `MONTGOMERY_HELD_OUT` stems drawn with `SEED`; "train": the others.

    Raises
    ------
    ImageError
        If the folder has no such images.
    """
    stems = _stems(data, MONTGOMERY)
    order = np.random.default_rng(SEED).permutation(len(stems))
    held_out = {stems[i] for i in order[:MONTGOMERY_HELD_OUT]}
    if part == "all":
        return stems
    return [stem for stem in stems if (stem in held_out) == (part == "held out")]


def montgomery_samples(data: Path, part: Part = "all") -> Iterator[Sample]:
    """Yield the Montgomery chest X-rays of one side of the split: the real ones to train on."""
    yield from _chest_samples(data, montgomery_stems(data, part), "montgomery")


def shenzhen_samples(data: Path) -> Iterator[Sample]:
    """Yield the Shenzhen chest X-rays: for evaluation only, never for training."""
    yield from _chest_samples(data, _stems(data, SHENZHEN), "shenzhen")


def refiner_samples(
    data: Path, phantom_counts: dict[str, int], *, cache: Path | None = None
) -> Iterator[Sample]:
    """Yield what the shipped refiner learns from: of `training_samples` those not to choose on."""
    stems = montgomery_stems(data, "train")
    learned = [stem for stem in stems if stem not in stems[::CHOICE_EVERY]]
    yield from _chest_samples(data, learned, "montgomery")
    yield from training_samples(None, phantom_counts, cache=cache)


def choice_samples(
    data: Path, phantoms_each: int, *, cache: Path | None = None
) -> Iterator[Sample]:
    """Yield what refiners are chosen on: of the training side, as held-out images only report."""
    stems = montgomery_stems(data, "train")[::CHOICE_EVERY]
    yield from _chest_samples(data, stems, "montgomery")
    for kind in phantoms.KINDS:
        yield from phantom_samples(kind, phantoms_each, start=CHOICE_START, cache=cache)


def training_samples(
    data: Path | None,
    phantom_counts: dict[str, int],
    *,
    cache: Path | None = None,
) -> Iterator[Sample]:
    """Yield everything that the shipped weights may learn from.

    Parameters
    ----------
    data
        Folder with the Montgomery images (training side only is taken); None for phantoms alone.
    phantom_counts
        Number of phantoms by kind.
    cache
        See `phantom_samples`.
    """
    if data is not None:
        yield from montgomery_samples(data, "train")
    for kind, count in phantom_counts.items():
        yield from phantom_samples(kind, count, cache=cache)


def held_out_samples(
    data: Path | None, phantoms_each: int, *, cache: Path | None = None
) -> Iterator[Sample]:
    """Yield what nothing is trained on: held-out Montgomery and phantoms of each kind."""
    if data is not None:
        yield from montgomery_samples(data, "held out")
    for kind in phantoms.KINDS:
        yield from phantom_samples(kind, phantoms_each, start=HELD_OUT_START, cache=cache)


def _stems(data: Path, prefix: str) -> list[str]:
    stems = sorted(path.stem for path in (data / "chest" / "images").glob(f"{prefix}*.png"))
    if not stems:
        raise ImageError(
            f"Expected chest X-rays {prefix}*.png in {data / 'chest' / 'images'}, found none; "
            "give the folder of the data sets."
        )
    return stems


def _chest_samples(data: Path, stems: Sequence[str], kind: str) -> Iterator[Sample]:
    for stem in stems:
        image = read_image(data / "chest" / "images" / f"{stem}.png")
        mask = read_mask(data / "chest" / "masks" / f"{stem}.png", image.shape)
        yield Sample(image, "lung", connected_parts(mask), kind, stem)
