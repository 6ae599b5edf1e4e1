"""YOLO detection labels: one text file per image, and the ``data.yaml`` that ultralytics reads.

A line is ``class cx cy w h``: the class id, then centre and size divided by the image's size. The
class id is the position in the project's class list. An empty file says "nothing here".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import ExportError

LabelledBox = tuple[str, RoiBox]

_DIGITS = 8
"""Decimals of a normalised number: a hundredth of a pixel survives in the largest images."""


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


def format_data_yaml(classes: Sequence[str], *, val: str = "images/val") -> str:
    """Return the text of ``data.yaml``.

    It names no root folder, so that ultralytics takes the one it lies in, and the data set can be
    moved.

    Parameters
    ----------
    classes
        Class names by id.
    val
        Folder of the validation images relative to ``data.yaml``.
    """
    lines = ['train: "images/train"', f"val: {_quoted(val)}", f"nc: {len(classes)}"]
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
