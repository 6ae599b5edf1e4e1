"""What is too large to be read. Checked before anything is decoded or allocated.

A plain radiograph has 2 to 30 megapixels; the limits leave room and keep a damaged or hostile file
from taking the memory and with it the session.
"""

from __future__ import annotations

from napari_graydet.errors import ImageError, LimitError

MAX_FILE_BYTES = 512 * 2**20
"""Largest image file."""

MAX_PIXELS = 100_000_000
"""Most pixels of one image (or frame)."""

MAX_FRAMES = 10_000
"""Most frames of a DICOM file, and pages of a TIFF file."""

MAX_WEIGHTS_BYTES = 2 * 2**30
"""Largest weights file."""

MAX_CARD_BYTES = 2**20
"""Largest card of a weights file."""

MAX_TABLE_BYTES = 16 * 2**20
"""Largest table of patients."""


def check_size(width: int, height: int, name: str) -> None:
    """Refuse an image without pixels, or with too many.

    Raises
    ------
    ImageError
        If the width or height is not positive.
    LimitError
        If there are more than `MAX_PIXELS`.
    """
    if width <= 0 or height <= 0:
        raise ImageError(f"{name} has no pixels ({width} x {height}); copy or export it again.")
    if width * height > MAX_PIXELS:
        raise LimitError(
            f"{name} has {width} x {height} = {width * height / 1e6:,.0f} megapixels, more than "
            f"the {MAX_PIXELS / 1e6:,.0f} that are read; crop it or reduce it."
        )


def check_frames(count: int, name: str) -> None:
    """Refuse a file with more than `MAX_FRAMES` frames.

    Raises
    ------
    LimitError
        If there are too many.
    """
    if count > MAX_FRAMES:
        raise LimitError(
            f"{name} has {count:,} frames, more than the {MAX_FRAMES:,} that are read; split it."
        )
