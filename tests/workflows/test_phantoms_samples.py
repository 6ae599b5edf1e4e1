"""The sample radiographs: readable with plain readers, small, and what the generator makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image

from napari_graydet.workflows.phantoms import samples, write_samples
from napari_graydet.workflows.phantoms.__main__ import main

SAMPLES = Path(__file__).parents[2] / "sample_data"


def read(path: Path) -> np.ndarray:
    if path.suffix == ".dcm":
        return pydicom.dcmread(path).pixel_array
    if path.suffix == ".tif":
        return tifffile.imread(path)
    return np.asarray(Image.open(path))


def test_sample_folder_is_complete_and_small() -> None:
    images = sorted((SAMPLES / "images").iterdir())
    assert 12 <= len(images) <= 20
    assert {p.suffix for p in images} == {".png", ".jpg", ".tif", ".dcm"}
    total = sum(p.stat().st_size for p in SAMPLES.rglob("*") if p.is_file())
    assert total < 8e6
    for path in images:
        pixels = read(path)
        mask = np.asarray(Image.open(SAMPLES / "masks" / f"{path.stem}.png"))
        assert pixels.shape == mask.shape and pixels.ndim == 2
        assert set(np.unique(mask)) == {0, 255}
        assert (pixels.dtype == np.uint16) == (path.suffix in {".tif", ".dcm"})


def test_dicom_samples_hold_both_interpretations_and_no_patient() -> None:
    found = [pydicom.dcmread(p) for p in sorted((SAMPLES / "images").glob("*.dcm"))]
    assert {d.PhotometricInterpretation for d in found} == {"MONOCHROME1", "MONOCHROME2"}
    for data in found:
        assert data.BitsStored == 12 and data.pixel_array.max() <= 4095
        assert data.PatientName == "Phantom"
        assert "PatientBirthDate" not in data and "InstitutionName" not in data


def test_samples_come_out_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The committed files are what the code makes (gray within rounding on other machines)."""
    every = {sample.stem + sample.suffix for sample in samples._SAMPLES}
    assert every == {p.name for p in (SAMPLES / "images").iterdir()}
    monkeypatch.setattr(samples, "_SAMPLES", samples._SAMPLES[::4])  # every fourth, for time
    written = write_samples(tmp_path)
    assert {p.suffix for p in written} == {".png", ".dcm", ".tif"}
    for image in written:
        for name in (f"images/{image.name}", f"masks/{image.stem}.png"):
            old, new = read(SAMPLES / name).astype(int), read(tmp_path / name).astype(int)
            assert old.shape == new.shape
            tolerance = max(int(old.max()) // 250, 1)
            assert (np.abs(old - new) > tolerance).mean() < 1e-3, name


def test_command_writes_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = [str(tmp_path), "--count", "4", "--seed", "7", "--size", "128"]
    assert main(call) == 0
    assert "4 images" in capsys.readouterr().out
    stems = sorted(p.stem for p in (tmp_path / "images").iterdir())
    assert stems == sorted(p.stem for p in (tmp_path / "masks").iterdir()) and len(stems) == 4
    before = {p.name: p.read_bytes() for p in tmp_path.glob("*/*")}
    assert main(call) == 0
    assert before == {p.name: p.read_bytes() for p in tmp_path.glob("*/*")}


def test_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--count", "1", "--size", "3"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
