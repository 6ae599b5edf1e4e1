"""Which differences between methods are more than chance: intervals and paired tests by patient.

Images of one patient resemble each other, so patients, not images, are what is drawn again and
compared. Everything is seeded: the same scores give the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.errors import GraydetError

RESAMPLES = 5000
LEVEL = 0.95
_SEED = 0

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Parameters
    ----------
    mean
        Mean over images.
    low, high
        Ends of the interval; both equal the mean where there is one patient.
    patients, images
        How many went into it.
    """

    mean: float
    low: float
    high: float
    patients: int
    images: int


@dataclass(frozen=True)
class Difference:
    """How much better one method is than another on the same images.

    Parameters
    ----------
    gain
        Mean of first minus second, with the interval of the paired bootstrap.
    p_bootstrap
        Two-sided p of the paired bootstrap: how often the resampled gain has the other sign.
    p_wilcoxon
        Two-sided p of Wilcoxon's signed rank test on the patients' means.
    """

    gain: Interval
    p_bootstrap: float
    p_wilcoxon: float


def confidence(
    scores: Sequence[float],
    patients: Sequence[str],
    *,
    seed: int = _SEED,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return the mean of per-image scores with a bootstrap interval over patients.

    Percentile intervals of the mean over all images of patients drawn with replacement (the
    cluster bootstrap: Davison and Hinkley, Bootstrap Methods and their Application, 1997, 3.8).

    Parameters
    ----------
    scores
        (n,) one per image.
    patients
        (n,) whose image it is.
    seed, resamples
        Of the bootstrap.

    Raises
    ------
    GraydetError
        If there is no score, one is not finite, or the lengths differ.
    """
    values = _checked(scores, patients)
    means = _resampled(values, patients, seed, resamples)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high), len(set(patients)), len(values))


def compare_paired(
    first: Sequence[float],
    second: Sequence[float],
    patients: Sequence[str],
) -> Difference:
    """Compare two methods by their scores on the same images.

    Parameters
    ----------
    first, second
        (n,) scores of the two, image by image.
    patients
        (n,) whose image it is.

    Raises
    ------
    GraydetError
        As `confidence`.
    """
    gains = _checked(first, patients) - _checked(second, patients)
    means = _resampled(gains, patients, _SEED, RESAMPLES)
    side = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    return Difference(
        confidence(gains.tolist(), patients),
        min(1.0, 2 * (side + 1) / (RESAMPLES + 1)),
        _wilcoxon(_patient_means(gains, patients)),
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Correct p-values for their number (Holm, Scand. J. Statist. 6:65, 1979); same keys."""
    corrected: dict[str, float] = {}
    largest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        corrected[name] = largest
    return {name: corrected[name] for name in p_values}


def _checked(scores: Sequence[float], patients: Sequence[str]) -> Float:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or len(values) != len(patients):
        raise GraydetError(
            f"Expected one score and one patient for every image, got {values.size} scores and "
            f"{len(patients)} patients."
        )
    if not np.isfinite(values).all():
        raise GraydetError("Expected finite scores; leave out infinite distances first.")
    return values


def _groups(patients: Sequence[str]) -> tuple[npt.NDArray[np.intp], int]:
    """Return the number of each image's patient, and how many patients there are."""
    names, group = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
    return np.asarray(group, dtype=np.intp), len(names)


def _resampled(values: Float, patients: Sequence[str], seed: int, resamples: int) -> Float:
    """Return (resamples,) means over the images of patients drawn with replacement."""
    group, count = _groups(patients)
    sums, sizes = np.bincount(group, weights=values), np.bincount(group)
    drawn = np.random.default_rng(seed).integers(count, size=(resamples, count))
    return np.asarray(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))


def _patient_means(values: Float, patients: Sequence[str]) -> Float:
    group, _ = _groups(patients)
    return np.asarray(np.bincount(group, weights=values) / np.bincount(group))


def _wilcoxon(gains: Float) -> float:
    """Return the two-sided p of the signed rank test; 1 where nobody differs."""
    from scipy.stats import wilcoxon

    if not gains.any():
        return 1.0
    return float(wilcoxon(gains, zero_method="wilcox").pvalue)
