from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.errors import ModelError


def problem(seed: int, n: int, d: int, noise: float = 0.1):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d))
    classes = rng.integers(0, 2, n)
    truth = rng.normal(size=(2, d + 1, 2))
    design = np.concatenate([features, np.ones((n, 1))], axis=1)
    targets = np.einsum("nd,ndt->nt", design, truth[classes])
    return features, classes, targets + noise * rng.normal(size=targets.shape), truth


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([(30, 3), (6, 9)]), st.sampled_from([0.1, 1.0, 10.0]))
def test_closed_form_minimises_the_papers_loss(
    seed: int, size: tuple[int, int], alpha: float
) -> None:
    features, classes, targets, _ = problem(seed, *size)
    classes[:] = 0
    coef = RidgeRegressor.fit(features, classes, targets, 1, alpha).coef[0]
    design = np.concatenate([features, np.ones((len(features), 1))], axis=1)

    def loss(flat: np.ndarray) -> float:
        t = flat.reshape(coef.shape)
        return float(((targets - design @ t) ** 2).sum() + alpha * (t[:-1] ** 2).sum())

    best = minimize(loss, np.zeros(coef.size), method="BFGS", options={"gtol": 1e-9})
    assert loss(coef.ravel()) <= best.fun + 1e-6 * max(1.0, best.fun)


def test_recovers_noiseless_maps_per_class() -> None:
    features, classes, targets, truth = problem(3, 200, 5, noise=0.0)
    model = RidgeRegressor.fit(features, classes, targets, 2, alpha=1e-9)
    np.testing.assert_allclose(model.coef, truth, atol=1e-6)
    np.testing.assert_allclose(model.predict(features, classes), targets, atol=1e-6)


def test_sgd_comes_near_the_closed_form() -> None:
    features, classes, targets, _ = problem(1, 300, 4)
    exact = RidgeRegressor.fit(features, classes, targets, 2, alpha=1.0)
    sgd = RidgeRegressor.fit_sgd(
        features,
        classes,
        targets,
        2,
        rng=np.random.default_rng(0),
        learning_rate=1e-3,
        epochs=100,
    )
    np.testing.assert_allclose(sgd.coef, exact.coef, atol=0.02)


def test_a_class_never_seen_leaves_proposals_alone() -> None:
    features, classes, targets, _ = problem(2, 20, 3)
    model = RidgeRegressor.fit(features, classes, targets, 4)
    assert (model.predict(features, np.full(20, 3)) == 0).all()


def test_nan_and_mismatch_are_refused() -> None:
    features, classes, targets, _ = problem(2, 20, 3)
    with pytest.raises(ModelError, match="NaN"):
        RidgeRegressor.fit(features * np.nan, classes, targets, 2)
    with pytest.raises(ModelError, match="Expected"):
        RidgeRegressor.fit(features, classes[:5], targets, 2)
    with pytest.raises(ModelError, match="diverged"), np.errstate(all="ignore"):
        RidgeRegressor.fit_sgd(
            features, classes, targets, 2, rng=np.random.default_rng(0), learning_rate=1e3
        )
