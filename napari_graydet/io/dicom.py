"""DICOM files: one frame of stored gray values, with what is needed to show them rightly.

pydicom parses the tags (dicom_tags.py); the pixels are taken out here, since stored values are
wanted: without rescale, without window, with any place of the bits in their container. Compressed
frames are decoded by imagecodecs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.processing import apply_color_lut

from napari_graydet.errors import ImageError
from napari_graydet.io import jpeg
from napari_graydet.io.decoding import BROKEN, Decoded, Pixels, damaged, gray_of_channels
from napari_graydet.io.dicom_tags import parse, silent_pydicom
from napari_graydet.io.limits import check_frames, check_size

_GRAY = ("MONOCHROME1", "MONOCHROME2")
_BRIGHTNESS_FIRST = ("YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_SPACING_TAGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_UNITS = ("OD", "HU", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT")
"""Units of DICOM's rescale type; US, unspecified, is none."""
_J2K_SIZE = b"\xff\x4f\xff\x51"

_BROKEN = (*BROKEN, BytesLengthException, InvalidDicomError)


def decode_dicom(data: bytes, name: str, frame: int | None) -> Decoded:
    """Decode one frame of a DICOM file to stored values.

    Parameters
    ----------
    data
        The file's bytes.
    name
        File name for messages.
    frame
        Which frame; None if there must be only one.

    Raises
    ------
    ImageError
        If it is damaged, holds no image, is coloured, has no such frame or several and none was
        chosen, has other than 8 to 16 bits, or a compression that is not known.
    LimitError
        If it has too many pixels or frames, or unpacks to more than a file may have.
    """
    with silent_pydicom():
        try:
            return _Reader(parse(data, name), name).decode(frame)
        except _BROKEN as cause:  # its text may quote any tag, so only its type is told
            raise damaged(name, "DICOM", type(cause).__name__) from cause


def _known_name(value: Any) -> str:
    """Return the standard's name of a UID; text that is no known UID is never quoted."""
    known = uid.UID(str(value))
    return known.name if known.name != str(value) else "an unknown type"


