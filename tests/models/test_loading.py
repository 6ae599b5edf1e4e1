"""Which file a name means."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from napari_graydet.errors import ModelError, WeightsError
from napari_graydet.io.weights import WeightsKind
from napari_graydet.models import loading
from napari_graydet.models.refiner.model import RefinerModel, build
from tests.models.refiners import CLASSES, SMALL


def test_importing_it_loads_no_network_library() -> None:
    code = (
        "import sys, napari_graydet.models.loading\n"
        "assert not {'torch', 'ultralytics', 'qtpy'} & set(sys.modules), 'heavy import'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", ["roi", "boxes"])
def test_an_installation_without_weights_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: WeightsKind
) -> None:
    monkeypatch.setattr(loading, "_WEIGHTS", tmp_path)
    with pytest.raises(WeightsError, match="make weights"):
        loading.shipped(kind)


def test_shipped_weights_lie_in_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "roi.safetensors").touch()
    monkeypatch.setattr(loading, "_WEIGHTS", tmp_path)
    assert loading.shipped("roi") == tmp_path / "roi.safetensors"


def test_a_darknet_file_is_no_detector(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="start a training"):
        loading.load_roi_detector(tmp_path / "yolov3-tiny.weights")


def test_a_name_without_a_file_is_not_downloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="not downloaded"):
        loading.load_roi_detector("yolo11n")
    assert not list(tmp_path.iterdir())


def test_the_shipped_refiner_is_asked_for_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loading, "_WEIGHTS", tmp_path)
    with pytest.raises(WeightsError, match="no refiner weights"):
        loading.load_refiner("shipped")
    network = build("unet", len(CLASSES), SMALL.sizes["unet"]).eval()
    RefinerModel({"unet": network}, SMALL.frame, CLASSES).save(tmp_path / "refiner.safetensors")
    assert loading.load_refiner("shipped", "cpu").labels == CLASSES


def test_missing_weights_are_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        loading.load_roi_detector(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError):
        loading.load_box_detector(tmp_path / "none.safetensors")
