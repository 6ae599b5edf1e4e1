"""The class-specific linear box regressor: regularised least squares.

    T* = argmin sum_i (t_i - T f_i)^2 + lambda |T|^2

Closed form by default; `fit_sgd` follows the paper (stochastic gradient descent, lr 1e-4, 200
epochs). The constant term is not shrunk. Source: the paper, "Refinement of proposal bounding box".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from napari_graydet.errors import ModelError

Float = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class RidgeRegressor:
    """One linear map from features to box deltas per class.

    Parameters
    ----------
    coef
        (classes, D + 1, 2): rows are features, the last one the constant; columns t_h and t_w.
        A class that was absent from training has zeros: it leaves proposals as they are.
    """

    coef: Float

    @classmethod
    def fit(
        cls, features: Float, classes: Ints, targets: Float, n_classes: int, alpha: float = 1.0
    ) -> RidgeRegressor:
        """Solve for all classes in closed form.

        Parameters
        ----------
        features
            (N, D) global features of the proposals.
        classes
            (N,) class ids.
        targets
            (N, 2) deltas t.
        n_classes
            Number of classes.
        alpha
            The paper's lambda.

        Raises
        ------
        ModelError
            If the arrays disagree in length or hold NaN.
        """
        features, targets = _checked(features, classes, targets)
        coef = np.zeros((n_classes, features.shape[1] + 1, 2))
        for k in np.unique(classes):
            rows = classes == k
            coef[k] = _solve(features[rows], targets[rows], alpha)
        return cls(coef)

    @classmethod
    def fit_standardised(
        cls, features: Float, classes: Ints, targets: Float, n_classes: int, alpha: float = 1.0
    ) -> RidgeRegressor:
        """Solve as `fit` does on features of mean 0 and deviation 1, which lambda weighs alike.

        The scale goes into the map, which takes features as they are.
        """
        features, targets = _checked(features, classes, targets)
        centre, scale = features.mean(axis=0), features.std(axis=0) + 1e-3
        fitted = cls.fit((features - centre) / scale, classes, targets, n_classes, alpha)
        weights = fitted.coef[:, :-1] / scale[:, None]
        constant = fitted.coef[:, -1:] - np.einsum("d,kdt->kt", centre, weights)[:, None]
        return cls(np.concatenate([weights, constant], axis=1))

    @classmethod
    def fit_sgd(
        cls,
        features: Float,
        classes: Ints,
        targets: Float,
        n_classes: int,
        *,
        rng: np.random.Generator,
        alpha: float = 1.0,
        learning_rate: float = 1e-4,
        epochs: int = 200,
        check: Callable[[], None] = lambda: None,
    ) -> RidgeRegressor:
        """Descend sample by sample as the paper does; same arguments as `fit`.

        `check` is called at every epoch; it stops the descent by raising.
        """
        features, targets = _checked(features, classes, targets)
        design = _with_constant(features)
        coef = np.zeros((n_classes, design.shape[1], 2))
        counts = np.bincount(classes, minlength=n_classes)
        for _ in range(epochs):
            check()
            for i in rng.permutation(len(design)):
                k, row = classes[i], design[i]
                shrink = coef[k] * (alpha / counts[k])
                shrink[-1] = 0.0
                coef[k] -= 2 * learning_rate * (np.outer(row, row @ coef[k] - targets[i]) + shrink)
        if not np.isfinite(coef).all():
            raise ModelError(
                f"The regressor diverged at learning rate {learning_rate}; "
                "use a smaller one or the closed form."
            )
        return cls(coef)

    def predict(self, features: Float, classes: Ints) -> Float:
        """Return (N, 2) deltas d for (N, D) features and (N,) class ids."""
        design = _with_constant(np.asarray(features, dtype=np.float64))
        return np.asarray(np.einsum("nd,ndt->nt", design, self.coef[classes]))


def _checked(features: Float, classes: Ints, targets: Float) -> tuple[Float, Float]:
    features = np.asarray(features, dtype=np.float64)
    targets = np.asarray(targets, dtype=np.float64)
    if features.ndim != 2 or targets.shape != (len(features), 2) or len(classes) != len(features):
        raise ModelError(
            f"Expected (N, D) features, N classes and (N, 2) targets, got {features.shape}, "
            f"{len(classes)} and {targets.shape}."
        )
    if not (np.isfinite(features).all() and np.isfinite(targets).all()):
        raise ModelError("The regressor needs finite features and targets; got NaN or infinity.")
    return features, targets


def _with_constant(features: Float) -> Float:
    return np.concatenate([features, np.ones((len(features), 1))], axis=1)


def _solve(features: Float, targets: Float, alpha: float) -> Float:
    """Ridge with a free constant: centre, solve the smaller of primal and dual, add it back."""
    mean_x, mean_t = features.mean(axis=0), targets.mean(axis=0)
    x, t = features - mean_x, targets - mean_t
    n, d = x.shape
    if d <= n:
        weights = linalg.solve(x.T @ x + alpha * np.eye(d), x.T @ t, assume_a="pos")
    else:
        weights = x.T @ linalg.solve(x @ x.T + alpha * np.eye(n), t, assume_a="pos")
    return np.concatenate([weights, (mean_t - mean_x @ weights)[None]])
