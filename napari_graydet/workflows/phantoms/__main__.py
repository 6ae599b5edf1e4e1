"""Write phantom radiographs: ``python -m napari_graydet.workflows.phantoms OUT``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from napari_graydet.errors import GraydetError
from napari_graydet.workflows.phantoms.make import KINDS, make_phantom
from napari_graydet.workflows.phantoms.samples import write_phantom, write_samples


def main(arguments: list[str] | None = None) -> int:
    """Write the sample set, or ``--count`` phantoms of ``--kind``; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m napari_graydet.workflows.phantoms",
        description="Write phantom radiographs with exact masks.",
    )
    parser.add_argument("out", type=Path, help="folder that gets images/ and masks/")
    parser.add_argument("--kind", choices=KINDS, help="with --count: only this kind")
    parser.add_argument(
        "--count", type=int, default=0, help="write this many phantoms in place of the sample set"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=None, help="longest side in pixels")
    parser.add_argument("--bits", type=int, default=8, choices=(8, 12, 16))
    options = parser.parse_args(arguments)
    try:
        written = write_samples(options.out) if options.count <= 0 else _write_many(options)
    except (GraydetError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(written)} images in {options.out / 'images'}")
    return 0


def _write_many(options: argparse.Namespace) -> list[Path]:
    kinds = (options.kind,) if options.kind else KINDS
    suffix = ".png" if options.bits == 8 else ".tif"
    written = []
    for number in range(options.count):
        kind = kinds[number % len(kinds)]
        rng = np.random.default_rng([options.seed, number])
        phantom = make_phantom(kind, rng, size=options.size, bits=options.bits)
        stem = f"{kind}_{options.seed}_{number:05d}"
        written.append(write_phantom(phantom, options.out, stem, suffix))
    return written


if __name__ == "__main__":
    raise SystemExit(main())
