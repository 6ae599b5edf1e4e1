"""Laws of the network: pooling over ranges is exact, and shared features change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from napari_graydet.models.pointnet import (
    LEVELS,
    PointNet,
    PointNetConfig,
    gray_statistics,
    indexed_keys,
    level_maxima,
    maxima_over_ranges,
    points_of,
    range_maxima,
    range_means,
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def make_levels(generator: torch.Generator, n: int, first: int = 0, stop: int = LEVELS) -> Tensor:
    return torch.randint(first, stop, (1, n), generator=generator)


@st.composite
def level_range(draw: st.DrawFn) -> tuple[int, int]:
    first = draw(st.integers(0, LEVELS - 1))
    return first, draw(st.integers(first + 1, LEVELS))


def cloud(seed: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points whose third column agrees with their levels, and the histogram of the points."""
    generator = torch.Generator().manual_seed(seed)
    levels = make_levels(generator, n)
    points = torch.rand((1, n, 3), generator=generator) * 2 - 1
    points[..., 2] = (levels + 0.5) / LEVELS * 2 - 1
    histogram = torch.bincount(levels[0], minlength=LEVELS)[None] / n
    return points, levels, histogram


def network(**changes: float) -> PointNet:
    torch.manual_seed(0)
    sizes = {"global_width": 32, "tnet_width": 32, **changes}
    net = PointNet(PointNetConfig(2, **sizes))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    for name, buffer in net.named_buffers():  # batch norm as if trained
        if name.endswith("running_mean"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) * 0.2 - 0.15)
        if name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) * 0.2 + 0.05)
    return net.eval()


def trained_tnets(net: PointNet) -> PointNet:
    """Make the T-Nets depend on their cloud, which fresh ones do not."""
    for tnet in (net.input_tnet, net.feature_tnet):
        torch.nn.init.normal_(tnet.matrix.weight, std=0.05)
    return net


@settings(max_examples=60)
@given(
    features=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 60), st.just(3)),
        elements=st.floats(-100, 100, width=32),
    ),
    seed=st.integers(0, 2**31),
    asked=st.lists(level_range(), min_size=1, max_size=8),
    training=st.booleans(),
)
def test_range_maxima_equal_brute_force_to_the_bit(
    features: np.ndarray, seed: int, asked: list[tuple[int, int]], training: bool
) -> None:
    levels = make_levels(torch.Generator().manual_seed(seed), len(features))
    given_features = torch.from_numpy(features)[None].requires_grad_(training)
    found = range_maxima(given_features, levels, torch.tensor([asked]))[0].detach()
    for (first, stop), row in zip(asked, found.numpy(), strict=True):
        own = features[(levels[0].numpy() >= first) & (levels[0].numpy() < stop)]
        expected = own.max(axis=0) if len(own) else np.zeros(3, np.float32)
        np.testing.assert_array_equal(row, expected)


def test_the_points_of_every_kind_of_range() -> None:
    generator = torch.Generator().manual_seed(3)
    levels = make_levels(generator, 90)[0]
    features = torch.rand((90, 2), generator=generator)
    asked = torch.combinations(torch.arange(LEVELS + 1), 2)
    table = level_maxima(indexed_keys(features), levels)
    points = points_of(maxima_over_ranges(table, asked))
    for (first, stop), row in zip(asked[::7].tolist(), points[::7], strict=True):
        inside = (levels >= first) & (levels < stop)
        if not inside.any():
            assert (row == -1).all()
            continue
        best = torch.where(inside[:, None], features, -1.0).argmax(dim=0)
        assert torch.equal(row, best)


