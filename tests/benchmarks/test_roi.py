"""The ROI benchmark's figures against an independent reckoning on small cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks.roi import SHIPPED, compared, summary, table
from napari_graydet.core.proposals import RoiProposal
from napari_graydet.core.roi import RoiBox

LEAST = 0.2

Truth = list[RoiBox]
Found = list[RoiProposal]


def random_image(rng: np.random.Generator) -> tuple[Truth, Found]:
    """Draw true boxes, and proposals near them, elsewhere, twice, and of another class."""

    def box(near: RoiBox | None = None) -> RoiBox:
        x, y, w, h = rng.uniform(0, 40), rng.uniform(0, 40), *rng.uniform(8, 20, 2)
        if near is not None:
            x, y = near.x0 + rng.normal(0, 2), near.y0 + rng.normal(0, 2)
            w, h = near.width, near.height
        return RoiBox(x, y, x + w, y + h)

    truth = [box() for _ in range(rng.integers(0, 4))]
    near = [box(t) for t in truth for _ in range(rng.integers(0, 3))]
    boxes = [*near, *(box() for _ in range(rng.integers(0, 3)))]
    labels = rng.choice(["lung", "lung", "lung", "bone"], len(boxes))
    found = [
        RoiProposal(roi, str(label), float(rng.random()))
        for roi, label in zip(boxes, labels, strict=True)
    ]
    return truth, found


def overlap(a: RoiBox, b: RoiBox) -> float:
    width = max(0.0, min(a.x1, b.x1) - max(a.x0, b.x0))
    height = max(0.0, min(a.y1, b.y1) - max(a.y0, b.y0))
    both = width * height
    return both / ((a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - both)


def right_ones(truth: Truth, found: Found) -> list[RoiProposal]:
    """Return the proposals that claim a true box first, the surest first."""
    free, right = dict(enumerate(truth)), []
    for p in sorted(found, key=lambda p: -p.score):
        most = max(range(len(truth)), key=lambda i: overlap(p.roi, truth[i]), default=None)
        if most in free and overlap(p.roi, truth[most]) >= 0.5:
            del free[most]
            right.append(p)
    return right


def reference(images: list[tuple[Truth, Found]]) -> dict[str, float]:
    """Every figure by its definition, threshold by threshold."""
    own = [(truth, [p for p in found if p.label == "lung"]) for truth, found in images]
    total = sum(len(truth) for truth, _ in own)
    points = []
    for least in sorted({p.score for _, found in own for p in found}):
        kept = [(truth, [p for p in found if p.score >= least]) for truth, found in own]
        hits = sum(len(right_ones(truth, found)) for truth, found in kept)
        points.append((hits / total, hits / sum(len(found) for _, found in kept)))
    recalls = [n / total for n in range(1, total + 1)]
    ap = sum(max((p for r, p in points if r >= at - 1e-9), default=0.0) for at in recalls) / total
    shown = [(truth, [p for p in found if p.score >= LEAST]) for truth, found in own]
    best = [
        max((overlap(true, p.roi) for p in found), default=0.0)
        for truth, found in shown
        for true in truth
    ]
    wrong = [len(found) - len(right_ones(truth, found)) for truth, found in shown]
    other = [sum(p.label == "bone" and p.score >= LEAST for p in found) for _, found in images]
    return {
        "AP50": ap,
        "ROI IoU": sum(best) / total,
        "missed": sum(value < 0.5 for value in best) / total,
        "false": sum(wrong) / len(images),
        "other class": sum(other) / len(images),
    }


def rows_of(images: list[tuple[Truth, Found]]) -> list[dict[str, object]]:
    return [
        {"image": str(number), "class": "lung"} | compared(truth, found, "lung", LEAST)
        for number, (truth, found) in enumerate(images)
    ]


@pytest.mark.parametrize("seed", range(25))
def test_figures_are_what_their_definitions_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [random_image(rng) for _ in range(5)]
    images.append(([RoiBox(0, 0, 9, 9)], []))  # at least one true part
    got = summary(rows_of(images))
    for name, value in reference(images).items():
        mean, low, high = got[name]
        assert mean == pytest.approx(value, abs=2e-5), name
        assert low <= high
    assert got["parts"] == sum(len(truth) for truth, _ in images)


def test_a_perfect_and_a_blind_detector() -> None:
    truth = [RoiBox(0, 0, 10, 10), RoiBox(20, 0, 30, 10)]
    found = [RoiProposal(roi, "lung", 0.9) for roi in truth]
    perfect, blind = (summary(rows_of([(truth, f)] * 3)) for f in (found, []))
    assert perfect["AP50"] == perfect["ROI IoU"] == [1.0, 1.0, 1.0]
    assert perfect["missed"] == perfect["false"] == [0.0, 0.0, 0.0]
    assert blind["AP50"] == blind["ROI IoU"] == [0.0, 0.0, 0.0]
    assert blind["missed"] == [1.0, 1.0, 1.0]


def test_the_mean_over_classes_weighs_classes_alike() -> None:
    def job(name: str, label: str, ap: float) -> dict[str, object]:
        columns = ("ROI IoU", "missed", "false", "other class")
        figures = {column: [0.0, 0.0, 0.0] for column in columns}
        summary = {"class": label, "images": 1, "parts": 1, "AP50": [ap, ap, ap]} | figures
        return {"label": SHIPPED, "set": name, "summary": summary}

    jobs = [job("shenzhen", "lung", 0.9), job("hand", "bone", 0.5), job("forearm", "bone", 0.7)]
    for order in itertools.permutations(jobs):
        text = table(order)
        assert "mAP50 0.750 (bone 0.600, lung 0.900)" in text
        assert [line.split("|")[2].strip() for line in text.splitlines()[2:5]] == [
            "shenzhen",
            "forearm",
            "hand",
        ]
