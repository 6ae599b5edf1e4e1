from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.boxes import pairwise_iou_3d
from napari_graydet.core.nms import nms_3d


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