class _Reader:
    """Takes one frame out of a parsed file."""

    def __init__(self, dataset: Dataset, name: str) -> None:
        self._tags, self._name = dataset, name
        self._check_holds_image()
        self._shape = self._number("Rows", 0), self._number("Columns", 0)
        self._samples = self._number("SamplesPerPixel", 1)
        self._colours = str(dataset.get("PhotometricInterpretation", "MONOCHROME2")).strip()
        self._allocated = self._number("BitsAllocated", 16)
        self._stored = self._number("BitsStored", self._allocated)
        self._high_bit = self._number("HighBit", self._stored - 1)
        self._signed = self._number("PixelRepresentation", 0) == 1
        self._frames = max(self._number("NumberOfFrames", 1), 1)
        self._syntax = self._transfer_syntax()

    def decode(self, frame: int | None) -> Decoded:
        """Return the frame; see `decode_dicom`."""
        self._check()
        values = self._values(self._index(frame))
        slope, intercept, notes = self._rescale()
        pixels, bits = self._to_gray(values), self._stored
        if self._colours == "PALETTE COLOR":
            bits = 8 * pixels.dtype.itemsize
        if pixels.dtype == np.int8:
            pixels = pixels.astype(np.int16)
        return Decoded(
            pixels,
            bits,
            signed=self._signed and self._colours in _GRAY,
            inverted=(self._colours == "MONOCHROME1") != (slope < 0),
            slope=slope,
            intercept=intercept,
            unit=self._unit(),
            spacing_mm=self._spacing(),
            padding=self._padding(),
            notes=notes,
        )

    # --- what the tags say ----------------------------------------------------------------------

    def _check_holds_image(self) -> None:
        if "PixelData" in self._tags and self._tags["PixelData"].value:
            return
        if "FloatPixelData" in self._tags or "DoubleFloatPixelData" in self._tags:
            raise ImageError(
                f"{self._name} holds floating point values, expected integers of 8 to 16 bit; "
                "convert it."
            )
        kind = _known_name(self._tags.get("SOPClassUID"))
        raise ImageError(
            f"{self._name} is a DICOM file without pixels ({kind}), or it was cut off; "
            "open a radiograph."
        )

    def _number(self, keyword: str, default: int) -> int:
        value = self._tags.get(keyword)
        if value is None or value == "":
            return default
        return int(value)

    def _transfer_syntax(self) -> uid.UID:
        meta = getattr(self._tags, "file_meta", Dataset())
        syntax = meta.get("TransferSyntaxUID")
        if syntax:
            return uid.UID(str(syntax))
        implicit, little = self._tags.original_encoding
        if little is False:
            return uid.ExplicitVRBigEndian
        return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian

    def _check(self) -> None:
        check_size(self._shape[1], self._shape[0], self._name)
        check_frames(self._frames, self._name)
        if self._allocated not in (8, 16) or not 8 <= self._stored <= self._allocated:
            raise ImageError(
                f"{self._name} stores {self._stored} bits in {self._allocated}, expected 8 to 16 "
                "in 8 or 16; convert it."
            )
        if not self._stored - 1 <= self._high_bit < self._allocated:
            raise damaged(self._name, "DICOM", f"impossible HighBit {self._high_bit}")
        known = {1: (*_GRAY, "PALETTE COLOR"), 3: ("RGB", *_BRIGHTNESS_FIRST)}
        if self._colours not in known.get(self._samples, ()):
            raise ImageError(
                f"{self._name} has {self._samples} sample(s) per pixel of a photometric "
                "interpretation that does not fit, expected MONOCHROME1 or MONOCHROME2; convert "
                "it to gray."
            )

    def _index(self, frame: int | None) -> int:
        if frame is None and self._frames > 1:
            raise ImageError(
                f"{self._name} has {self._frames} frames, expected a single radiograph; pick one "
                "with read_image(path, frame=k) or save single frames as files."
            )
        index = frame or 0
        if not 0 <= index < self._frames:
            raise ImageError(
                f"{self._name} has no frame {index}; it has frames 0 to {self._frames - 1}."
            )
        return index

    def _rescale(self) -> tuple[float, float, tuple[str, ...]]:
        if self._tags.get("ModalityLUTSequence"):
            return 1.0, 0.0, ("the modality LUT is not linear and was not applied",)
        slope = self._float("RescaleSlope", 1.0)
        intercept = self._float("RescaleIntercept", 0.0)
        if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
            return 1.0, 0.0, (f"the rescale {slope} x + {intercept} is senseless and was ignored",)
        return slope, intercept, ()

    def _float(self, keyword: str, default: float) -> float:
        value = self._tags.get(keyword)
        return default if value is None or value == "" else float(value)

    def _unit(self) -> str:
        unit = str(self._tags.get("RescaleType") or "")
        return unit if unit in _UNITS else ""

    def _padding(self) -> int | None:
        if self._tags.get("PixelPaddingValue") in (None, ""):
            return None
        return self._number("PixelPaddingValue", 0)

    def _spacing(self) -> tuple[float, float] | None:
        for keyword in _SPACING_TAGS:
            try:
                row, column = (float(v) for v in self._tags.get(keyword) or ())
            except (TypeError, ValueError):  # an extra: the image itself is whole
                continue
            if all(math.isfinite(v) and v > 0 for v in (row, column)):
                return row, column
        return None

    # --- pixels ---------------------------------------------------------------------------------

    def _values(self, index: int) -> Pixels:
        """Return stored values of one frame, (H, W) or (H, W, 3)."""
        high_bit = self._high_bit
        if self._syntax.is_encapsulated:
            data = get_frame(self._tags.PixelData, index, number_of_frames=self._frames)
            raw = self._decompress(data)
            if self._syntax != uid.RLELossless:  # codecs put the lowest bit at the lowest place
                high_bit = self._stored - 1
        else:
            raw = self._native(index)
        expected = self._shape if self._samples == 1 else (*self._shape, self._samples)
        if raw.shape != expected or raw.dtype.itemsize * 8 > self._allocated:
            raise damaged(
                self._name,
                "DICOM",
                f"its pixels are {raw.shape} of {raw.dtype}, its tags say {expected} of "
                f"{self._allocated} bit",
            )
        return self._stored_values(raw.astype(self._container("=")), high_bit)

    def _stored_values(self, raw: Pixels, high_bit: int) -> Pixels:
        """Take the stored bits out of their containers; the others may hold overlays or noise."""
        up = np.left_shift(raw, self._allocated - 1 - high_bit)
        if self._signed:
            up = up.view(f"i{up.dtype.itemsize}")
        return np.asarray(np.right_shift(up, self._allocated - self._stored))

    def _native(self, index: int) -> Pixels:
        if self._colours == "YBR_FULL_422":
            raise ImageError(f"{self._name} has subsampled colours; convert it to gray.")
        data, count = self._tags.PixelData, math.prod(self._shape) * self._samples
        big_endian = self._syntax == uid.ExplicitVRBigEndian
        if big_endian and self._allocated == 8 and self._tags["PixelData"].VR == "OW":
            data = np.frombuffer(data[: len(data) // 2 * 2], np.uint16).byteswap().tobytes()
        container = self._container(">" if big_endian else "<")
        start = index * count * container.itemsize
        if len(data) < start + count * container.itemsize:
            raise damaged(self._name, "DICOM", f"{len(data)} bytes of pixels are not enough")
        flat = np.frombuffer(data, container, count, start)
        return self._arranged(flat, by_plane=self._number("PlanarConfiguration", 0) == 1)

    def _container(self, order: str) -> np.dtype[np.unsignedinteger[Any]]:
        return np.dtype(f"{order}u{self._allocated // 8}")

    def _arranged(self, flat: Pixels, *, by_plane: bool) -> Pixels:
        if self._samples == 1:
            return flat.reshape(self._shape)
        if by_plane:
            return np.moveaxis(flat.reshape(self._samples, *self._shape), 0, -1)
        return flat.reshape(*self._shape, self._samples)

    def _decompress(self, data: bytes) -> Pixels:
        decoder = self._decoders().get(self._syntax)
        if decoder is None:
            raise ImageError(
                f"{self._name} is compressed as {_known_name(self._syntax)}, which is not read; "
                "convert it to explicit VR little endian."
            )
        return decoder(data)

    def _decoders(self) -> dict[str, Callable[[bytes], Pixels]]:
        as_jpeg = partial(jpeg.decode_stream, name=self._name)
        return {
            uid.RLELossless: self._run_lengths,
            uid.JPEGBaseline8Bit: as_jpeg,
            uid.JPEGExtended12Bit: as_jpeg,
            uid.JPEGLossless: as_jpeg,
            uid.JPEGLosslessSV1: as_jpeg,
            uid.JPEGLSLossless: self._jpeg_ls,
            uid.JPEGLSNearLossless: self._jpeg_ls,
            uid.JPEG2000Lossless: self._jpeg_2000,
            uid.JPEG2000: self._jpeg_2000,
        }

    def _run_lengths(self, data: bytes) -> Pixels:
        container = self._container("<")
        size = math.prod(self._shape) * self._samples * container.itemsize
        flat = np.frombuffer(imagecodecs.dicomrle_decode(data, container, out=size), container)
        return self._arranged(flat, by_plane=True)

    def _jpeg_ls(self, data: bytes) -> Pixels:
        jpeg.read_header(data, self._name)
        return np.asarray(imagecodecs.jpegls_decode(data))

    def _jpeg_2000(self, data: bytes) -> Pixels:
        start = data.find(_J2K_SIZE)
        if start < 0:
            raise damaged(self._name, "JPEG 2000", "its header is missing")
        x1, y1, x0, y0 = struct.unpack_from(">4I", data, start + 8)
        check_size(x1 - x0, y1 - y0, self._name)
        return np.asarray(imagecodecs.jpeg2k_decode(data))

    def _to_gray(self, values: Pixels) -> Pixels:
        if self._colours in _GRAY:
            return np.ascontiguousarray(values)
        if self._colours == "PALETTE COLOR":
            values = apply_color_lut(values, self._tags)
        elif self._colours in _BRIGHTNESS_FIRST and not self._syntax.is_encapsulated:
            neutral = 2 ** (self._stored - 1)
            if (values[..., 1:] == neutral).all():
                return np.ascontiguousarray(values[..., 0])
        lossy = self._syntax in uid.JPEGTransferSyntaxes
        return gray_of_channels(values, self._name, tolerance=jpeg.CHROMA_NOISE if lossy else 0)
