"""Figures of a ranking by doubt, and the scales of its signs; part of benchmarks/uncertainty.py."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata, spearmanr

from benchmarks.uncertainty_rows import Row
from napari_graydet.core.uncertainty import (
    WEIGHTS,
    Signs,
    box_uncertainty,
    image_uncertainty,
    scaled,
)
from napari_graydet.workflows import shipped_data as td

BAD = 0.9
SIGNS = tuple(field.name for field in fields(Signs))
SCALED = ("margin", "near", "separability", "edges", "spill", "around")
"""Signs whose centre and scale are measured; those of the others are judged."""

DRAWS = 2000

Float = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def uncertainty_of(row: Row) -> float:
    """Return the image's doubt."""
    return image_uncertainty([box_uncertainty(Signs(**s)) for s in row["signs"]], row["areas"])


def auroc(values: Float, bad: Bools) -> float:
    """Return the chance that a bad image has a higher value than a good one (ties count half)."""
    positive, negative = int(bad.sum()), int((~bad).sum())
    if positive == 0 or negative == 0:
        return float("nan")
    ranks = rankdata(values)[bad].sum() - positive * (positive + 1) / 2
    return float(ranks / (positive * negative))


def auroc_interval(values: Float, bad: Bools, people: list[str]) -> list[float] | None:
    """Return AUROC and its 95 % interval of the bootstrap over people; None if all are alike."""
    if bad.all() or not bad.any():
        return None
    names, at = np.unique(people, return_inverse=True)
    of_person = [np.flatnonzero(at == n) for n in range(len(names))]
    rng = np.random.default_rng(td.SEED)
    draws = []
    for _ in range(DRAWS):
        rows = np.concatenate([of_person[n] for n in rng.integers(len(names), size=len(names))])
        draws.append(auroc(values[rows], bad[rows]))
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return [round(float(v), 4) for v in (auroc(values, bad), low, high)]


def summary(rows: list[Row]) -> dict[str, Any]:
    """Return the figures of a set."""
    scores = np.array([row["dice"] for row in rows])
    doubt = np.array([uncertainty_of(row) for row in rows])
    people = [row["key"].split()[0].split("/")[0] for row in rows]
    bad, below = scores < BAD, scores < np.median(scores)
    quarter, order = max(1, len(rows) // 4), np.argsort(-doubt, kind="stable")
    return {
        "images": len(rows),
        "people": len(set(people)),
        "bad": int(bad.sum()),
        "bad_share": round(float(bad.mean()), 4),
        "nothing_found": sum(not row["signs"] for row in rows),
        "dice": round(float(scores.mean()), 4),
        "median": round(float(np.median(scores)), 4),
        "auroc_bad": auroc_interval(doubt, bad, people),
        "auroc_below_median": auroc_interval(doubt, below, people),
        "spearman": round(float(spearmanr(doubt, scores).statistic), 4),
        "spearman_of_signs": {s: _alone(rows, s, scores) for s in SIGNS},
        "dice_most_doubtful_quarter": round(float(scores[order[:quarter]].mean()), 4),
        "dice_least_doubtful_quarter": round(float(scores[order[-quarter:]].mean()), 4),
    }


def _alone(rows: list[Row], sign: str, scores: Float) -> float | None:
    """Return the rank correlation of one sign, meant by area, with DSC, where it is known."""
    kept = [i for i, row in enumerate(rows) if row["signs"] and row["signs"][0][sign] is not None]
    if not kept:
        return None
    values = [
        np.average([s[sign] for s in rows[i]["signs"]], weights=np.array(rows[i]["areas"]) + 1.0)
        for i in kept
    ]
    return round(float(spearmanr(values, scores[kept]).statistic), 3)


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the results as a Markdown table."""
    head = ["set", "images", "DSC", f"below {BAD}", f"AUROC, below {BAD}", "AUROC, below median"]
    head += ["rank correlation", "DSC, most doubtful quarter", "least doubtful quarter"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, found in results.items():
        cells = [name, str(found["images"]), f"{found['dice']:.3f}", f"{found['bad_share']:.0%}"]
        for key in ("auroc_bad", "auroc_below_median"):
            value = found[key]
            cells.append("–" if value is None else "{:.2f} [{:.2f}, {:.2f}]".format(*value))
        cells.append(f"{found['spearman']:.2f}")
        cells += [f"{found[f'dice_{which}_doubtful_quarter']:.3f}" for which in ("most", "least")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


# --- Scales ---------------------------------------------------------------------------------


def scales(sets: dict[str, list[Row]]) -> str:
    """Return centres and scales of the signs as source text, and how the sets are ranked by them.

    Centre: the mean of the first two sets (as detected, moved). Scale: the geometric mean of their
    deviations, so that a sign neither saturates where ROIs are lost nor is lost where all is well.
    """
    kept = {name: [row for row in rows if row["signs"]] for name, rows in sets.items()}
    values = [np.array([_mean_signs(row) for row in rows]) for rows in list(kept.values())[:2]]
    centre = np.mean([v.mean(axis=0) for v in values], axis=0)
    scale = np.exp(np.mean([np.log(v.std(axis=0)) for v in values], axis=0))
    lines = [
        f'    "{name}": Weight({c:.3f}, {s:.3f}, {WEIGHTS[name].weight}),'
        for name, c, s in zip(SCALED, centre, scale, strict=True)
    ]
    for name, rows in kept.items():
        doubt, scores = [uncertainty_of(row) for row in rows], [row["dice"] for row in rows]
        rho = float(spearmanr(doubt, scores).statistic)
        lines.append(f"{name}: {len(rows)} masks, rank correlation with those in use {rho:.3f}")
    return "\n".join(lines)


def _mean_signs(row: Row) -> list[float]:
    weights = np.array(row["areas"]) + 1.0
    return [
        float(np.average([scaled(name, s[name]) for s in row["signs"]], weights=weights))
        for name in SCALED
    ]


assert set(SIGNS) == set(WEIGHTS)
