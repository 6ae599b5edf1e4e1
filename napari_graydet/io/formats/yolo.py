"""YOLO detection labels: one text file per image, and the ``data.yaml`` that ultralytics reads.

A line is ``class cx cy w h``: the class id, then centre and size divided by the image's size. The
class id is the position in the project's class list. An empty file says "nothing here".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import ExportError, FormatError, GeometryError
from napari_graydet.io.files import atomic_write_text, read_bytes
from napari_graydet.io.limits import MAX_LABEL_BYTES

LabelledBox = tuple[str, RoiBox]

_DIGITS = 8
"""Decimals of a normalised number: a hundredth of a pixel survives in the largest images."""
_SLACK = 0.01
"""How far beyond 0..1 other programs' rounding may reach, as ultralytics allows."""


def format_labels(
    boxes: Iterable[LabelledBox], classes: Sequence[str], shape: tuple[int, int]
) -> str:
    """Return the label file's text.

    Parameters
    ----------
    boxes
        Class name and rectangle in continuous pixels; clipped to the image.
    classes
        Class names; their positions are the ids.
    shape
        (H, W) of the image.

    Raises
    ------
    ExportError
        If a name is not among `classes`.
    GeometryError
        If a rectangle covers no pixel of the image.
    """
    lines = []
    for label, box in boxes:
        if label not in classes:
            raise ExportError(
                f"The class {label!r} is not in the project's list {list(classes)}; add it there."
            )
        numbers = box.clip(shape).to_cxcywh(shape)
        lines.append(" ".join([str(classes.index(label)), *(f"{v:.{_DIGITS}f}" for v in numbers)]))
    return "".join(f"{line}\n" for line in lines)


def parse_labels(
    text: str, classes: Sequence[str], shape: tuple[int, int], *, name: str = "labels"
) -> list[LabelledBox]:
    """Return the class names and rectangles of a label file's text.

    Parameters
    ----------
    text
        Lines of ``class cx cy w h``; empty lines are skipped.
    classes
        Class names by id.
    shape
        (H, W) of the image.
    name
        File name for messages.

    Returns
    -------
    boxes
        Class name and rectangle in continuous pixels, in the file's order.

    Raises
    ------
    FormatError
        If a line is no such line, or its id has no class.
    """
    boxes = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            boxes.append(_parse_line(line, classes, shape, f"Line {number} of {name}"))
    return boxes


def _parse_line(
    line: str, classes: Sequence[str], shape: tuple[int, int], where: str
) -> LabelledBox:
    fields = line.split()
    try:
        numbers = [float(field) for field in fields[1:]]
        class_id = int(fields[0])
    except ValueError:
        numbers, class_id = [], -1
    if len(numbers) != 4 or not all(
        math.isfinite(v) and -_SLACK <= v <= 1 + _SLACK for v in numbers
    ):
        raise FormatError(
            f"{where}: expected 'class cx cy w h' with a whole number and four from 0 to 1, got "
            f"{line.strip()[:60]!r}."
        )
    if not 0 <= class_id < len(classes):
        raise FormatError(
            f"{where}: class id {class_id} has no class; the list has {len(classes)}: "
            f"{list(classes)}."
        )
    cx, cy, w, h = numbers
    try:
        return classes[class_id], RoiBox.from_cxcywh(cx, cy, w, h, shape)
    except GeometryError as cause:
        raise FormatError(f"{where}: {cause}") from cause


def write_labels(
    path: Path, boxes: Iterable[LabelledBox], classes: Sequence[str], shape: tuple[int, int]
) -> None:
    """Write a label file, completely or not at all; see `format_labels`."""
    atomic_write_text(Path(path), format_labels(boxes, classes, shape))


def read_labels(path: Path, classes: Sequence[str], shape: tuple[int, int]) -> list[LabelledBox]:
    """Read a label file; an empty one has no boxes. See `parse_labels`.

    Raises
    ------
    FormatError
        If the file is missing, too large, not text, or not in the format.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size == 0:
        return []
    data = read_bytes(path, max_bytes=MAX_LABEL_BYTES, error=FormatError, limit_error=FormatError)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise FormatError(f"{path.name} is not a text file of YOLO labels.") from cause
    return parse_labels(text, classes, shape, name=path.name)


def format_data_yaml(
    classes: Sequence[str], *, train: str = "images/train", val: str = "images/val"
) -> str:
    """Return the text of ``data.yaml``.

    It names no root folder, so that ultralytics takes the one it lies in, and the data set can be
    moved.

    Parameters
    ----------
    classes
        Class names by id.
    train, val
        Image folders relative to ``data.yaml``.
    """
    lines = [f"train: {_quoted(train)}", f"val: {_quoted(val)}", f"nc: {len(classes)}"]
    lines.append("names:" if classes else "names: {}")
    lines += [f"  {number}: {_quoted(name)}" for number, name in enumerate(classes)]
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    """Return a YAML double-quoted scalar: names such as ``no`` or ``a: b`` stay text."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
