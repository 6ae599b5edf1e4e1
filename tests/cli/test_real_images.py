"""`segment` on real radiographs: files as specified, and the same mask by a few lines of numpy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_graydet.errors import WeightsError
from napari_graydet.models.loading import shipped
from tests.cli.runner import run
from tests.workflows.test_segment import by_numpy

SETS = {
    "chest": "chest/images",
    "limb": "limb/images",
    "knee": "knee/images",
    "tomography 8 bit": "tomography/images",
    "tomography 16 bit": "tomography/images16",
    "hand": "hand_unlabelled",
}
EACH = 2


def images_of(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix in {".png", ".tif", ".jpg"})
    return files[:: max(1, len(files) // EACH)][:EACH]


def check(out: Path, images: list[Path]) -> None:
    for image in images:
        document = json.loads((out / f"{image.stem}.json").read_text())
        mask = np.asarray(Image.open(out / f"{image.stem}.png"))
        pixels = np.asarray(Image.open(image))
        assert (document["image"], document["cleanup"]) == (image.name, None)
        assert (document["height"], document["width"]) == pixels.shape == mask.shape
        assert mask.dtype == np.uint8
        assert np.array_equal(mask > 0, by_numpy(document, pixels))
        assert str(image.parent) not in json.dumps(document)


@pytest.mark.parametrize("name", SETS)
def test_thresholds_by_hand(shared_data: Path, tmp_path: Path, name: str) -> None:
    images = images_of(shared_data / SETS[name])
    top = int(np.asarray(Image.open(images[0])).max())
    gray = f"{top // 3},{top * 2 // 3}"
    outcome = run(
        "segment", *images, "-o", tmp_path, "--roi", "9.3,20.5,150.8,190", "--range", gray
    )
    assert outcome.code == 0, outcome.err
    check(tmp_path, images)


def test_shipped_weights(shared_data: Path, tmp_path: Path) -> None:
    """Every set in one run, as a user does it; on the CPU."""
    try:
        shipped("roi"), shipped("boxes")
    except WeightsError:
        pytest.skip("no shipped weights in this checkout; make weights")
    for name, folder in SETS.items():
        images = images_of(shared_data / folder)
        outcome = run("segment", *images, "-o", tmp_path / name, "--device", "cpu", "--json")
        assert outcome.code == 0, outcome.err
        check(tmp_path / name, images)
        found = outcome.document["images"]
        print(
            name,
            [
                (len(i["rois"]), round(i["mask_pixels"] / i["width"] / i["height"], 2))
                for i in found
            ],
        )
