"""Cases by methods, as the paper's Fig. 12 and 13: what each method gets right and wrong.

Right pixels are tinted green, missed ones (FN) red, wrong ones (FP) blue; the true outline is drawn
in white. The first column is the image with its truth. Under every mask stands its DSC.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from napari_graydet.core.metrics import dice
from napari_graydet.io.files import atomic_write_bytes
from napari_graydet.workflows.compare.masks import Masks, key_of, pictured
from napari_graydet.workflows.dataset import Case, Dataset

Mask = npt.NDArray[np.bool_]
Colours = npt.NDArray[np.uint8]

CELL = 200
"""Longer side in pixels at which a case is shown."""

RIGHT, MISSED, WRONG, OUTLINE = (60, 200, 90), (235, 60, 60), (70, 120, 255), (255, 255, 255)
_LEGEND = (("right", RIGHT), ("missed (FN)", MISSED), ("wrong (FP)", WRONG))
_TINT = 0.45
_TEXT, _GAP = 18, 6
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Cell:
    """One case as one method sees it: (h, w, 3) uint8, and the line under it."""

    picture: Colours
    text: str


def write_picture(path: Path, test: str, data: Dataset, columns: Mapping[str, Masks]) -> bool:
    """Draw the kept cases of a test set by method into a PNG file.

    Parameters
    ----------
    path
        File to write.
    test, data
        The test set, by name and itself.
    columns
        Kept masks by method (`masks.read_masks`).

    Returns
    -------
    bool
        Whether there was anything to draw.

    Raises
    ------
    ImageError, MaskError, ProjectError
        If a case cannot be read, or the masks are of another image.
    ExportError
        If the file cannot be written.
    """
    cases = pictured(data).cases
    if not columns or not cases:
        return False
    rows = [
        _row(case, [masks.get(key_of(test, case.name)) for masks in columns.values()])
        for case in cases
    ]
    stream = io.BytesIO()
    grid([case.name for case in cases], ["truth", *columns], rows).save(stream, "PNG")
    atomic_write_bytes(path, stream.getvalue())
    return True


def _row(case: Case, found: Sequence[npt.NDArray[np.bool_] | None]) -> list[Cell]:
    """Return the cells of a case: the truth, then one a method; None is a method that failed."""
    samples = case.samples()
    gray = samples[0].image.display8()
    truths = np.stack([sample.mask for sample in samples])
    truth = _union(truths)
    cells = [Cell(tinted(gray, truth, truth), "")]
    for masks in found:
        if masks is None:
            cells.append(Cell(tinted(gray, truth, np.zeros_like(truth)), "failed"))
            continue
        score = fmean(dice(mask, true) for mask, true in zip(masks, truths, strict=True))
        cells.append(Cell(tinted(gray, truth, _union(masks)), f"DSC {score:.3f}"))
    return cells


def _union(masks: npt.NDArray[np.bool_]) -> Mask:
    return np.asarray(masks.any(axis=0), dtype=np.bool_)


def tinted(gray: npt.NDArray[np.uint8], truth: Mask, mask: Mask) -> Colours:
    """Return the (h, w, 3) picture of a mask over its image, at the size of a cell.

    Parameters
    ----------
    gray
        (H, W) windowed image.
    truth, mask
        (H, W) bool.
    """
    scale = CELL / max(gray.shape)
    size = (max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale)))
    small = np.asarray(Image.fromarray(gray).resize(size, Image.Resampling.LANCZOS))
    truth, mask = (
        np.asarray(Image.fromarray(m).resize(size, Image.Resampling.NEAREST)) for m in (truth, mask)
    )
    picture = np.repeat(small[..., None], 3, axis=2).astype(np.float64)
    for where, colour in ((truth & mask, RIGHT), (truth & ~mask, MISSED), (mask & ~truth, WRONG)):
        picture[where] += (np.array(colour) - picture[where]) * _TINT
    picture[truth & ~ndimage.binary_erosion(truth)] = OUTLINE
    return np.rint(picture).astype(np.uint8)


def grid(
    rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[Cell]]
) -> Image.Image:
    """Return the page: a line of cells for each row, names above and at the left."""
    font = ImageFont.load_default(_TEXT * 2 // 3)
    left = _GAP * 2 + max(int(font.getlength(_short(name))) for name in rows)
    heights = [max(cell.picture.shape[0] for cell in line) + _TEXT + _GAP for line in cells]
    width = left + len(columns) * (CELL + _GAP)
    page = Image.new("RGB", (width, _TEXT * 3 + sum(heights)), _PAPER)
    draw = ImageDraw.Draw(page)
    for place, name in enumerate(columns):
        draw.text((left + place * (CELL + _GAP), _GAP), name, _INK, font)
    top = _TEXT + _GAP
    for name, line, height in zip(rows, cells, heights, strict=True):
        draw.text((_GAP, top), _short(name), _INK, font)
        for place, cell in enumerate(line):
            x = left + place * (CELL + _GAP)
            page.paste(Image.fromarray(cell.picture), (x, top))
            draw.text((x, top + cell.picture.shape[0] + 1), cell.text, _INK, font)
        top += height
    for place, (text, colour) in enumerate(_LEGEND):
        draw.text((left + place * (CELL + _GAP) // 2, top), text, colour, font)
    return page


def _short(name: str) -> str:
    """Return a name that fits beside a row: its end, where names of images differ."""
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"


_LONGEST = 20
