"""A box detector that has seen phantoms alone: what ours starts from in benchmarks.compare.

    python -m benchmarks.compare_starts --cache build/phantoms

The shipped one has also seen most of the Montgomery images, so that a learning curve that starts
from it would begin with a hundred images of one hospital. Phantoms, steps and seed are those of
the shipped weights (workflows/weights.py).
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path

from napari_graydet.models.box_training import BoxTraining, train_boxes
from napari_graydet.workflows import training_data as td
from napari_graydet.workflows.weights import BOX_STEPS, CLASSES, PHANTOMS, box_samples

DEFAULT = Path(__file__).parent.parent / "build" / "compare" / "starts" / "boxes.safetensors"
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=DEFAULT)
    parser.add_argument("--cache", type=Path, default=Path("build/phantoms"), help="keeps phantoms")
    parser.add_argument("--steps", type=int, default=BOX_STEPS)
    parser.add_argument("--share", type=float, default=1.0, help="of the phantoms")
    options = parser.parse_args()
    counts = {kind: max(1, round(count * options.share)) for kind, count in PHANTOMS.items()}
    model = train_boxes(
        box_samples(td.training_samples(None, counts, cache=options.cache)),
        CLASSES,
        seed=SEED,
        training=BoxTraining(steps=options.steps),
        on_step=lambda step, of, loss: _say(step, of, loss),
    )
    data = [f"{kind} phantoms: {count} images" for kind, count in counts.items()]
    versions = {name: version(name) for name in ("torch", "numpy")}
    model.save(options.out, data=data, seed=SEED, versions=versions)


def _say(step: int, of: int, loss: float) -> None:
    if step % 100 == 0:
        print(f"step {step} of {of}, loss {loss:.4f}", flush=True)


if __name__ == "__main__":
    main()
