"""`--refiner`: a real weights file, its residual in the record, and errors in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_graydet.core.segmentation import decode_runs
from napari_graydet.models.refiner.model import RefinerModel, build
from tests.cli.runner import run, use_detectors
from tests.models.refiners import CLASSES, SMALL, disc
from tests.workflows.fakes import proposal


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disc.png"
    Image.fromarray(np.asarray(disc(3).image.pixels)).save(path)
    return path


def test_residual_of_the_refiner_is_in_mask_and_record(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_detectors(monkeypatch, [proposal(12, 12, 52, 52)])
    torch.manual_seed(0)
    network = build("unet", len(CLASSES), SMALL.sizes["unet"]).eval()
    RefinerModel({"unet": network}, SMALL.frame, CLASSES).save(tmp_path / "r.safetensors")
    plain, refined = tmp_path / "plain", tmp_path / "refined"
    assert run("segment", image, "-o", plain).code == 0
    outcome = run("segment", image, "-o", refined, "--refiner", tmp_path / "r.safetensors")
    assert outcome.code == 0, outcome.err
    document = json.loads((refined / "disc.json").read_text())
    assert document["models"]["refiner"].startswith("unet refiner ")
    residual = document["residual"]["bone"]
    assert residual["source"] == "model"
    assert residual["model"] == document["models"]["refiner"]
    before, after = (np.asarray(Image.open(out / "disc.png")) > 0 for out in (plain, refined))
    added, erased = (
        decode_runs(tuple((a, b) for a, b in residual[name]), before.shape)
        for name in ("added", "erased")
    )
    assert added.any() or erased.any()
    assert np.array_equal(after, (before | added) & ~erased)


@pytest.mark.parametrize("name", ["missing.safetensors", "disc.png"])
def test_bad_refiner_is_one_line(image: Path, tmp_path: Path, name: str) -> None:
    options = ("--roi", "whole", "--range", "0,90", "--refiner", tmp_path / name)
    outcome = run("segment", image, "-o", tmp_path / "out", *options)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1 and name in outcome.err
