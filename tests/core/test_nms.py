from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.boxes import pairwise_iou_3d
from napari_graydet.core.nms import RoiCandidates, nms_3d, vote_rois
from napari_graydet.core.roi import RoiBox


def naive_nms(solids, scores, threshold, classes):
    """The definition, word by word."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept: list[int] = []
    for i in order:
        rivals = [j for j in kept if classes[j] == classes[i]]
        if all(pairwise_iou_3d(solids[[i]], solids[[j]])[0, 0] <= threshold for j in rivals):
            kept.append(i)
    return kept


@given(st.integers(0, 2**32 - 1), st.integers(0, 25), st.floats(0, 1))
def test_agrees_with_the_definition(seed: int, n: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    start = rng.random((n, 3))
    solids = np.concatenate([start, start + rng.random((n, 3))], axis=1)
    scores = rng.integers(0, 5, n) / 4  # with ties
    classes = rng.integers(0, 3, n)
    kept = nms_3d(solids, scores, threshold, classes)
    assert kept.tolist() == naive_nms(solids, scores, threshold, classes)


def test_nan_scores_come_last() -> None:
    solids = np.array([[0, 0, 0, 1, 1, 1.0], [5, 5, 5, 6, 6, 6]])
    assert nms_3d(solids, np.array([np.nan, 0.1]), 0.5).tolist() == [1, 0]


def candidates(seed: int, n: int) -> RoiCandidates:
    rng = np.random.default_rng(seed)
    start = rng.random((n, 2)) * 60
    corners = np.concatenate([start, start + 5 + rng.random((n, 2)) * 60], axis=1)
    return RoiCandidates(corners, rng.random(n), rng.integers(0, 2, n), rng.integers(0, 2, n))


def naive_votes(c: RoiCandidates, views: int, nms: float, voting: float, least: float):
    """The definition, word by word."""

    def overlap(i: int, j: int) -> float:
        if c.classes[i] != c.classes[j]:
            return 0.0
        return RoiBox(*c.corners[i]).iou(RoiBox(*c.corners[j]))

    free = sorted(range(len(c)), key=lambda i: -c.scores[i])
    found = []
    while free:
        best = free[0]
        group = [j for j in free if j == best or overlap(best, j) > nms]
        voters = [j for j in free if j == best or overlap(best, j) >= voting]
        free = [j for j in free if j not in group]
        tops = [
            max((c.scores[j] for j in group if c.views[j] == v), default=0.0) for v in range(views)
        ]
        weights = [c.scores[j] ** 2 for j in voters]
        edges = sum(w * c.corners[j] for w, j in zip(weights, voters, strict=True)) / sum(weights)
        if c.scores[best] >= least and sum(tops) / views >= least:
            found.append((sum(tops) / views, edges, c.classes[best]))
    return sorted(found, key=lambda row: -row[0])


@given(st.integers(0, 2**32 - 1), st.integers(0, 25), st.floats(0.05, 0.95), st.floats(0.05, 1))
def test_votes_agree_with_the_definition(seed: int, n: int, nms: float, voting: float) -> None:
    given_ = candidates(seed, n)
    found = vote_rois(given_, 2, nms_iou=nms, voting_iou=voting, min_score=0.3)
    expected = naive_votes(given_, 2, nms, voting, 0.3)
    assert len(found) == len(expected)
    for i, (score, edges, class_id) in enumerate(expected):
        assert np.isclose(found.scores[i], score)
        assert np.allclose(found.corners[i], edges)
        assert found.classes[i] == class_id


@given(st.integers(0, 2**32 - 1), st.integers(0, 25), st.floats(0.05, 0.95))
def test_one_view_without_votes_is_plain_suppression(seed: int, n: int, nms: float) -> None:
    given_ = candidates(seed, n)
    single = RoiCandidates(
        given_.corners, given_.scores, given_.classes, np.zeros(n, dtype=np.intp)
    )
    found = vote_rois(single, 1, nms_iou=nms, voting_iou=1.0, min_score=0.0)
    flat = np.insert(np.insert(given_.corners, 2, 0.0, axis=1), 5, 1.0, axis=1)
    kept = nms_3d(flat, given_.scores, nms, given_.classes)
    assert np.allclose(found.corners, given_.corners[kept])
    assert np.array_equal(found.scores, given_.scores[kept])
