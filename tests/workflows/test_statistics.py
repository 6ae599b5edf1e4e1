"""Intervals and paired tests against scipy and against what they must be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from napari_graydet.errors import GraydetError
from napari_graydet.workflows.compare.statistics import compare_paired, confidence, holm


def names(count: int, each: int = 1) -> list[str]:
    return [f"patient {i // each}" for i in range(count)]


def test_interval_agrees_with_scipy_where_every_image_is_a_patient() -> None:
    scores = np.random.default_rng(0).beta(8, 2, 40)
    ours = confidence(scores.tolist(), names(40), resamples=20_000)
    theirs = stats.bootstrap(
        (scores,), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    assert ours.mean == pytest.approx(scores.mean())
    assert ours.low == pytest.approx(theirs.low, abs=1.5e-3)
    assert ours.high == pytest.approx(theirs.high, abs=1.5e-3)
    assert (ours.patients, ours.images) == (40, 40)


def test_copies_of_a_patients_image_do_not_make_it_surer() -> None:
    scores = np.random.default_rng(1).random(20)
    alone = confidence(scores.tolist(), names(20))
    copied = confidence(np.repeat(scores, 5).tolist(), names(100, each=5))
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))
    as_if_new = confidence(np.repeat(scores, 5).tolist(), names(100))
    assert as_if_new.high - as_if_new.low < 0.6 * (alone.high - alone.low)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for seed in range(200):
        patient_means = rng.normal(0.5, 0.1, 30)
        scores = np.repeat(patient_means, 2) + rng.normal(0, 0.02, 60)
        found = confidence(scores.tolist(), names(60, each=2), seed=seed, resamples=400)
        held += found.low <= 0.5 <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_same_seed_same_interval() -> None:
    scores = np.random.default_rng(6).random(30).tolist()
    assert confidence(scores, names(30)) == confidence(scores, names(30))
    assert confidence(scores, names(30)) != confidence(scores, names(30), seed=1)


def test_wilcoxon_agrees_with_scipy_on_patient_means() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.random(30), rng.random(30)
    found = compare_paired(first.tolist(), second.tolist(), names(30, each=2))
    means = (first - second).reshape(15, 2).mean(axis=1)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(means).pvalue)
    assert found.gain.mean == pytest.approx((first - second).mean())


def test_a_clear_gain_is_found_and_no_gain_is_not() -> None:
    rng = np.random.default_rng(4)
    second = rng.uniform(0.6, 0.9, 40)
    better = compare_paired(
        (second + rng.normal(0.05, 0.02, 40)).tolist(), second.tolist(), names(40)
    )
    assert better.gain.low > 0.03
    assert max(better.p_bootstrap, better.p_wilcoxon) < 0.001
    same = compare_paired((second + rng.normal(0, 0.02, 40)).tolist(), second.tolist(), names(40))
    assert min(same.p_bootstrap, same.p_wilcoxon) > 0.05
    equal = compare_paired(second.tolist(), second.tolist(), names(40))
    assert (equal.gain.mean, equal.p_bootstrap, equal.p_wilcoxon) == (0.0, 1.0, 1.0)


def test_swapping_the_methods_turns_the_gain() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.random(12).tolist(), rng.random(12).tolist()
    there, back = compare_paired(a, b, names(12)), compare_paired(b, a, names(12))
    assert (there.gain.low, there.gain.high) == pytest.approx((-back.gain.high, -back.gain.low))
    assert there.p_bootstrap == pytest.approx(back.p_bootstrap)


@given(st.dictionaries(st.text(min_size=1), st.floats(0, 1), max_size=8))
def test_holm_rejects_as_the_step_down_procedure_does(p_values: dict[str, float]) -> None:
    corrected = holm(p_values)
    assert corrected.keys() == p_values.keys()
    for level in (0.01, 0.05, 0.3):
        rejected, going = set(), True
        for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
            going = going and p * (len(p_values) - rank) <= level
            if going:
                rejected.add(name)
        assert {name for name, p in corrected.items() if p <= level} == rejected


@pytest.mark.parametrize(
    ("scores", "patients"), [([], []), ([0.5], []), ([0.5, float("inf")], ["a", "b"])]
)
def test_bad_scores(scores: list[float], patients: list[str]) -> None:
    with pytest.raises(GraydetError):
        confidence(scores, patients)
