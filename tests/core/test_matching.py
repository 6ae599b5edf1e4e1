"""Which found region belongs to which true one, and average precision, against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_graydet.core.matching import average_precision, match_rois
from napari_graydet.core.proposals import RoiProposal
from napari_graydet.core.roi import RoiBox

boxes = st.builds(
    lambda x, y, w, h: RoiBox(x, y, x + w, y + h),
    *(st.integers(0, 6) for _ in range(2)),
    *(st.integers(1, 6) for _ in range(2)),
)
proposals = st.builds(
    RoiProposal, boxes, st.just("bone"), st.integers(0, 1000).map(lambda v: v / 1000)
)


@settings(max_examples=60)
@given(st.lists(boxes, max_size=3), st.lists(boxes, max_size=3))
def test_no_other_matching_has_more_iou(truth: list[RoiBox], found: list[RoiBox]) -> None:
    matches = match_rois(truth, found)
    assert len(matches) == len(truth)
    places = [place for place, _ in matches if place is not None]
    assert len(set(places)) == len(places)
    for true, (place, value) in zip(truth, matches, strict=True):
        assert value == (0.0 if place is None else pytest.approx(true.iou(found[place])))
    # one slot more for each true ROI stands for "missed"
    slots = [*range(len(found)), *[None] * len(truth)]
    best = max(
        sum(t.iou(found[p]) for t, p in zip(truth, chosen, strict=True) if p is not None)
        for chosen in itertools.permutations(slots, len(truth))
    )
    assert sum(value for _, value in matches) == pytest.approx(best)


def reference_precision(images: list[tuple[list[RoiBox], list[RoiProposal]]]) -> float:
    """AP50 by its definition: the mean over true ROIs of the best precision at their recall."""
    total = sum(len(truth) for truth, _ in images)
    scores = sorted({p.score for _, found in images for p in found}, reverse=True)
    assert len(scores) == sum(len(found) for _, found in images)
    points = []
    for least in scores:
        hits = 0
        for truth, found in images:
            free = set(range(len(truth)))
            for p in sorted(found, key=lambda p: -p.score):
                overlaps = [p.roi.iou(t) for t in truth]
                best = int(np.argmax(overlaps)) if overlaps else None
                if p.score >= least and best in free and overlaps[best] >= 0.5:
                    free.discard(best)
                    hits += 1
        shown = sum(p.score >= least for _, found in images for p in found)
        points.append((hits, hits / shown))
    needed = range(1, total + 1)
    return sum(max((p for hits, p in points if hits >= n), default=0.0) for n in needed) / total


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.lists(boxes, max_size=3), st.lists(proposals, max_size=4)),
        min_size=1,
        max_size=3,
    )
)
def test_average_precision_is_what_its_definition_says(
    images: list[tuple[list[RoiBox], list[RoiProposal]]],
) -> None:
    number = itertools.count()
    images = [  # no two scores alike: their order would be nobody's business
        (truth, [RoiProposal(p.roi, p.label, p.score - next(number) * 1e-6) for p in found])
        for truth, found in images
    ]
    got = average_precision(images)
    if not any(truth for truth, _ in images):
        assert got is None
    else:
        assert got == pytest.approx(reference_precision(images))


def test_average_precision_by_hand() -> None:
    a, b, c = (RoiBox(x, 0, x + 10, 10) for x in (0, 20, 40))
    elsewhere = RoiBox(80, 80, 90, 90)

    def found(*rois: RoiBox) -> list[RoiProposal]:
        return [RoiProposal(roi, "bone", 0.9 - 0.1 * n) for n, roi in enumerate(rois)]

    assert average_precision([([a, b], found(a, b))]) == 1.0
    assert average_precision([([a, b], found(a))]) == 0.5
    assert average_precision([([a, b], found(a, a, b))]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([([a], found(elsewhere, a))]) == 0.5
    assert average_precision([([a], []), ([c], found(c))]) == 0.5
    assert average_precision([([a], [])]) == 0.0
    assert average_precision([([], found(a))]) is None
