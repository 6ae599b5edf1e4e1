"""Ours, the baselines and the simple rivals on real radiographs: acceptance tables 1, 2 and 6.

    python -m benchmarks.compare --train montgomery --n 5 10 25 50 100 --seeds 0 1 \
        --methods graydet+refiner graydet unet attention-unet --iterations 1500 4500
    python -m benchmarks.compare --train tibia --n 25 --seeds 0 1 --methods all
    python -m benchmarks.compare --time          # seconds and memory, stage by stage
    python -m benchmarks.compare --table         # Markdown of what is there
    python -m benchmarks.compare --curves        # the short table of chests in docs/benchmarks.md
    python -m benchmarks.compare --limbs         # the one of tibia and knee crops
    python -m benchmarks.compare --chests        # all methods on chests
    python -m benchmarks.compare --students      # all methods on the knees that students drew

Every job (method, seed, N, budget) is one file in benchmarks/results/compare; a job whose file is
there is skipped, so that a series can be computed in pieces, on several machines. `--iterations`
are those of the whole-image networks; ours has the steps of preset fast (or paper), which stand in
the table. Parts that several methods share are trained once and kept under --work.

Every job runs in a process of its own, so that its peak of memory is its own.

Training and test images never share a patient, test images are the same for every job, and nothing
is chosen on them. What a method holds out for its own choices counts among its N images.

- montgomery: 100 images to draw from, tested on 38 others (of the 40 that the shipped weights have
  never seen) and on all 160 of shenzhen;
- shenzhen: 100 to draw from, tested on 60 others and on all 138 of montgomery;
- tibia, knee: crops of the long-leg images. Every number in the file names is a patient, of whom
  there is one crop of each kind, and who is on the same side for both; 145 to draw from, 97 tested;
- knee-students: the set `knee`, 42 to draw from, 18 tested; patients unknown.

Tomography slices are of one specimen and are therefore not here. Ours starts from detectors and a
refiner of phantoms alone (`--starts`, made by ``python -m benchmarks.compare_starts``): the shipped
weights have seen most of Montgomery, so that they would know the "other hospital" already. The
baselines start from random weights, as in the paper, and so does preset paper but for YOLO, which
starts from COCO (`--darknet`), and PointNet, which starts from ModelNet where one is given.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.alone import alone
from benchmarks.compare_curves import chests, learning_curves, limbs, students
from benchmarks.compare_starts import FOLDER, start
from napari_graydet.project import splits
from napari_graydet.workflows import shipped_data as td
from napari_graydet.workflows.compare.compare import Series, jobs_of, run_jobs
from napari_graydet.workflows.compare.methods import METHODS
from napari_graydet.workflows.compare.picture import write_picture
from napari_graydet.workflows.compare.results import read_results
from napari_graydet.workflows.compare.summary import summarise
from napari_graydet.workflows.compare.tables import markdown
from napari_graydet.workflows.dataset import Dataset, from_folders

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "compare"
SHARED = HERE.parents[1] / "shared"

MONTGOMERY_TEST, SHENZHEN_TEST, LIMB_TEST, KNEE_TEST = 38, 60, 0.4, 0.3
LIMB_PATIENT = r"_(\d{6})\d\d_"
ITERATIONS = 1500


def main() -> None:
    options = _options()
    if options.time:
        from benchmarks.compare_time import time_methods

        time_methods(options)
        return
    shown = {"curves": learning_curves, "limbs": limbs, "chests": chests, "students": students}
    for name, table in shown.items():
        if getattr(options, name):
            print(table(read_results(options.out)))
            return
    if not options.table:
        _train(options)
    print(markdown(summarise(read_results(options.out))))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--train", choices=SETS, default="montgomery")
    parser.add_argument("--n", type=int, nargs="+", default=[25], help="training images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--methods", nargs="+", default=["all"], choices=["all", *METHODS])
    parser.add_argument("--iterations", type=int, nargs="+", default=[ITERATIONS])
    parser.add_argument("--size", type=int, help="side of the baselines' pictures, pixels")
    parser.add_argument("--starts", type=Path, default=FOLDER, help="what ours starts from")
    parser.add_argument("--darknet", type=Path, default=SHARED / "weights" / "yolov3-tiny.weights")
    parser.add_argument("--pointnet", type=Path, help="PointNet of ModelNet, for preset paper")
    parser.add_argument("--refiner", type=Path, help="with --time: which refiner")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "compare")
    parser.add_argument("--picture", type=Path, help="draw the cases of the first test set there")
    parser.add_argument("--limit", type=int, help="only so many test images of each set")
    parser.add_argument("--time", action="store_true", help="measure time and memory instead")
    parser.add_argument("--table", action="store_true", help="print tables, compute nothing")
    parser.add_argument("--curves", action="store_true", help="ours and networks on chests, by N")
    parser.add_argument("--limbs", action="store_true", help="all methods on limbs, N = 25")
    parser.add_argument("--chests", action="store_true", help="all methods on chests, N = 25")
    parser.add_argument("--students", action="store_true", help="all on students' knees, N = 25")
    return parser.parse_args()


def _train(options: argparse.Namespace) -> None:
    pool, tests = SETS[options.train](options.data)
    if options.limit is not None:
        tests = {name: first(data, options.limit) for name, data in tests.items()}
    series = Series(options.train, pool, tests, options.out, options.work, options.device)
    methods = list(METHODS) if "all" in options.methods else options.methods
    jobs = {
        job.key: job
        for iterations in options.iterations
        for job in jobs_of(
            methods,
            train=options.train,
            numbers=options.n,
            seeds=options.seeds,
            iterations=iterations,
            size=options.size,
        )
    }
    for place, job in enumerate(jobs.values(), start=1):
        print(f"{place}/{len(jobs)} {job.key}", file=sys.stderr, flush=True)
        alone(run_jobs, replace(series, starts=starts_of(options, job.method)), [job])
    if options.picture is not None:
        name, data = next(iter(tests.items()))
        write_picture(options.picture, name, data, series.kept_masks())


def starts_of(options: argparse.Namespace, method: str) -> dict[str, Path | None]:
    """Return what a method starts from: COCO weights for the paper's, phantoms alone for ours."""
    if METHODS[method].whole_image:  # as in the paper, from random weights
        return {}
    if method == "paper":
        pointnet = {} if options.pointnet is None else {"pointnet": options.pointnet}
        return {"roi": options.darknet, "boxes": start("boxes", options.starts), **pointnet}
    return {name: start(name, options.starts) for name in ("roi", "boxes", "refiner")}