@given(
    values=hnp.arrays(np.float32, (40, 1), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
)
def test_keys_order_as_the_features_do(values: np.ndarray) -> None:
    features = torch.from_numpy(values)
    keys = indexed_keys(features)
    assert points_of(keys)[:, 0].tolist() == list(range(40))
    smaller, larger = features[:, None, 0] < features[None, :, 0], keys[:, None, 0] < keys[:, 0]
    assert larger[smaller].all()


def test_the_gradient_through_the_gather_equals_the_dense_one() -> None:
    generator = torch.Generator().manual_seed(5)
    levels = make_levels(generator, 200)
    data = torch.randn((1, 200, 6), generator=generator)
    asked = torch.tensor([[[0, 256], [30, 90], [80, 200], [255, 256], [17, 18]]])
    weights = torch.randn((1, 5, 6), generator=generator)

    shared = data.clone().requires_grad_()
    (range_maxima(shared, levels, asked) * weights).sum().backward()

    dense = data.clone().requires_grad_()
    rows = []
    for first, stop in asked[0].tolist():
        inside = (levels[0] >= first) & (levels[0] < stop)
        rows.append(dense[0, inside].amax(dim=0) if inside.any() else torch.zeros(6))
    (torch.stack(rows)[None] * weights).sum().backward()

    assert shared.grad is not None and dense.grad is not None
    torch.testing.assert_close(shared.grad, dense.grad, rtol=0, atol=1e-6)


def test_range_means_equal_brute_force() -> None:
    generator = torch.Generator().manual_seed(6)
    levels = make_levels(generator, 300, 20, 200)
    features = torch.randn((1, 300, 4), generator=generator)
    asked = torch.tensor([[[0, 256], [30, 90], [199, 200], [200, 256]]])
    found = range_means(features, levels, asked)[0]
    for (first, stop), row in zip(asked[0].tolist(), found, strict=True):
        own = features[0, (levels[0] >= first) & (levels[0] < stop)]
        expected = own.mean(dim=0) if len(own) else torch.zeros(4)
        torch.testing.assert_close(row, expected, rtol=1e-5, atol=1e-5)


def test_gray_statistics_are_the_masses_and_the_cdf() -> None:
    histogram = np.random.default_rng(0).dirichlet(np.full(LEVELS, 0.3)).astype(np.float32)
    statistics = gray_statistics(torch.from_numpy(histogram)[None], torch.tensor([[[64, 128]]]))
    first, stop, height, below, inside, above, *rest = statistics[0, 0].tolist()
    assert (first, stop, height) == (0.25, 0.5, 0.25)
    assert below == pytest.approx(histogram[:64].sum(), abs=1e-5)
    assert inside == pytest.approx(histogram[64:128].sum(), abs=1e-5)
    assert above == pytest.approx(histogram[128:].sum(), abs=1e-5)
    around, quantiles = np.array(rest[:24]), np.array(rest[24:])
    cdf = np.concatenate([[0], histogram.cumsum()])
    at = np.clip(64 + 64 * np.linspace(-1, 2, 24), 0, 256)
    np.testing.assert_allclose(around, np.interp(at, np.arange(257), cdf), atol=1e-4)
    assert (np.diff(quantiles) >= 0).all()


@pytest.mark.parametrize("n", [1, 700])
def test_shared_features_equal_anchor_by_anchor_when_t_nets_are_the_identity(n: int) -> None:
    net = network()  # fresh T-Nets return the identity
    points, levels, histogram = cloud(7, n)
    ranges = torch.tensor([[[0, 256], [10, 90], [100, 230], [200, 201]]])
    with torch.no_grad():
        shared = net(points, levels, histogram, ranges)
        paper = net.forward_anchors_one_by_one(points, levels, histogram, ranges)
    for a, b in zip(shared, paper, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_with_trained_t_nets_only_the_range_of_everything_agrees() -> None:
    net = trained_tnets(network())
    points, levels, histogram = cloud(8, 400)
    ranges = torch.tensor([[[0, 256], [10, 90]]])
    with torch.no_grad():
        _, shared = net(points, levels, histogram, ranges)
        _, paper = net.forward_anchors_one_by_one(points, levels, histogram, ranges)
    assert (shared[0, 0, :32] > 0).sum() > 5  # alive, or nothing is shown
    torch.testing.assert_close(shared[0, 0], paper[0, 0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(shared[0, 1], paper[0, 1], rtol=1e-3)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**31))
def test_the_order_of_points_does_not_matter(seed: int) -> None:
    net = trained_tnets(network())
    points, levels, histogram = cloud(9, 300)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(seed))
    ranges = torch.tensor([[[0, 256], [40, 160]]])
    with torch.no_grad():
        a, _ = net(points, levels, histogram, ranges)
        b, _ = net(points[:, order], levels[:, order], histogram, ranges)
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_rois_of_a_batch_do_not_mix() -> None:
    net = trained_tnets(network())
    first, second = cloud(10, 200), cloud(11, 200)
    ranges = torch.tensor([[[0, 128], [40, 160]], [[3, 256], [100, 101]]])
    batch = [torch.cat(pair) for pair in zip(first, second, strict=True)]
    with torch.no_grad():
        together, _ = net(*batch, ranges)
        alone = [net(*roi, ranges[i : i + 1])[0] for i, roi in enumerate((first, second))]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_folding_batch_norm_changes_nothing_and_leaves_the_original() -> None:
    net = trained_tnets(network())
    points, levels, histogram = cloud(12, 300)
    ranges = torch.tensor([[[0, 256], [40, 160]]])
    with torch.no_grad():
        before, _ = net(points, levels, histogram, ranges)
        fused, _ = net.fused()(points, levels, histogram, ranges)
        after, _ = net(points, levels, histogram, ranges)
    torch.testing.assert_close(fused, before, rtol=1e-3, atol=1e-4)
    assert torch.equal(after, before)
