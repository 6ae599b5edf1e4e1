"""The bytes of a DICOM file -> its tags: recognised by content, unpacked within limits, parsed."""

from __future__ import annotations

import io
import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pydicom
from pydicom import uid
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset

from napari_graydet.errors import LimitError
from napari_graydet.io import limits
from napari_graydet.io.decoding import damaged

_PREAMBLE = 128
_MAGIC = b"DICM"
_META_GROUP, _FIRST_GROUP = 2, 8
_VR_OF_FIRST = (b"UL", b"UI", b"OB", b"CS", b"DA", b"SH", b"LO")
_TEXTS = ("AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UI")
_CONTROL = frozenset(range(1, 32)) - frozenset(b"\x1b\n\r\f\t")
_UNDEFINED = 0xFFFFFFFF
_CHUNK = 2**20

_PARSING = threading.Lock()
_PYDICOM_LOG = logging.getLogger("pydicom")


@contextmanager
def silent_pydicom() -> Iterator[None]:
    """Keep pydicom's remarks on odd values from the screen and the log: they quote tags.

    Warning filters and loggers belong to all threads, therefore one at a time.
    """
    with _PARSING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, _PYDICOM_LOG.disabled = _PYDICOM_LOG.disabled, True
        try:
            yield
        finally:
            _PYDICOM_LOG.disabled = before


# --- recognising --------------------------------------------------------------------------------


def is_dicom(head: bytes) -> bool:
    """Tell a DICOM file by its first 132 bytes, or an old one without preamble by its first tags.

    Such an old file begins with tags of group 2 or 8, with or without their types (explicit or
    implicit VR), little endian.
    """
    if head[_PREAMBLE : _PREAMBLE + 4] == _MAGIC:
        return True
    if head[:2] in (b"\x02\0", b"\x08\0") and head[3:4] == b"\0" and head[4:6] in _VR_OF_FIRST:
        return True
    return _begins_with_implicit_tags(head)


def _begins_with_implicit_tags(head: bytes) -> bool:
    """Tell whether bytes begin with at least two sensible tags in implicit VR little endian.

    Nothing marks such a file. So all tags in sight must rise, be known or private, and have even
    lengths that fit their type, and text must be text.
    """
    start, last, seen = 0, (_FIRST_GROUP << 16) - 1, 0
    while start + 8 <= len(head):
        group, element, length = struct.unpack_from("<HHI", head, start)
        tag = group << 16 | element
        if tag <= last or (seen == 0 and group != _FIRST_GROUP):
            return False
        if not _is_sensible(tag, length, head[start + 8 : start + 8 + length]):
            return False
        last, seen = tag, seen + 1
        if length == _UNDEFINED:
            break
        start += 8 + length
    return seen >= 2


def _is_sensible(tag: int, length: int, value: bytes) -> bool:
    """Tell whether a value, as far as it is in sight, can be that of a tag."""
    if tag & 0xFFFF == 0:  # the length of the group
        return length == 4
    if tag >> 16 & 1:  # private
        return length % 2 == 0
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return False
    if length == _UNDEFINED:
        return vr == "SQ"
    if vr == "UI":
        return length % 2 == 0 and not value.strip(b"0123456789.\\\0")
    if vr in _TEXTS:
        return length % 2 == 0 and not _CONTROL.intersection(value)
    return length % (4 if vr == "UL" else 2) == 0


# --- parsing ------------------------------------------------------------------------------------


def parse(data: bytes, name: str) -> Dataset:
    """Parse the tags of a DICOM file, inside of `silent_pydicom`.

    Parameters
    ----------
    data
        The file's bytes; `is_dicom` must have found it to be one.
    name
        File name for messages.

    Raises
    ------
    ImageError
        If it is deflated, and that part is cut off.
    LimitError
        If it is deflated, and unpacks to more than a file may have.
    Exception
        Of many types, from pydicom, if it is broken.
    """
    stream = io.BytesIO(data)
    stream.seek(_PREAMBLE + 4 if data[_PREAMBLE : _PREAMBLE + 4] == _MAGIC else 0)
    meta = read_dataset(
        stream,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag >> 16 != _META_GROUP,
    )
    if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
        # pydicom would inflate all of it at once, whatever its size
        inflated = _inflated(stream.read(), name)
        tags = read_dataset(inflated, is_implicit_VR=False, is_little_endian=True)
        tags.file_meta = FileMetaDataset(meta)
        return tags
    stream.seek(0)
    return pydicom.dcmread(stream, force=True)


def _inflated(packed: bytes, name: str) -> io.BytesIO:
    """Unpack a deflated part, as long as it is no larger than a whole file may be."""
    unpacker, out = zlib.decompressobj(-zlib.MAX_WBITS), io.BytesIO()
    while not unpacker.eof:
        chunk = unpacker.decompress(packed, _CHUNK)
        packed = unpacker.unconsumed_tail
        if not chunk and not packed and not unpacker.eof:
            raise damaged(name, "DICOM", "its deflated part is cut off")
        out.write(chunk)
        if out.tell() > limits.MAX_FILE_BYTES:
            raise LimitError(
                f"{name} is deflated and unpacks to more than the "
                f"{limits.MAX_FILE_BYTES / 2**20:,.0f} MiB that are read; crop it or split it."
            )
    out.seek(0)
    return out
