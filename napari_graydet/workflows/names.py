"""Names of output files: the image's stem, made distinct where two images share one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath


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
