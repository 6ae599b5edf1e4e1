"""Read many damaged versions of one file and print what happened as JSON (see test_mutations)."""

from __future__ import annotations

import json
import resource
import struct
import sys
import time
import traceback
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image
from pydicom import uid

from napari_graydet.errors import GraydetError
from napari_graydet.io.images import _decode, _scale
from tests.io.helpers import bare_dicom, dicom, encapsulated, gradient, pillow_bytes, png, tiff
from tests.io.test_dicom import rle

GRAY = gradient((40, 50), 256)
DEEP = gradient((40, 50), 4096, "uint16")


def sample(kind: str) -> bytes:
    match kind:
        case "png8":
            return png(GRAY)
        case "png16":
            return png(DEEP)
        case "png-palette":
            return pillow_bytes(Image.fromarray(GRAY).convert("P"), "PNG")
        case "jpeg":
            return pillow_bytes(Image.fromarray(GRAY), "JPEG")
        case "jpeg-progressive":
            return pillow_bytes(Image.fromarray(GRAY).convert("RGB"), "JPEG", progressive=True)
        case "tiff":
            return tiff(DEEP, metadata={})
        case "tiff-tiles-zlib":
            return tiff(DEEP, tile=(16, 16), compression="zlib", predictor=2)
        case "tiff-jpeg":
            return tiff(GRAY, compression="jpeg")
        case "tiff-big":
            return tiff(GRAY, bigtiff=True, byteorder=">", rowsperstrip=4)
        case "dicom":
            return dicom(DEEP, bits=12, PixelSpacing=[0.1, 0.2], RescaleSlope=2)
        case "dicom-implicit":
            return dicom(DEEP, syntax=uid.ImplicitVRLittleEndian, WindowCenter=5)
        case "dicom-deflated":
            return dicom(DEEP, syntax=uid.DeflatedExplicitVRLittleEndian, bits=12)
        case "dicom-bare":
            return bare_dicom(DEEP, WindowCenter=5)
        case "dicom-rle":
            return encapsulated(DEEP, [rle(DEEP)], uid.RLELossless)
        case "dicom-jpeg-lossless":
            return encapsulated(DEEP, [imagecodecs.ljpeg_encode(DEEP)], uid.JPEGLossless)
        case "dicom-jpeg-ls":
            return encapsulated(DEEP, [imagecodecs.jpegls_encode(DEEP)], uid.JPEGLSLossless)
        case "dicom-jpeg-2000":
            stream = imagecodecs.jpeg2k_encode(DEEP, codecformat="j2k", reversible=True, level=0)
            return encapsulated(DEEP, [stream], uid.JPEG2000Lossless)
    raise ValueError(kind)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes, mostly in the header; or cut, insert, repeat, overwrite with extremes."""
    out = bytearray(data)
    where = int(rng.integers(len(out) if rng.random() < 0.4 else min(len(out), 600)))
    match rng.integers(6):
        case 0:
            out = out[:where]
        case 1:
            out[where : where + 4] = rng.choice(
                [b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"]
            )
        case 2:
            out[where:where] = rng.bytes(int(rng.integers(1, 30)))
        case 3:
            del out[where : where + int(rng.integers(1, 30))]
        case _:
            for _ in range(int(rng.integers(1, 6))):
                index = int(rng.integers(len(out) if rng.random() < 0.4 else min(len(out), 600)))
                out[index] = rng.integers(256)
    return bytes(out)


def with_checksums(data: bytes) -> bytes:
    """Repair the checksums of a PNG, so that the damage reaches the decoder."""
    out, start = bytearray(data), 8
    while start + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, start)
        end = start + 8 + length
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[start + 4 : end]))
        start = end + 4
    return bytes(out)


def peak_megabytes() -> int:
    """Return this program's peak; `ru_maxrss` would count the parent's before exec, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)  # macOS: bytes
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def main(kind: str, count: int) -> dict[str, object]:
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    good = sample(kind)
    assert _decode(good, kind, None).pixels.shape == GRAY.shape
    read, refused, slowest, unmapped = 0, 0, 0.0, []
    for _ in range(count):
        data = mutated(good, rng)
        if kind.startswith("png") and rng.random() < 0.8:
            data = with_checksums(data)
        start = time.perf_counter()
        try:
            _scale(_decode(data, "file", None))
            read += 1
        except GraydetError as error:
            assert "\n" not in str(error), str(error)
            assert len(str(error)) < 500, str(error)
            refused += 1
        except Exception:  # noqa: BLE001 - what this looks for
            unmapped.append(traceback.format_exc()[-1500:])
        slowest = max(slowest, time.perf_counter() - start)
    return {
        "read": read,
        "refused": refused,
        "unmapped": unmapped[:3],
        "slowest_seconds": round(slowest, 3),
        "peak_megabytes": peak_megabytes(),
    }


if __name__ == "__main__":
    print(json.dumps({kind: main(kind, int(sys.argv[1])) for kind in sys.argv[2:]}))
