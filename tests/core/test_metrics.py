from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core import metrics
from napari_graydet.errors import MaskError

pairs = st.builds(
    lambda seed, shape, p: tuple(
        rng.random(shape) < p for rng in np.random.default_rng(seed).spawn(2)
    ),
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.floats(0.05, 0.95),
)


@given(pairs)
def test_metrics_agree_with_sets(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = ({tuple(p) for p in np.argwhere(m)} for m in pair)
    union, both = a | b, a & b
    assert metrics.iou(*pair) == pytest.approx(len(both) / len(union) if union else 1)
    assert metrics.dice(*pair) == pytest.approx(2 * len(both) / (len(a) + len(b)) if union else 1)
    assert metrics.false_negative(*pair) == pytest.approx(len(b - a) / len(b) if b else 0)
    assert metrics.false_positive(*pair) == pytest.approx(len(a - b) / len(a) if a else 0)


def naive_hd95(a: np.ndarray, b: np.ndarray) -> float:
    def border(m: np.ndarray) -> np.ndarray:
        p = np.pad(m, 1)
        inner = p[:-2, 1:-1] & p[2:, 1:-1] & p[1:-1, :-2] & p[1:-1, 2:]
        return np.argwhere(m & ~inner)

    p, q = border(a), border(b)
    d = np.sqrt(((p[:, None] - q[None]) ** 2).sum(-1))
    return float(max(np.percentile(d.min(1), 95), np.percentile(d.min(0), 95)))


@given(pairs)
def test_hd95_agrees_with_all_pairs(pair: tuple[np.ndarray, np.ndarray]) -> None:
    if pair[0].any() and pair[1].any():
        assert metrics.hd95(*pair) == pytest.approx(naive_hd95(*pair))
        assert metrics.hd95(*pair, spacing=(2, 2)) == pytest.approx(2 * metrics.hd95(*pair))


@given(pairs)
def test_dice_follows_from_iou(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert metrics.dice_of_iou(metrics.iou(*pair)) == pytest.approx(metrics.dice(*pair))


def test_empty_masks_follow_the_rules() -> None:
    empty, full = np.zeros((3, 3), bool), np.ones((3, 3), bool)
    assert metrics.iou(empty, empty) == metrics.dice(empty, empty) == 1
    assert metrics.hd95(empty, empty) == 0
    assert metrics.iou(empty, full) == metrics.dice(full, empty) == 0
    assert metrics.hd95(empty, full) == float("inf")


def test_sizes_must_agree() -> None:
    with pytest.raises(MaskError, match="same size"):
        metrics.iou(np.zeros((2, 2), bool), np.zeros((2, 3), bool))
