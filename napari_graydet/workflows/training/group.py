"""Training in several processes: one leads and writes, the others help with its batches.

    torchrun --nproc-per-node 2 -m napari_graydet train all STUDY

The one that leads trains as if it were alone, and says what the others are to train with it
(`models.group`); what they write is thrown away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from napari_graydet.errors import CancelledError

T = TypeVar("T")

Elsewhere = Callable[[Path], object]
"""A training that another process makes too, in a folder that is thrown away; can be pickled."""


@contextmanager
def together(device: str) -> Iterator[bool]:
    """Train together with the other processes that torchrun has started, if there are any.

    Parameters
    ----------
    device
        "auto", "cuda", "mps" or "cpu".

    Yields
    ------
    bool
        Whether this process leads. The others have done all they had to when the block begins.

    Raises
    ------
    ModelError
        If there are more processes than GPUs, or they do not find each other.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield True
        return
    from napari_graydet.models.learning.group import joined

    with joined(device) as group:
        if group.leads:
            yield True
            with suppress(CancelledError):  # nothing is left to do, whatever became of them
                group.say(None)
            return
        try:
            _help()
        except CancelledError:  # the one that leads says why it ended
            yield False
            return
    yield False  # only now: a process that is still in the group may crash at its end


def with_others(here: Callable[[], T], elsewhere: Elsewhere) -> T:
    """Train something here, and in the other processes if there are any."""
    from napari_graydet.models.learning.group import current

    current().say(elsewhere)
    return here()


def _help() -> None:
    from napari_graydet.models.learning.group import current

    here: Elsewhere | None = None
    with TemporaryDirectory() as folder:
        while (training := current().say(here)) is not None:
            training(Path(folder))
