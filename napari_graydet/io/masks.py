"""Masks on disk: PNG with 0/255, or with uint8 label ids."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from napari_graydet.errors import ImageError, MaskError
from napari_graydet.io import png, tiff
from napari_graydet.io.files import atomic_write_bytes, read_bytes
from napari_graydet.io.limits import MAX_FILE_BYTES

Mask = npt.NDArray[np.bool_]
MAX_LABELS = 255

_OURS = "napari-graydet"
"""Keyword of the text in our PNG files: the SHA-256 of their pixels."""


def read_mask(path: Path, shape: tuple[int, int]) -> Mask:
    """Read the mask of an image: every pixel that is not 0 (black) belongs to it.

    Parameters
    ----------
    path
        A PNG (any depth, palette or RGB(A)) or an integer TIFF file. JPEG is refused: its noise
        is not 0.
    shape
        (H, W) of the image.

    Returns
    -------
    mask
        (H, W) bool.

    Raises
    ------
    MaskError
        If the file is missing, damaged, of another type or of another size.
    """
    values = _read_values(Path(path), shape)
    if values.ndim == 2:
        return np.asarray(values != 0)
    colours = values[..., :-1] if values.shape[2] in (2, 4) else values
    return np.asarray((colours != 0).any(axis=2))


def read_label_map(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Read a mask of label ids, 0 being the background; otherwise as `read_mask`.

    Returns
    -------
    (H, W) uint8

    Raises
    ------
    MaskError
        As `read_mask`, and if it is in colour or holds other numbers than 0 to 255.
    """
    values = _read_values(Path(path), shape)
    if values.ndim != 2 or values.min() < 0 or values.max() > MAX_LABELS:
        raise MaskError(
            f"Expected label ids from 0 to {MAX_LABELS} in {Path(path).name}, one a pixel, got "
            f"{'colours' if values.ndim != 2 else f'{values.min()} to {values.max()}'}; "
            "save it as 8-bit gray PNG."
        )
    return values.astype(np.uint8)


def _read_values(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.integer]:
    """Read the stored values of a mask, (H, W) or (H, W, channels)."""
    data = read_bytes(path, max_bytes=MAX_FILE_BYTES, error=MaskError, limit_error=MaskError)
    try:
        if data.startswith(png.SIGNATURE):
            values, _ = png.decode_channels(data, path.name)
        elif data.startswith(tiff.SIGNATURES):
            values = tiff.decode_tiff(data, path.name).pixels
        else:
            raise MaskError(f"{path.name} is neither a PNG nor a TIFF mask; save it as PNG.")
    except ImageError as cause:
        raise MaskError(f"The mask cannot be read: {cause}") from cause
    if values.shape[:2] != tuple(shape):
        raise MaskError(
            f"The mask {path.name} is {values.shape[1]} x {values.shape[0]} pixels, its image "
            f"{shape[1]} x {shape[0]}; take the mask that was made on this image."
        )
    return values


def write_mask(
    path: Path, mask: npt.NDArray[np.bool_ | np.integer], *, signed: bool = False
) -> None:
    """Write a mask as 8-bit gray PNG, completely or not at all.

    Parameters
    ----------
    path
        File to write; missing folders are made.
    mask
        (H, W) bool, written as 0/255; or integers 0 to 255 (label ids), written as they are.
    signed
        Whether the file says what it holds, so that the same command may replace it as long as
        nobody has changed it (`is_untouched`): for what can be computed again.

    Raises
    ------
    MaskError
        If it is not such an array.
    ExportError
        If the file cannot be written.
    """
    values = np.asarray(mask)
    if values.ndim != 2 or values.size == 0:
        raise MaskError(f"Expected a mask of shape (H, W), got {values.shape}.")
    if values.dtype == np.bool_:
        values = np.where(values, np.uint8(255), np.uint8(0))
    elif not np.issubdtype(values.dtype, np.integer):
        raise MaskError(f"Expected a mask of bool or label ids, got {values.dtype}.")
    elif values.min() < 0 or values.max() > MAX_LABELS:
        raise MaskError(
            f"Expected label ids from 0 to {MAX_LABELS}, got {values.min()} to {values.max()}."
        )
    values = np.ascontiguousarray(values, dtype=np.uint8)
    stream, note = io.BytesIO(), PngInfo()
    if signed:
        note.add_text(_OURS, _digest(values))
    Image.fromarray(values).save(stream, "PNG", pnginfo=note)
    atomic_write_bytes(Path(path), stream.getvalue())


def is_untouched(path: Path) -> bool:
    """Tell whether a file is a mask that `write_mask` signed, and nobody has changed since.

    What is not may be replaced by nobody but a person: it can be hours of work.
    """
    try:
        data = read_bytes(path, max_bytes=MAX_FILE_BYTES, error=MaskError, limit_error=MaskError)
        if not data.startswith(png.SIGNATURE):
            return False
        values, _ = png.decode_channels(data, path.name)
    except (MaskError, ImageError):
        return False
    if values.dtype != np.uint8:
        return False
    note = f"tEXt{_OURS}\0{_digest(values.astype(np.uint8))}".encode("latin-1")
    return note in data


def _digest(values: npt.NDArray[np.uint8]) -> str:
    shape = np.array(values.shape, dtype="<i8").tobytes()
    return hashlib.sha256(shape + np.ascontiguousarray(values).tobytes()).hexdigest()
