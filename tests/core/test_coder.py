from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.anchors import AnchorGrid, centre_width_of, edges_of
from napari_graydet.core.coder import decode, encode
from napari_graydet.errors import GeometryError

boxes = st.tuples(st.floats(-1, 2), st.floats(0.01, 2))


@given(boxes, boxes)
def test_decode_undoes_encode(p: tuple[float, float], g: tuple[float, float]) -> None:
    np.testing.assert_allclose(decode(p, encode(p, g)), g, rtol=1e-9, atol=1e-12)


def test_deltas_are_the_papers() -> None:
    t = encode([0.5, 0.2], [0.6, 0.4])
    np.testing.assert_allclose(t, [(0.6 - 0.5) / 0.2, np.log(0.4 / 0.2)])


@given(boxes, st.tuples(st.floats(allow_nan=True), st.floats(allow_nan=True)))
def test_no_delta_gives_nan_or_negative_height(
    p: tuple[float, float], d: tuple[float, float]
) -> None:
    with np.errstate(over="ignore"):
        out = decode(p, d)
    assert not np.isnan(out).any() and out[1] > 0


def test_flat_boxes_cannot_be_encoded() -> None:
    with pytest.raises(GeometryError):
        encode([0.5, 0.0], [0.5, 0.1])


@given(st.integers(1, 64), st.lists(st.floats(0.01, 1), min_size=1, max_size=5))
def test_anchor_grid(n: int, scales: list[float]) -> None:
    grid = AnchorGrid(n, tuple(scales))
    assert grid.anchors.shape == (n * len(scales), 2) == (len(grid), 2)
    assert (grid.edges >= 0).all() and (grid.edges <= 1).all()
    assert (grid.edges[:, 1] > grid.edges[:, 0]).all()
    np.testing.assert_allclose(np.unique(grid.anchors[:, 0]), (np.arange(n) + 0.5) / n)


@given(st.floats(0.3, 0.7), st.floats(0.01, 0.5))
def test_edges_and_centres_agree(centre: float, width: float) -> None:
    np.testing.assert_allclose(centre_width_of(edges_of([centre, width])), [centre, width])


def test_an_empty_grid_is_refused() -> None:
    for bad in ((0, (0.1,)), (4, ()), (4, (0.0,))):
        with pytest.raises(GeometryError):
            AnchorGrid(*bad)
