"""Small files of every kind, made with other libraries than those that read them where possible."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset

Array = npt.NDArray[Any]


def gradient(shape: tuple[int, int], levels: int, dtype: str = "uint8") -> Array:
    """A ramp with texture that uses all values 0..levels-1."""
    rows, cols = np.indices(shape)
    return ((rows * 7 + cols * cols // 3) % levels).astype(dtype)


def pillow_bytes(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(pixels: Array, **options: Any) -> bytes:
    return pillow_bytes(Image.fromarray(pixels), "PNG", **options)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(
    width: int,
    height: int,
    rows: bytes,
    *,
    depth: int = 8,
    colour: int = 0,
    interlace: int = 0,
    extra: bytes = b"",
) -> bytes:
    """A PNG of given header and unfiltered rows, right or not."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


def tiff(pixels: Array, **options: Any) -> bytes:
    stream = io.BytesIO()
    options = {"photometric": "minisblack", "metadata": None} | options
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def dicom_dataset(
    pixels: Array,
    *,
    bits: int | None = None,
    high_bit: int | None = None,
    photometric: str = "MONOCHROME2",
    syntax: str = pydicom.uid.ExplicitVRLittleEndian,
    **tags: Any,
) -> Dataset:
    """A data set around (H, W), (F, H, W) or (H, W, 3) integer pixels; None removes a tag."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PatientName = "Test^Phantom"
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    frames = pixels.shape[0] if pixels.ndim == 3 and not colour else 1
    dataset.Rows, dataset.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    dataset.SamplesPerPixel = 3 if colour else 1
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1 if high_bit is None else high_bit
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = pixels.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
    for keyword, value in tags.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            delattr(dataset, keyword)
    return dataset


def dicom_bytes(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def dicom(pixels: Array, **options: Any) -> bytes:
    return dicom_bytes(dicom_dataset(pixels, **options))


def bare_dicom(pixels: Array, *, implicit: bool = True, **options: Any) -> bytes:
    """A file without preamble and without group 2: nothing but its tags, little endian."""
    dataset = dicom_dataset(pixels, **options)
    del dataset.file_meta
    stream = io.BytesIO()
    dataset.save_as(stream, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    return stream.getvalue()


def encapsulated(pixels: Array, frames: list[bytes], syntax: str, **options: Any) -> bytes:
    """A compressed DICOM file of ready code streams."""
    dataset = dicom_dataset(pixels, syntax=syntax, **options)
    dataset.PixelData = pydicom.encaps.encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dicom_bytes(dataset)
