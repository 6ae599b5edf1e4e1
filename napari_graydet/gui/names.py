"""Long names of images in little room: what they share goes first. No Qt.

Radiographs of one study are called alike, ``tibia_train_01064104_1x1``; cut in the middle they all
look the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

DOTS = "…"
BREAKS = " _-./\\"
"""Where a name may be cut, so that words and numbers stay whole."""


@dataclass(frozen=True)
class Shared:
    """How many characters all names of a list have in common, at the start and at the end."""

    start: int = 0
    end: int = 0

    @classmethod
    def of(cls, names: Iterable[str]) -> Shared:
        """Compare names; with fewer than two different ones nothing is shared."""
        known = set(names)
        if len(known) < 2:
            return cls()
        start = _whole_words(_beginning(known))
        return cls(start, _whole_words(_beginning({name[start:][::-1] for name in known})))

    def own(self, name: str) -> str:
        """Return the part of a name that the others don't have, with dots where it was cut."""
        middle = name[self.start : len(name) - self.end]
        if not middle:
            return name
        return f"{DOTS * bool(self.start)}{middle}{DOTS * bool(self.end)}"

    def fitted(self, name: str, width: Callable[[str], int], room: int) -> str:
        """Return the name if there is room for it, else what is its own.

        Parameters
        ----------
        name
            One of those that were compared.
        width
            Returns how wide a text is.
        room
            How wide it may be.
        """
        if width(name) <= room:
            return name
        own = self.own(name)
        if width(own) > room:  # at least without the dots
            own = own.strip(DOTS)
        return own


def _beginning(names: set[str]) -> str:
    """Return what all begin with: what the first and the last in the alphabet begin with."""
    first, last = min(names), max(names)
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((n for n, (a, b) in pairs if a != b), min(len(first), len(last)))]


def _whole_words(shared: str) -> int:
    """Return how much of a shared beginning ends where a word does."""
    return max(shared.rfind(mark) for mark in BREAKS) + 1
