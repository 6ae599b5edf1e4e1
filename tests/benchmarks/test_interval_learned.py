"""The figures of benchmarks.interval_learned: shares of the ceiling, weighed by image."""

from __future__ import annotations

import pytest

from benchmarks.interval_learned import summary, table

IMAGES = ["a", "a", "b", "b", "c", "c"]
BEST = [0.8, 0.8, 0.6, 0.6, 0.7, 0.7]


def reached(**methods: float) -> dict[str, list[float]]:
    return {name: [share * value for value in BEST] for name, share in methods.items()}


def test_the_ceiling_itself_has_all_of_it_and_a_fraction_that_fraction() -> None:
    found = summary(IMAGES, BEST, reached(ridge=0.5, fast=1.0, paper=0.25), seeds=2)

    assert (found["images"], found["rois"]) == (3, 3)
    assert found["ceiling"] == pytest.approx(0.7)
    assert found["shares"] == pytest.approx({"ridge": 0.5, "fast": 1.0, "paper": 0.25})


def test_gains_are_paired_by_image_and_change_their_sign_with_the_sides() -> None:
    found = summary(IMAGES, BEST, reached(ridge=0.5, fast=0.7, paper=0.3), seeds=1)

    mean, low, high = found["minus ridge"]["fast"]
    assert 0.2 * 0.6 / 0.7 - 1e-3 <= low <= mean <= high <= 0.2 * 0.8 / 0.7 + 1e-3
    assert mean == pytest.approx(0.2, abs=1e-4)
    assert found["minus ridge"]["paper"][0] == pytest.approx(-0.2, abs=1e-4)


def test_the_table_has_a_row_for_every_test() -> None:
    found = summary(IMAGES, BEST, reached(ridge=0.5, fast=0.7, paper=0.3), seeds=1)

    lines = table({"here": found, "there": found}).splitlines()

    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert "| here | 3 / 6 | 0.500 | 0.700 | 0.300 | +0.200" in lines[2]
