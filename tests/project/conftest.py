"""Folders in memory: most of these tests are about logic, and a test disk can be slow."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_graydet.project.store import ProjectStore
from tests.project.projects import make_project

MEMORY = Path("/dev/shm")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return an empty folder, in memory where there is such a disk."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        yield Path(name) / "a project #1 ü"


@pytest.fixture
def store(folder: Path) -> Iterator[ProjectStore]:
    """Return a new project of three images."""
    with make_project(folder) as store:
        yield store
