"""The tables of docs/benchmarks.md that set ours beside whole-image networks, from the results.

    python -m benchmarks.compare --curves      # learning curves on chests
    python -m benchmarks.compare --limbs       # all methods on tibia and knee crops
    python -m benchmarks.compare --chests      # all methods on chests
    python -m benchmarks.compare --students    # all methods on the knees that students drew

``python -m benchmarks.compare --table`` has all figures of all methods; these are what is read
first: one line for each training or method, and ours minus the U-Net with its interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from napari_graydet.workflows.compare.results import JobResult, Score
from napari_graydet.workflows.compare.statistics import Interval, compare_paired
from napari_graydet.workflows.evaluation.report import markdown_table

OURS, RIVAL = "graydet+refiner", "unet 1850it 128px"
NETWORKS = {
    "ours, refined": OURS,
    "U-Net": RIVAL,
    "U-Net, 3 x steps": "unet 5550it 128px",
    "Res-UNet": "res-unet 1850it 128px",
    "Attention U-Net": "attention-unet 1850it 128px",
    "FCN": "fcn 1850it 128px",
    "U-Net++": "unet++ 1850it 128px",
    "U-Net++, 3 x steps": "unet++ 5550it 128px",
}
OTHERS = {
    "ours, boxes alone": "graydet",
    "preset `paper`": "paper",
    "multi-Otsu": "multi-otsu",
    "ridge": "ridge",
    "Otsu": "otsu",
    "constant range": "constant",
}
CHESTS = ("montgomery", "shenzhen")
UNUSED = "Montgomery, those not used in 0014 and 0018"
NOTHING = "–"
METHODS = {name: t for name, t in NETWORKS.items() if not name.endswith("3 x steps")} | OTHERS
FIGURES = ("DSC", "IoU", "FN", "FP", "HD95")

Dice = dict[str, float]
"""DSC by image."""


@dataclass(frozen=True)
class Row:
    """One training, tested on one set: DSC by method and image."""

    n: int
    train: str
    seed: int
    test: str
    dice: Mapping[str, Dice]

    def gain(self, over: str = RIVAL) -> Interval | None:
        """Return ours minus the U-Net or another, None where one of them has not been run."""
        if not {OURS, over} <= self.dice.keys():
            return None
        ours, rival = self.dice[OURS], self.dice[over]
        images = sorted(ours)
        return compare_paired([ours[i] for i in images], [rival[i] for i in images], images).gain

    def only(self, test: str, images: set[str]) -> Row:
        """Return the same for some of the images."""
        kept = {
            method: {image: value for image, value in dice.items() if image in images}
            for method, dice in self.dice.items()
        }
        return Row(self.n, self.train, self.seed, test, kept)


def learning_curves(results: Sequence[JobResult]) -> str:
    """Return the chest table, and in how many of its figures ours is told apart from the others."""
    rows = _rows(results)
    heads = ["trained on", "seed", "tested on", "images", "ours, refined", "U-Net"]
    others = list(NETWORKS)[2:]
    table = markdown_table(
        [*heads, "ours minus U-Net", *others], [_curve_cells(row, others) for row in rows]
    )
    return (
        f"{table}\n\nOurs is ahead of the U-Net in {_told(rows, [RIVAL])}; of all whole-image "
        f"networks in {_told(rows, list(NETWORKS.values())[1:])}."
    )


def _told(rows: Sequence[Row], rivals: Sequence[str]) -> str:
    """Say in how many of its comparisons ours is ahead or behind, the interval beside 0."""
    gains = [gain for row in rows for rival in rivals if (gain := row.gain(rival)) is not None]
    ahead, behind = sum(gain.low > 0 for gain in gains), sum(gain.high < 0 for gain in gains)
    higher = sum(gain.mean > 0 for gain in gains)
    return f"{ahead} of {len(gains)} figures ({higher} by the mean alone), behind in {behind}"


def limbs(results: Sequence[JobResult]) -> str:
    """Return the table of all methods on crops of limbs."""
    return _all_methods(results, [("tibia", "tibia"), ("knee", "knee")], FIGURES)


def students(results: Sequence[JobResult]) -> str:
    """Return the table of all methods on the knees whose tibia students drew."""
    return _all_methods(results, [("knee-students", "knee-students")], FIGURES)


def chests(results: Sequence[JobResult]) -> str:
    """Return the table of all methods on chests, at home and in the other hospital."""
    places = [(train, test) for train in CHESTS for test in sorted(CHESTS, key=train.__ne__)]
    return _all_methods(results, places, ["DSC", "IoU", "HD95"])


def _all_methods(
    results: Sequence[JobResult], places: Sequence[tuple[str, str]], figures: Sequence[str]
) -> str:
    """Return a table with a line for each method: 25 training images, seed 0."""
    found = {(r.job.train, r.job.title): r for r in results if (r.job.n, r.job.seed) == (25, 0)}
    columns: list[list[str]] = []
    for train, test in places:
        scores = [
            None if (result := found.get((train, title))) is None else result.scores[test]
            for title in METHODS.values()
        ]
        columns += [_column(scores, figure) for figure in figures]
    heads = [
        f"{_place(train, test)}: {figure}" if figure == figures[0] else figure
        for train, test in places
        for figure in figures
    ]
    gains = [
        f"{_place(train, test)}: ours minus U-Net {_signed(gain)}"
        for train, test in places
        if (gain := _row(25, train, 0, test, results).gain()) is not None
    ]
    cells = [list(line) for line in zip(METHODS, *columns, strict=True)]
    return "\n\n".join([markdown_table(["method", *heads], cells), "; ".join(gains)])


def _place(train: str, test: str) -> str:
    return test if train == test else f"{train} -> {test}"


def _values(scores: Sequence[Score], figure: str) -> list[float]:
    """Return a figure of all images; a method that failed on one has a DSC of nothing there."""
    if figure == "DSC":
        return [score.dice or 0.0 for score in scores]
    return [value for score in scores if (value := getattr(score, figure.lower())) is not None]


def _column(scores: Sequence[Sequence[Score] | None], figure: str) -> list[str]:
    """Return one figure of all methods, and over how many images if not all; bold: best DSC."""
    values = [None if of is None else _values(of, figure) for of in scores]
    means = [None if of is None else fmean(of) for of in values]
    places = 1 if figure == "HD95" else 4 if figure == "DSC" else 3
    plain = [NOTHING if mean is None else _plain(mean, places) for mean in means]
    plain = [
        text if of is None or known is None or len(known) == len(of) else f"{text} ({len(known)})"
        for text, of, known in zip(plain, scores, values, strict=True)
    ]
    if figure != "DSC":
        return plain
    best = max((mean for mean in means if mean is not None), default=None)
    return [
        f"**{text}**" if mean is not None and mean == best else text
        for text, mean in zip(plain, means, strict=True)
    ]


def _rows(results: Sequence[JobResult]) -> list[Row]:
    found = [result for result in results if result.job.train in CHESTS]
    trainings = sorted({(r.job.n, r.job.train, r.job.seed) for r in found})
    unused = _not_used_in_choices(found)
    rows = []
    for n, train, seed in trainings:
        for test in (train, *(name for name in CHESTS if name != train)):
            row = _row(n, train, seed, test, found)
            if RIVAL in row.dice:
                rows.append(row)
                if train == "shenzhen" and test == "montgomery":
                    rows.append(row.only(UNUSED, unused))
    return rows


def _row(n: int, train: str, seed: int, test: str, results: Sequence[JobResult]) -> Row:
    dice = {
        result.job.title: {score.image: score.dice or 0.0 for score in result.scores[test]}
        for result in results
        if (result.job.n, result.job.train, result.job.seed) == (n, train, seed)
        and test in result.scores
    }
    return Row(n, train, seed, test, dice)


def _not_used_in_choices(results: Sequence[JobResult]) -> set[str]:
    """Return the Montgomery images that docs/decisions/0014 and 0018 were not chosen on.

    Choices were made on those that are neither tested on by networks trained on Montgomery nor
    among its 25 training images of seed 0.
    """
    home: set[str] = set()
    for result in results:
        if result.job.train == "montgomery":
            home |= {score.image for score in result.scores.get("montgomery", [])}
            if (result.job.n, result.job.seed) == (25, 0):
                home |= set(result.images)
    return home


def _curve_cells(row: Row, others: Sequence[str]) -> list[str]:
    means = {method: fmean(dice.values()) for method, dice in row.dice.items() if dice}
    best = max(means.values())
    gain = row.gain()

    def cell(name: str) -> str:
        mean = means.get(NETWORKS[name])
        if mean is None:
            return NOTHING
        return f"**{_plain(mean)}**" if mean == best else _plain(mean)

    return [
        f"{row.n} {row.train.capitalize()}",
        str(row.seed),
        row.test[0].upper() + row.test[1:],
        str(len(row.dice[RIVAL])),
        cell("ours, refined"),
        cell("U-Net"),
        NOTHING if gain is None else _signed(gain),
        *(cell(name) for name in others),
    ]


def _plain(value: float, places: int = 4) -> str:
    return f"{value:.{places}f}".removeprefix("0")


def _signed(gain: Interval) -> str:
    def words(value: float) -> str:
        return f"{value:+.3f}".replace("0.", ".", 1)

    return f"{words(gain.mean)} [{words(gain.low)}, {words(gain.high)}]"
