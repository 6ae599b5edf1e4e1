"""Shared with the tests of the project folder."""

from __future__ import annotations

from tests.project.conftest import folder

__all__ = ["folder"]
