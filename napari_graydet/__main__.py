"""``python -m napari_graydet``: the same as the console script."""

from __future__ import annotations

from napari_graydet.cli import main

if __name__ == "__main__":
    main()
