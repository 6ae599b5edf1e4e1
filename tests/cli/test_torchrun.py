"""Training in two processes by the command line: one model, one voice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_graydet.io.weights import load_weights
from napari_graydet.project.model_registry import ModelRegistry
from tests.workflows.trainings import make_folders

SLOWEST = 150


def run(*arguments: str | Path) -> tuple[int, list[dict[str, Any]], str]:
    """Run the program twice at once; return exit status, lines of JSON, and what else it said."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launch += ["--standalone", "-m", "napari_graydet", *map(str, arguments), "--json"]
    program = subprocess.Popen(
        [*launch, "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        out, said = program.communicate(timeout=SLOWEST)
    finally:
        program.terminate()  # the launcher ends what it has started, a kill would leave it
        program.wait()
    return program.returncode, [json.loads(line) for line in out.splitlines()], said


@pytest.mark.timeout(2 * SLOWEST)
def test_all_parts_are_trained_as_one_model(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path / "data", 8)
    out = tmp_path / "out"
    data = ("--images", images, "--masks", masks, "--label", "bone")
    code, lines, said = run("train", "all", *data, "-o", out, "--epochs", "2")
    assert code == 0, said
    assert [line["event"] for line in lines[:-1]].count("start") == 1
    assert [line["event"] for line in lines[:-1]].count("done") == 1
    (entry,) = ModelRegistry(out).entries()
    assert entry.status == "done"
    assert set(entry.weights) == {"roi", "boxes", "refiner"}
    assert [path.name for path in (out / "models").iterdir() if path.is_dir()] == [entry.id]


@pytest.mark.timeout(2 * SLOWEST)
def test_pointnet_is_pretrained_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clouds = {f"x_{side}": rng.normal(size=(12, 2048, 3)) for side in ("train", "test")}
    labels = {f"y_{side}": np.arange(12) % 3 for side in ("train", "test")}
    np.savez(tmp_path / "shapes.npz", **clouds, **labels)
    out = tmp_path / "pointnet.safetensors"
    code, lines, said = run(
        "pretrain", "pointnet", tmp_path / "shapes.npz", "-o", out, "--epochs", "2", "--preset",
        "fast",
    )  # fmt: skip
    assert code == 0, said
    assert [line for line in lines if "metrics" in line] == lines[-1:]
    assert load_weights(out)[1].kind == "pointnet"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "pointnet.json", "pointnet.safetensors", "shapes.npz",
    ]  # fmt: skip
