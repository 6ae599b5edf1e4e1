"""Names of output files: distinct where two images share a stem, and never those of images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from napari_graydet.errors import ExportError
from napari_graydet.io.masks import is_untouched


def distinct_names(paths: Sequence[PurePath | str]) -> list[str]:
    """Return one file name (without suffix) for each path, all different, also ignoring case.

    The stem where it is unique; else stem and suffix (``a_png``, ``a_dcm``); else a number more.

    Examples
    --------
    >>> distinct_names(["a.png", "b.png", "b.dcm", "x/b.dcm"])
    ['a', 'b_png', 'b_dcm', 'b_dcm_2']
    """
    plain = [PurePath(path) for path in paths]
    count = Counter(path.stem.casefold() for path in plain)
    taken = {path.stem.casefold() for path in plain if count[path.stem.casefold()] == 1}
    names = []
    for path in plain:
        if count[path.stem.casefold()] == 1:
            names.append(path.stem)
            continue
        names.append(_free(f"{path.stem}_{path.suffix.lstrip('.')}".rstrip("_"), taken))
        taken.add(names[-1].casefold())
    return names


def _free(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate.casefold() in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def keep_masks(targets: Iterable[Path]) -> None:
    """Refuse to write a mask where one lies that a person made, or changed.

    Raises
    ------
    ExportError
        If a target exists and is not as this program wrote it.
    """
    for target in targets:
        if target.exists() and not is_untouched(target):
            raise ExportError(
                f"{target} is there already and not as this program wrote it; move it away, or "
                "give another folder with -o."
            )


def keep_images(targets: Iterable[Path], images: Iterable[Path]) -> None:
    """Refuse to write a mask where an image lies, whatever links lead there.

    Raises
    ------
    ExportError
        If a target is one of the images.
    """
    sources = {os.path.realpath(path) for path in images}
    for target in targets:
        if os.path.realpath(target) in sources:
            raise ExportError(
                f"The mask of {target.stem} would overwrite the image itself; "
                "give another folder with -o."
            )
