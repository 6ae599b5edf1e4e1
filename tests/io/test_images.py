from __future__ import annotations

import hashlib
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_graydet.errors import ImageError, LimitError
from napari_graydet.io import images, limits
from napari_graydet.io.images import find_images, natural_key, read_image
from tests.io.helpers import dicom, gradient, pillow_bytes, png, tiff

GRAY = gradient((20, 30), 256)
DEEP = gradient((20, 30), 4096, "uint16")
FILES = {
    "png": png(DEEP),
    "jpg": pillow_bytes(Image.fromarray(GRAY), "JPEG"),
    "tif": tiff(DEEP),
    "dcm": dicom(DEEP, bits=12),
}


def put(folder: Path, name: str, data: bytes = FILES["png"]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", ["right", "none", "wrong"])
def test_the_content_decides_whatever_the_name(tmp_path: Path, kind: str, name: str) -> None:
    ending = {"right": f".{kind}", "none": "", "wrong": ".png" if kind != "png" else ".dcm"}[name]
    image = read_image(put(tmp_path, f"image{ending}", FILES[kind]))
    if kind != "jpg":
        np.testing.assert_array_equal(image.pixels, DEEP)
    assert image.name == f"image{ending}"
    assert image.sha256 == hashlib.sha256(FILES[kind]).hexdigest()
    assert image.shape == (20, 30)
    assert image.frame == 0


def test_8_bit_images_use_the_full_scale_and_deeper_ones_their_own(tmp_path: Path) -> None:
    scale = read_image(put(tmp_path, "a", png(GRAY // 2))).scale
    assert (scale.lowest, scale.highest, scale.black, scale.white) == (0, 255, 0, 255)
    scale = read_image(put(tmp_path, "b", FILES["dcm"])).scale
    assert (scale.lowest, scale.highest) == (0, 4095)
    assert (scale.black, scale.white) == tuple(np.percentile(DEEP, (0.05, 99.95)))


def test_monochrome1_and_negative_slopes_turn_the_display_but_not_the_values(
    tmp_path: Path,
) -> None:
    shown = {}
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        for slope in (1, -2):
            data = dicom(DEEP, bits=12, photometric=photometric, RescaleSlope=slope)
            image = read_image(put(tmp_path, "a.dcm", data))
            np.testing.assert_array_equal(image.pixels, DEEP)
            assert image.scale.slope == slope
            shown[photometric, slope] = image.unit()
    np.testing.assert_array_equal(shown["MONOCHROME1", -2], shown["MONOCHROME2", 1])
    np.testing.assert_array_equal(shown["MONOCHROME1", 1], shown["MONOCHROME2", -2])
    np.testing.assert_allclose(shown["MONOCHROME1", 1], 1 - shown["MONOCHROME2", 1], atol=1e-6)


def test_a_constant_image_is_read_and_noted(tmp_path: Path) -> None:
    for value, kind in ((0, "uint8"), (700, "uint16")):
        image = read_image(put(tmp_path, "flat.png", png(np.full((5, 6), value, kind))))
        assert f"every pixel is {value}" in image.notes[0]
        assert np.isfinite(image.unit()).all()
    assert not read_image(put(tmp_path, "a.png")).notes


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    assert read_image(put(tmp_path, "a.png", png(GRAY[:1, :1]))).shape == (1, 1)


def test_frames_are_for_dicom(tmp_path: Path) -> None:
    stack = put(tmp_path, "a.dcm", dicom(np.stack([DEEP, DEEP // 2])))
    image = read_image(stack, frame=1)
    np.testing.assert_array_equal(image.pixels, DEEP // 2)
    assert image.frame == 1
    path = put(tmp_path, "a.png")
    assert read_image(path, frame=0).frame == 0
    with pytest.raises(ImageError, match="only DICOM"):
        read_image(path, frame=1)


@pytest.mark.parametrize(
    "content",
    [b"x", b"hello\nworld", b"\0" * 500, b"%PDF-1.7 " + b"x" * 200, b"GIF89a" + b"\0" * 300],
)
def test_what_is_no_image_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ImageError, match="PNG, JPEG, TIFF or DICOM") as info:
        read_image(put(tmp_path, "report.png", content))
    assert "\n" not in str(info.value)
    assert "report.png" in str(info.value)


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.png", put(tmp_path, "empty.png", b""), tmp_path):
        with pytest.raises(ImageError) as info:
            read_image(path)
        assert path.name in str(info.value)


def test_large_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    with path.open("wb") as stream:
        stream.truncate(limits.MAX_FILE_BYTES + 1)  # takes no space
    start = time.perf_counter()
    with pytest.raises(LimitError, match="MiB"):
        read_image(path)
    assert time.perf_counter() - start < 1


# --- folders ------------------------------------------------------------------------------------


def test_images_are_found_by_ending_or_content_in_natural_order(tmp_path: Path) -> None:
    names = ["a1.png", "A2.dcm", "a10.TIF", "a10b.jpg", "IM000003", "scan"]
    kinds = ["png", "dcm", "tif", "jpg", "dcm", "png"]
    for name, kind in random.Random(0).sample(list(zip(names, kinds, strict=True)), 6):
        put(tmp_path, name, FILES[kind])
    for other in ("notes.txt", "graydet.toml", "annotations.db", "table.csv"):
        put(tmp_path, other, b"some text")
    put(tmp_path, "DICOMDIR", FILES["dcm"])  # a table of contents begins as an image does
    for hidden in (".hidden.png", "._a1.png", ".cache/a.png", "masks/a1.png", "sub/b.png"):
        put(tmp_path, hidden)
    assert [path.name for path in find_images(tmp_path)] == names
    found = find_images(tmp_path, recursive=True)
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        *names,
        str(Path("sub", "b.png")),
    ]


def test_a_damaged_image_is_listed_so_that_it_can_be_named(tmp_path: Path) -> None:
    put(tmp_path, "a.png", b"")
    put(tmp_path, "b.dcm", b"broken")
    assert len(find_images(tmp_path)) == 2


def test_a_folder_called_masks_can_be_opened_itself(tmp_path: Path) -> None:
    put(tmp_path, "masks/a.png")
    assert len(find_images(tmp_path / "masks")) == 1


def test_a_folder_without_images_says_what_was_expected(tmp_path: Path) -> None:
    put(tmp_path, "notes.txt", b"x")
    put(tmp_path, "sub/deep/notes.txt", b"x")
    for recursive in (False, True):
        with pytest.raises(ImageError, match="PNG, JPEG, TIFF or DICOM"):
            find_images(tmp_path, recursive=recursive)
    with pytest.raises(ImageError, match="cannot be listed"):
        find_images(tmp_path / "missing")
    with pytest.raises(ImageError, match="cannot be listed"):
        find_images(tmp_path / "notes.txt")


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_links_in_a_circle_end(tmp_path: Path) -> None:
    put(tmp_path, "sub/a.png")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    assert len(find_images(tmp_path, recursive=True)) == 1


def test_thousands_of_files_are_listed_quickly(tmp_path: Path) -> None:
    head = FILES["dcm"][:200]
    for index in range(2_000):
        (tmp_path / f"IM{index}").write_bytes(head)
    start = time.perf_counter()
    found = find_images(tmp_path)
    seconds = time.perf_counter() - start
    print(f"2,000 files without ending listed in {seconds:.2f} s")
    assert [path.name for path in found] == [f"IM{index}" for index in range(2_000)]
    assert seconds < 5  # 0.1 s on a quiet machine


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8)))
def test_natural_order_is_total(names: list[str]) -> None:
    ordered = sorted((Path(name) for name in names), key=natural_key)
    ordered_again = ordered[::-1]
    ordered_again.sort(key=natural_key)
    assert ordered_again == ordered


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_numbers_are_ordered_by_value(numbers: list[int]) -> None:
    paths = [Path(f"Case {number} left.png") for number in numbers]
    ordered = sorted(paths, key=natural_key)
    assert ordered == [Path(f"Case {number} left.png") for number in sorted(numbers)]


def test_all_real_radiographs_are_read_as_by_pillow(shared_data: Path) -> None:
    kinds = ["chest", "limb", "knee", "tomography"]
    folders = [shared_data / kind / "images" for kind in kinds]
    folders += [shared_data / "tomography" / "images16", shared_data / "hand_unlabelled"]
    for folder in folders:
        for path in find_images(folder)[::10]:
            image = read_image(path)
            np.testing.assert_array_equal(image.pixels, np.asarray(Image.open(path)))
    assert image.pixels.dtype == np.uint8
    deep = read_image(find_images(folders[4])[0])
    assert deep.pixels.dtype == np.uint16
    assert deep.scale.highest == 65535


def test_types_are_told_by_the_first_bytes() -> None:
    for kind, data in FILES.items():
        found = images.image_type(data[: images.HEAD_BYTES])
        expected = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "dcm": "DICOM"}[kind]
        assert found == expected
