"""napari-graydet: from grayscale radiographs to trustworthy masks, with the researcher in the loop."""

from __future__ import annotations

__version__ = "0.1.0"
