"""The sample radiographs of the project, and the command that writes more of them."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from napari_graydet.workflows.phantoms.make import Phantom, make_phantom

Array = NDArray[Any]
_DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"


@dataclass(frozen=True)
class _Sample:
    stem: str
    suffix: str
    kind: str
    seed: int
    size: int = 640
    bits: int = 8
    monochrome1: bool = False


_SAMPLES = (
    _Sample("chest_01", ".png", "chest", 105),
    _Sample("chest_02", ".png", "chest", 107),
    _Sample("chest_03", ".jpg", "chest", 103),
    _Sample("chest_04", ".dcm", "chest", 116, 512, 12),
    _Sample("chest_05", ".dcm", "chest", 110, 512, 12, True),
    _Sample("forearm_01", ".png", "forearm", 202),
    _Sample("forearm_02", ".png", "forearm", 204),
    _Sample("forearm_03", ".tif", "forearm", 212, 512, 16),
    _Sample("forearm_04", ".png", "forearm", 214),
    _Sample("forearm_05", ".dcm", "forearm", 216, 512, 12),
    _Sample("hand_01", ".png", "hand", 301),
    _Sample("hand_02", ".png", "hand", 303),
    _Sample("hand_03", ".tif", "hand", 317, 512, 16),
    _Sample("hand_04", ".png", "hand", 314, 768),
    _Sample("hand_05", ".dcm", "hand", 312, 512, 12),
)


def write_samples(folder: Path) -> list[Path]:
    """Write the sample radiographs and their masks; the same bytes every time.

    Parameters
    ----------
    folder : Path
        Gets ``images/`` (PNG, JPEG, 16-bit TIFF, 12-bit DICOM) and ``masks/<stem>.png`` (0/255).

    Returns
    -------
    list of Path
        The image files.
    """
    written = []
    for sample in _SAMPLES:
        phantom = make_phantom(
            sample.kind,
            np.random.default_rng(sample.seed),
            size=sample.size,
            bits=sample.bits,
            monochrome1=sample.monochrome1,
        )
        written.append(write_phantom(phantom, Path(folder), sample.stem, sample.suffix))
    return written


def write_phantom(phantom: Phantom, folder: Path, stem: str, suffix: str) -> Path:
    """Write one phantom as ``images/<stem><suffix>`` with ``masks/<stem>.png``.

    ``.png`` and ``.jpg`` hold 8 bits (PNG also 16), ``.tif`` and ``.dcm`` any depth.
    """
    image = folder / "images" / f"{stem}{suffix}"
    mask = folder / "masks" / f"{stem}.png"
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(phantom.mask, 255, 0).astype(np.uint8)).save(mask, optimize=True)
    if suffix == ".dcm":
        _dicom(phantom, stem).save_as(image, enforce_file_format=True)
    elif suffix == ".tif":
        tifffile.imwrite(
            image,
            phantom.pixels,
            photometric="minisblack",
            compression="zlib",
            predictor=True,
            metadata=None,
        )
    elif suffix == ".jpg":
        Image.fromarray(phantom.pixels).save(image, quality=92)
    else:
        Image.fromarray(phantom.pixels).save(image, optimize=True)
    return image


def _dicom(phantom: Phantom, stem: str) -> FileDataset:
    """A digital X-ray image without anything about a patient."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_DIGITAL_XRAY)
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["napari-graydet", stem])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(BytesIO(), Dataset(), file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = generate_uid(entropy_srcs=["napari-graydet", stem, "study"])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=["napari-graydet", stem, "series"])
    data.PatientName = "Phantom"
    data.PatientID = stem
    data.Modality = "DX"
    data.ImageType = ["DERIVED", "PRIMARY"]
    data.BodyPartExamined = {"chest": "CHEST", "hand": "HAND", "forearm": "EXTREMITY"}[phantom.kind]
    data.Rows, data.Columns = phantom.pixels.shape
    data.ImagerPixelSpacing = [round(phantom.spacing_mm, 5)] * 2
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME1" if phantom.monochrome1 else "MONOCHROME2"
    data.BitsAllocated = 8 if phantom.bits == 8 else 16
    data.BitsStored, data.HighBit = phantom.bits, phantom.bits - 1
    data.PixelRepresentation = 0
    data.RescaleSlope, data.RescaleIntercept = "1", "0"
    data.PixelData = phantom.pixels.astype("<u2" if phantom.bits > 8 else "u1").tobytes()
    return data