def first(data: Dataset, count: int | None) -> Dataset:
    """Return the first images of a set; None takes all."""
    return data.subset([case.name for case in data.cases[:count]])


# --- The sets -----------------------------------------------------------------------------------

Sides = tuple[Dataset, Mapping[str, Dataset]]


def _chest(data: Path) -> tuple[Dataset, list[str], list[str]]:
    """Return the chest images and the stems of both hospitals."""
    chest = from_folders(data / "chest" / "images", data / "chest" / "masks", label="lung")
    montgomery = td.montgomery_stems(data)
    return chest, montgomery, sorted(set(chest.patients) - set(montgomery))


def montgomery_set(data: Path) -> Sides:
    """Return training images of Montgomery, and the tests in both hospitals."""
    chest, montgomery, shenzhen = _chest(data)
    test = td.montgomery_stems(data, "held out")[:MONTGOMERY_TEST]
    pool = chest.subset(set(montgomery) - set(test))
    return pool, {"montgomery": chest.subset(test), "shenzhen": chest.subset(shenzhen)}


def shenzhen_set(data: Path) -> Sides:
    """Return training images of Shenzhen, and the tests in both hospitals."""
    chest, montgomery, shenzhen = _chest(data)
    patients = {name: patient for name, patient in chest.patients.items() if name in set(shenzhen)}
    share = SHENZHEN_TEST / len(shenzhen)
    split = splits.by_patient(patients, seed=td.SEED, validation=0.0, test=share)
    tests = {"shenzhen": chest.subset(split.test), "montgomery": chest.subset(montgomery)}
    return chest.subset(split.train), tests


def limb_set(kind: str, data: Path) -> Sides:
    """Return crops of one kind; who is tested on is the same for both kinds."""
    folder = data / "limb"
    limb = from_folders(folder / "images", folder / "masks", label="bone", patients=LIMB_PATIENT)
    split = splits.by_patient(limb.patients, seed=td.SEED, validation=0.0, test=LIMB_TEST)
    pool, test = (
        limb.subset([name for name in side if name.startswith(f"{kind}_")])
        for side in (split.train, split.test)
    )
    return pool, {kind: test}


def students_set(data: Path) -> Sides:
    """Return the X-rays of knees whose masks students drew."""
    knee = from_folders(data / "knee" / "images", data / "knee" / "masks", label="bone")
    split = splits.by_patient(knee.patients, seed=td.SEED, validation=0.0, test=KNEE_TEST)
    return knee.subset(split.train), {"knee-students": knee.subset(split.test)}


SETS = {
    "montgomery": montgomery_set,
    "shenzhen": shenzhen_set,
    "tibia": partial(limb_set, "tibia"),
    "knee": partial(limb_set, "knee"),
    "knee-students": students_set,
}


if __name__ == "__main__":
    main()
