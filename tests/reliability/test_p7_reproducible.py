"""P7: the same seed, data and machine give the same weights and the same report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_graydet.io.weights import load_weights
from tests.cli.runner import run
from tests.workflows.trainings import make_folders

CANARY = "canary"
"""In the name of every image: what identifies a patient must not leave the project."""

TIMES = {"seconds", "median_seconds", "date"}
"""Fields of a report that tell how long it took, not what came out."""


def trained(
    data: list[object], out: Path, parts: str, epochs: str, seed: str = "3"
) -> dict[str, Any]:
    """Train in a folder of its own and return all arrays of its weights."""
    outcome = run("train", parts, *data, "-o", out, "--seed", seed, "--epochs", epochs, "--json")
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
    for path in [*images.iterdir(), *masks.iterdir()]:
        path.rename(path.with_name(f"{CANARY}-{path.name}"))
    data: list[object] = ["--images", images, "--masks", masks, "--label", "bone"]
    outs = [tmp_path / name for name in ("once", "again")]
    once, again = (trained(data, out, parts, epochs) for out in outs)
    assert once.keys() == again.keys()
    for name, values in once.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)
    found = [next(out.rglob("boxes.safetensors")) for out in outs]
    files = [p for out in outs for p in out.rglob("*") if p.suffix in (".safetensors", ".jsonl")]
    cards = [path.with_suffix(".json") for path in found]
    for path in [*files, *cards]:  # R18
        held = path.read_bytes()
        assert CANARY.encode() not in held, f"{path.name} names an image"
        assert str(tmp_path).encode() not in held, f"{path.name} holds a path of this machine"
    assert any(path.suffix == ".jsonl" for path in files)
    reports = [report(data, path) for path in found]
    assert str(reports[0]).replace("once", "again") == str(reports[1])
    print(f"P7: {parts} trained twice, {len(once)} arrays and the report equal to the bit")


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path / "data")
    data: list[object] = ["--images", images, "--masks", masks, "--label", "bone"]
    one, other = (trained(data, tmp_path / seed, "boxes", "1", seed) for seed in ("3", "4"))
    assert any(not np.array_equal(values, other[name]) for name, values in one.items())
