"""How well the uncertainty ranks bad masks first (core/uncertainty.py).

    python -m benchmarks.uncertainty --data ../shared/data

The whole line: ROI detector, 3D box detector, raw mask (with --refiner the refined one, and how far
it disagrees is a sign, too). Per set: the AUROC of the image's doubt for "DSC below 0.9", and,
because few raw masks reach 0.9 at all, for "DSC below the set's median", each with an interval of
the bootstrap over patients; the rank correlation with DSC, of every sign alone as well; and the
mean DSC of the most and the least doubtful quarter. With --roi-weights and --box-weights it is told
of retrained detectors; the images in --trained-on, and all others of their patients, are left out.

Sets of bones (`limb`, `knee`) are halved by patient: which signs to take, and that all count alike,
was decided on the first half; the second is the test. No number in core/uncertainty.py comes from
these sets, as nothing shipped may learn from them: `--scales` measures centre and scale of each
sign on Montgomery's training side, as detected and with ROIs that were moved and resized at random,
as a detector's are where it is lost, and looks how phantoms with such ROIs are ranked. Signs are
kept per image under --work, so that a run that was cut goes on where it stopped.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from benchmarks.uncertainty_figures import BAD, scales, summary, table
from benchmarks.uncertainty_rows import Line, Row, rows_of
from napari_graydet.io.files import atomic_write_text
from napari_graydet.io.images import read_image
from napari_graydet.io.masks import read_mask
from napari_graydet.project.splits import by_patient
from napari_graydet.workflows import phantoms
from napari_graydet.workflows import shipped_data as td

HERE = Path(__file__).parent
PEOPLE = {"tibia": slice(12, 18), "knee": slice(11, 17)}
"""Where the person stands in a stem of `limb`; the rest is the visit."""


def main() -> None:
    options = _options()
    line = Line(options)
    work: Path = options.work / line.key
    work.mkdir(parents=True, exist_ok=True)
    if options.scales:
        sets = {
            name: rows_of(name, s, work, measure) for name, s, measure in _scaling(options, line)
        }
        print(scales(sets))
        return
    measured: dict[str, list[Row]] = {}
    for name, samples in _test_sets(options):
        measured[name] = rows_of(name, samples, work, line)
        print(f"{name}: {json.dumps(summary(measured[name]))}", flush=True)
    limb = [rows for name, rows in measured.items() if name.startswith("limb")]
    if len(limb) > 1:
        measured["limb, both"] = [row for rows in limb for row in rows]
    results = {name: summary(rows) for name, rows in measured.items()}
    document = json.loads(options.out.read_text()) if options.out.exists() else {}
    document[options.name] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seed": td.SEED,
        "bad": f"DSC < {BAD}",
        "weights": line.digests,
        "trained_on": sorted(_trained_on(options)),
        "results": results,
    }
    atomic_write_text(options.out, json.dumps(document, indent=2) + "\n")
    print(table(results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "uncertainty.json")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "uncertainty")
    parser.add_argument("--cache", type=Path, help="folder that keeps drawn phantoms")
    parser.add_argument("--name", default="shipped", help="of these detectors, in the results")
    parser.add_argument("--roi-weights", type=Path, help="default: the shipped ones")
    parser.add_argument("--box-weights", type=Path, help="default: the shipped ones")
    parser.add_argument("--refiner", type=Path, help="weights of a refiner; default: none")
    parser.add_argument("--trained-on", type=Path, help="folder of images they learned from")
    parser.add_argument("--sets", nargs="+", help="only these test sets")
    parser.add_argument("--limit", type=int, help="only so many images of each set, evenly taken")
    parser.add_argument(
        "--phantoms", type=int, default=6, help="phantoms of each kind for --scales"
    )
    parser.add_argument("--scales", action="store_true", help="measure the scales of the signs")
    return parser.parse_args()


# --- Sets -----------------------------------------------------------------------------------


def _test_sets(options: argparse.Namespace) -> Iterator[tuple[str, list[Callable[[], td.Sample]]]]:
    """Yield the test sets, each as its samples that are still to be read."""
    data, trained_on = options.data, _trained_on(options)
    sets: dict[str, list[tuple[Path, str]]] = {
        "montgomery held out": [
            (data / "chest" / "images" / f"{stem}.png", stem)
            for stem in td.montgomery_stems(data, "held out")
        ],
        "shenzhen": [
            (path, path.stem) for path in sorted((data / "chest/images").glob("CHNCXR_*.png"))
        ],
        "limb tibia": bone_half(data, "tibia", "test"),
        "limb knee": bone_half(data, "knee", "test"),
        "knee": [
            (path, path.stem)
            for path in sorted((data / "knee" / "images").glob("*.png"))
            if path.stem in by_patient(_knee_people(data), seed=0, validation=0.5).validation
        ],
    }
    for name, images in sets.items():
        if options.sets is None or name in options.sets:
            kept = [(path, who) for path, who in images if who not in trained_on]
            every = -(-len(kept) // (options.limit or len(kept)))
            yield name, [_reader(path, who, name) for path, who in kept[::every]]


def bone_half(data: Path, prefix: str, side: str) -> list[tuple[Path, str]]:
    """Return the images of one half of `limb`, "design" or "test", each with its person."""
    folder = data / "limb" / "images"
    people = {
        path.stem: path.stem[PEOPLE[kind]]
        for kind in PEOPLE
        for path in sorted(folder.glob(f"{kind}_*.png"))
    }
    split = by_patient(people, seed=0, validation=0.5)
    chosen = split.validation if side == "test" else split.train
    return [(folder / f"{s}.png", people[s]) for s in chosen if s.startswith(prefix)]


def _knee_people(data: Path) -> dict[str, str]:
    return {path.stem: path.stem for path in (data / "knee" / "images").glob("*.png")}


def _trained_on(options: argparse.Namespace) -> set[str]:
    """Return the people that the detectors learned from, as far as stems of `limb` tell."""
    if options.trained_on is None:
        return set()
    stems = [path.stem for path in options.trained_on.glob("*.png")]
    return {s[PEOPLE[k]] for s in stems for k in PEOPLE if s.startswith(f"{k}_")}


def _reader(path: Path, who: str, name: str) -> Callable[[], td.Sample]:
    def read() -> td.Sample:
        image = read_image(path)
        mask = read_mask(path.parents[1] / "masks" / path.name, image.shape)
        label = "lung" if path.parents[1].name == "chest" else "bone"
        return td.Sample(image, label, td.connected_parts(mask), name, f"{who}/{path.stem}")

    return read


def _scaling(
    options: argparse.Namespace, line: Line
) -> Iterator[tuple[str, Iterable[td.Sample], Callable[[td.Sample], Row]]]:
    yield "montgomery train", td.montgomery_samples(options.data, "train"), line
    yield "montgomery train, moved", td.montgomery_samples(options.data, "train"), line.moved
    for kind in phantoms.KINDS:
        found = td.phantom_samples(
            kind, options.phantoms, start=td.CHOICE_START, cache=options.cache
        )
        yield f"{kind} phantoms, moved", found, line.moved


if __name__ == "__main__":
    main()
