"""Long names of images in little room: what they share goes first. No Qt.

Radiographs of one study are called alike, ``tibia_train_01064104_1x1``; cut in the middle they all
look the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

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
        """Return as much of a name as there is room for: what is shared goes word by word.

        The first words go first. What is the name's own stays, however little room there is.

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
        if own == name:
            return name
        return next((text for text in self._shorter(name) if width(text) <= room), own.strip(DOTS))

    def _shorter(self, name: str) -> Iterator[str]:
        """Go through shorter and shorter forms of a name; the last has its own part alone."""
        first, last = _cuts(name[: self.start]), _cuts(name[len(name) - self.end :][::-1])
        for cut in first[1:]:
            yield f"{DOTS}{name[cut:]}"
        for cut in last[1:]:
            yield f"{DOTS * bool(self.start)}{name[first[-1] : len(name) - cut]}{DOTS}"


@dataclass(frozen=True)
class ShortNames:
    """What names share with those that begin with the same word: a folder may hold several kinds.

    Where two names would look alike then, all are compared with all.
    """

    of_all: Shared = field(default_factory=Shared)
    by_kind: Mapping[str, Shared] = field(default_factory=dict)

    @classmethod
    def of(cls, names: Iterable[str]) -> ShortNames:
        """Compare names."""
        known = set(names)
        kinds: dict[str, set[str]] = {}
        for name in known:
            kinds.setdefault(_first_word(name), set()).add(name)
        of_all = Shared.of(known)
        by_kind = {kind: Shared.of(own) for kind, own in kinds.items() if len(own) > 1}
        short = cls(of_all, by_kind)
        distinct = {short.own(name).strip(DOTS) for name in known}
        return short if len(distinct) == len(known) else cls(of_all)

    def own(self, name: str) -> str:
        """Return the part of a name that the others of its kind don't have; see `Shared.own`."""
        return self._shared(name).own(name)

    def fitted(self, name: str, width: Callable[[str], int], room: int) -> str:
        """Return the name if there is room for it, else what is its own; see `Shared.fitted`."""
        return self._shared(name).fitted(name, width, room)

    def _shared(self, name: str) -> Shared:
        return self.by_kind.get(_first_word(name), self.of_all)


def _first_word(name: str) -> str:
    """Return a name up to the first place where it may be cut."""
    return name[: next((n for n, mark in enumerate(name) if mark in BREAKS), len(name))]


def _beginning(names: set[str]) -> str:
    """Return what all begin with: what the first and the last in the alphabet begin with."""
    first, last = min(names), max(names)
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((n for n, (a, b) in pairs if a != b), min(len(first), len(last)))]


def _cuts(shared: str) -> list[int]:
    """Return after how many characters of a shared part it may be cut: none, then word by word."""
    return [0, *(n + 1 for n, mark in enumerate(shared) if mark in BREAKS)]


def _whole_words(shared: str) -> int:
    """Return how much of a shared beginning ends where a word does."""
    return max(shared.rfind(mark) for mark in BREAKS) + 1
