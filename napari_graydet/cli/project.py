"""Opening a project for a verb."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_graydet.cli.boundary import complain

if TYPE_CHECKING:
    from napari_graydet.project.store import ProjectStore


@contextmanager
def opened(folder: Path) -> Iterator[ProjectStore]:
    """Open a project, pass on what it has to say, and close it."""
    from napari_graydet.project.store import ProjectStore

    with ProjectStore.open(folder) as store:
        for notice in store.notices:
            complain(notice)
        yield store
