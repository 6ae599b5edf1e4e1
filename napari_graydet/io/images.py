"""Image files -> `GrayImage`: PNG, JPEG, TIFF and DICOM, told apart by content, never by name."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from napari_graydet.core.grayscale import GrayImage, GrayScale, scale_for_pixels
from napari_graydet.errors import ImageError
from napari_graydet.io import dicom, jpeg, png, tiff
from napari_graydet.io.decoding import Decoded
from napari_graydet.io.dicom_tags import is_dicom
from napari_graydet.io.files import is_database, read_bytes, reason_of
from napari_graydet.io.limits import MAX_FILE_BYTES

HEAD_BYTES = 132
"""How much of a file tells its type."""

MASK_FOLDER = "masks"
"""Folders of this name hold masks, not radiographs."""


class ImageType(StrEnum):
    """Types of image files that are read."""

    PNG = "PNG"
    JPEG = "JPEG"
    TIFF = "TIFF"
    DICOM = "DICOM"


EXPECTED = "PNG, JPEG, TIFF or DICOM"
ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom"})


def image_type(head: bytes) -> ImageType | None:
    """Return the type of a file by its first `HEAD_BYTES` bytes, None if it is none of ours."""
    if head.startswith(png.SIGNATURE):
        return ImageType.PNG
    if head.startswith(jpeg.SIGNATURE):
        return ImageType.JPEG
    if head.startswith(tiff.SIGNATURES):
        return ImageType.TIFF
    if is_dicom(head):
        return ImageType.DICOM
    return None


def read_image(path: Path, *, frame: int | None = None) -> GrayImage:
    """Read one grayscale radiograph.

    Stored values are kept as they are; rescale and MONOCHROME1 go into the scale. A DICOM file's
    window is not used (docs/decisions/0002).

    Parameters
    ----------
    path
        A PNG, JPEG, TIFF or DICOM file with 8 to 16 bits per pixel. RGB(A) and palettes are
        read if they really are gray and opaque.
    frame
        Which frame of a multi-frame DICOM file; None insists on a single image.

    Returns
    -------
    GrayImage
        (H, W) uint8, uint16 or int16, with the SHA-256 of the file's bytes.

    Raises
    ------
    ImageError
        If the file is missing, of another type, damaged, in colour, 3D, or of another bit depth.
    LimitError
        If it is too large (`napari_graydet.io.limits`); found out before it is decoded.
    """
    path = Path(path)
    if is_database(path):
        raise ImageError(
            f"{path.name} is called like a database, which is not opened as an image; if it is an "
            "image, rename it."
        )
    data = read_bytes(path, max_bytes=MAX_FILE_BYTES)
    decoded = _decode(data, path.name, frame)
    notes = decoded.notes
    if decoded.pixels.size and decoded.pixels.min() == decoded.pixels.max():
        notes += (f"constant image: every pixel is {decoded.pixels.flat[0]}",)
    return GrayImage(
        pixels=decoded.pixels,
        scale=_scale(decoded),
        name=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        spacing_mm=decoded.spacing_mm,
        frame=frame or 0,
        notes=notes,
    )


def _decode(data: bytes, name: str, frame: int | None) -> Decoded:
    kind = image_type(data[:HEAD_BYTES])
    if kind is ImageType.DICOM:
        return dicom.decode_dicom(data, name, frame)
    if frame not in (None, 0):
        raise ImageError(f"{name} has no frame {frame}: only DICOM files have frames.")
    match kind:
        case ImageType.PNG:
            return png.decode_png(data, name)
        case ImageType.JPEG:
            return jpeg.decode_jpeg(data, name)
        case ImageType.TIFF:
            return tiff.decode_tiff(data, name)
    raise ImageError(
        f"{name} is not a {EXPECTED} image (its content counts, not its name); "
        "convert it to one of these."
    )


def _scale(decoded: Decoded) -> GrayScale:
    pixels = decoded.pixels
    if decoded.padding is not None:  # the frame around the exposed field says nothing about it
        exposed = pixels[pixels != decoded.padding]
        pixels = exposed if exposed.size else pixels
    scale = scale_for_pixels(pixels, decoded.bits, signed=decoded.signed, inverted=decoded.inverted)
    return replace(scale, slope=decoded.slope, intercept=decoded.intercept, unit=decoded.unit)


def find_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """List the images of a folder in natural order (2 before 10), by ending or content.

    Hidden files and folders, folders named "masks", and files that are no images are left out.
    At most the first bytes of each file are read.

    Parameters
    ----------
    folder
        Where to look.
    recursive
        Whether to look into its subfolders, too.

    Raises
    ------
    ImageError
        If the folder is missing, cannot be read, or holds no image.
    """
    folder = Path(folder)
    try:
        files = list(_files(folder, recursive))
    except (OSError, ValueError) as cause:
        raise ImageError(
            f"Expected a folder of images, but {folder} cannot be listed: {reason_of(cause)}."
        ) from cause
    images = [path for path in files if _is_image(path)]
    if not images:
        where = " or its subfolders" if recursive else " itself (subfolders were not searched)"
        raise ImageError(
            f"Expected {EXPECTED} images in {folder}, but there is none in the folder{where}, "
            f"among {len(files)} file(s); check the folder's name, or convert the files."
        )
    return sorted(images, key=lambda path: natural_key(path.relative_to(folder)))


def natural_key(path: Path) -> tuple[object, ...]:
    """Return a sorting key that puts ``a2`` before ``a10``, regardless of case."""
    parts = (re.split(r"(\d+)", part.casefold()) for part in path.parts)
    numbered = tuple(
        tuple((int(piece), piece) if index % 2 else piece for index, piece in enumerate(pieces))
        for pieces in parts
    )
    return numbered, str(path)


def _files(folder: Path, recursive: bool) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _may_be_file(entry):
                yield Path(entry.path)
            elif (
                recursive
                and entry.is_dir(follow_symlinks=False)
                and entry.name.casefold() != MASK_FOLDER
            ):
                yield from _files(Path(entry.path), recursive)


def _may_be_file(entry: os.DirEntry[str]) -> bool:
    """Tell files, and links that lead nowhere: reading those says by name what is wrong."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:  # a link that leads in a circle
        return True


def claims_image(path: Path) -> bool:
    """Tell by its first bytes whether a file is an image; databases are not touched.

    See `is_database` for why. A DICOMDIR is a table of contents that begins as an image does.
    """
    if is_database(path) or path.name.casefold() == "dicomdir":
        return False
    try:
        with path.open("rb") as stream:
            return image_type(stream.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def _is_image(path: Path) -> bool:
    """Tell whether a file claims to be an image, by its ending or else by its first bytes.

    A damaged file with an image's ending is listed: opening it says what is wrong, whereas leaving
    it out would hide it.
    """
    return path.suffix.casefold() in ENDINGS or claims_image(path)
