"""`make weights`: what it reads, and how it fails."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.sample import Sample
from napari_graydet.errors import GraydetError
from napari_graydet.workflows import weights
from napari_graydet.workflows.box_samples import box_samples
from napari_graydet.workflows.weights import CLASSES, Which, main, make_weights


def two_bones() -> Sample:
    pixels = np.full((200, 300), 40, np.uint8)
    parts = np.zeros(pixels.shape, np.uint16)
    parts[20:180, 30:90], parts[20:180, 110:170] = 1, 2
    pixels[parts > 0] = 200
    return Sample(GrayImage(pixels, GrayScale.of_bits(8)), "bone", parts, "hand", "two")


def test_every_part_becomes_a_sample_and_its_mask_is_the_whole_labels() -> None:
    samples = box_samples([two_bones()], CLASSES)
    assert [(s.class_id, s.group) for s in samples] == [(0, "hand")] * 2
    for sample in samples:
        rows, cols = sample.roi.slices((sample.mask.shape[0], sample.mask.shape[1]))
        assert sample.mask[rows, cols].mean() > 0.8
        np.testing.assert_array_equal(sample.mask, sample.unit > 0.5)


def test_a_folder_without_the_images_is_one_line_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(tmp_path), "--darknet", str(tmp_path / "none.weights")]
    arguments += ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    for part in ("roi", "boxes", "refiner"):
        assert main([*arguments, "--part", part]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_parts_are_made_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(weights, "_make_roi", lambda *given: made.append(given[2].name))
    monkeypatch.setattr(weights, "_make_boxes", lambda *given: made.append(given[1].name))
    monkeypatch.setattr(weights, "_make_refiner", lambda *given: made.append(given[2].name))
    for which in get_args(Which):
        make_weights(tmp_path, tmp_path, tmp_path, which=which, cache=tmp_path)
    roi, boxes, refiner = (f"{kind}.safetensors" for kind in ("roi", "boxes", "refiner"))
    assert made == [roi, boxes, roi, boxes, refiner, refiner]


def test_shenzhen_is_never_read(tmp_path: Path) -> None:
    images = tmp_path / "chest" / "images"
    images.mkdir(parents=True)
    (images / "CHNCXR_0001_0.png").write_bytes(b"not read")
    with pytest.raises(GraydetError, match="MCUCXR_"):
        make_weights(tmp_path, tmp_path, tmp_path / "out", which="boxes", cache=tmp_path / "c")
