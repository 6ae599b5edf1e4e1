"""Connections that a view takes down when it closes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Links:
    """Connections to signals (psygnal's or napari's) that end together."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Any, Callable[..., Any]]] = []

    def add(self, signal: Any, slot: Callable[..., Any]) -> None:
        """Connect a slot."""
        signal.connect(slot)
        self._pairs.append((signal, slot))

    def close(self) -> None:
        """Disconnect all; may be called twice."""
        for signal, slot in self._pairs:
            signal.disconnect(slot)
        self._pairs.clear()
