"""How long training takes and what it holds in memory: ours, and every whole-image network.

    python -m benchmarks.training_time                         # on an idle machine

25 Montgomery images, those of seed 0. Ours is trained whole: preset fast, three parts, from the
starts of the comparison (``python -m benchmarks.compare_starts``). A whole-image network is trained
twice for a few steps; what the longer training takes more is free of what every training takes
once, and gives the seconds of a step and of the budget that it has in docs/benchmarks.md. Every
training runs in a process of its own, one after the other. Results go to
benchmarks/results/training_time.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.alone import alone
from benchmarks.compare import SHARED, first, montgomery_set, starts_of
from benchmarks.compare_starts import FOLDER
from napari_graydet.io.files import atomic_write_text
from napari_graydet.models.baselines.networks import BASELINES
from napari_graydet.workflows.compare.compare import Series, jobs_of, run_jobs
from napari_graydet.workflows.compare.results import JobResult
from napari_graydet.workflows.evaluation.report import markdown_table

OUT = Path(__file__).parent / "results" / "training_time.json"
OURS = "graydet+refiner"
FEW, MORE = 10, 40
"""Steps of the two trainings of a whole-image network."""

BUDGET, SIZE, N = 1850, 128, 25
"""Of the tables: steps, side of the pictures, training images."""


def main() -> None:
    options = _options()
    rows: dict[str, dict[str, Any]] = {}
    for name in (OURS, *BASELINES):
        rows[name] = _ours(options) if name == OURS else _baseline(name, options)
        print(f"{name}: {rows[name]}", flush=True)
        _write(options, rows)
    ours = rows[OURS]["minutes"]
    cells = [
        [name, f"{row['minutes']:.1f}", f"{row['memory']:.0f}", f"{row['minutes'] / ours:.2f}"]
        for name, row in rows.items()
    ]
    print(markdown_table(["training", "minutes", "peak MiB", "of ours"], cells))


def _write(options: argparse.Namespace, rows: dict[str, dict[str, Any]]) -> None:
    document = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "images": options.n,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("torch", "torchvision", "monai")},
        "budget": BUDGET,
        "size": SIZE,
        "trainings": rows,
    }
    atomic_write_text(options.out, json.dumps(document, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--starts", type=Path, default=FOLDER, help="what ours starts from")
    parser.add_argument("--n", type=int, default=N, help="training images")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


def _ours(options: argparse.Namespace) -> dict[str, Any]:
    result = _trained(OURS, options)
    cost = result.training
    return {
        "minutes": round(cost.seconds / 60, 2),
        "memory": cost.memory,
        "steps": dict(result.steps),
    }


def _baseline(name: str, options: argparse.Namespace) -> dict[str, Any]:
    few, more = (_trained(name, options, steps).training for steps in (FEW, MORE))
    step = (more.seconds - few.seconds) / (MORE - FEW)
    return {
        "minutes": round(step * BUDGET / 60, 2),
        "memory": more.memory,
        "seconds_a_step": round(step, 4),
    }


def _trained(method: str, options: argparse.Namespace, steps: int | None = None) -> JobResult:
    """Train in a fresh process and folder, where nothing is left over that could be gone on with.

    One image is tested, because a job ends with a test.
    """
    pool, tests = montgomery_set(options.data)
    (job,) = jobs_of(
        [method],
        train="montgomery",
        numbers=[options.n],
        seeds=[0],
        iterations=steps,
        size=None if steps is None else SIZE,
    )
    with TemporaryDirectory() as folder:
        series = Series(
            "montgomery",
            pool,
            {"montgomery": first(tests["montgomery"], 1)},
            Path(folder) / "results",
            Path(folder) / "work",
            "cpu",
            starts_of(options, method),
        )
        alone(run_jobs, series, [job])
        return series.finished()[0]


if __name__ == "__main__":
    main()
