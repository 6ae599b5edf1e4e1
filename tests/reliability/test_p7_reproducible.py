"""P7: the same seed, data and machine give the same weights and the same report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_graydet.io.weights import load_weights
from tests.cli.runner import run
from tests.workflows.trainings import make_folders

TIMES = {"seconds", "median_seconds", "date"}
"""Fields of a report that tell how long it took, not what came out."""


def trained(data: list[object], out: Path, parts: str, epochs: str) -> dict[str, Any]:
    """Train in a folder of its own and return all arrays of its weights."""
    outcome = run("train", parts, *data, "-o", out, "--seed", "3", "--epochs", epochs, "--json")
    assert outcome.code == 0, outcome.err
    files = sorted(out.rglob("*.safetensors"))
    assert files
    return {f"{p.stem}/{k}": v for p in files for k, v in load_weights(p)[0].items()}


def report(data: list[object], weights: Path) -> object:
    """Evaluate with these box weights in true ROIs and return the report without times."""
    outcome = run("evaluate", *data, "--true-rois", "--box-weights", weights, "--json")
    assert outcome.code == 0, outcome.err
    return without_times(outcome.document)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("parts", "epochs"), [("boxes", "4"), pytest.param("all", "2", marks=pytest.mark.long)]
)
def test_the_same_seed_gives_the_same_weights_and_report(
    tmp_path: Path, parts: str, epochs: str
) -> None:
    images, masks = make_folders(tmp_path / "data")
    data: list[object] = ["--images", images, "--masks", masks, "--label", "bone"]
    outs = [tmp_path / name for name in ("once", "again")]
    once, again = (trained(data, out, parts, epochs) for out in outs)
    assert once.keys() == again.keys()
    for name, values in once.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)
    found = [next(out.rglob("boxes.safetensors")) for out in outs]
    reports = [report(data, path) for path in found]
    assert str(reports[0]).replace("once", "again") == str(reports[1])
    print(f"P7: {parts} trained twice, {len(once)} arrays and the report equal to the bit")
