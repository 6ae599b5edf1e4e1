"""Training, validation and test images: by patient, seeded, and frozen once they were used.

Patients are ordered by a hash of seed and name and dealt out in that order, so that the split of
some images says nearly everything about the split of more of them. A project keeps its split in
`splits.json`: an image that was held out once stays held out, however many images are added.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from napari_graydet.errors import (
    DamagedProjectError,
    DatasetError,
    NewerSchemaError,
    ProjectError,
)
from napari_graydet.io.files import atomic_write_text, read_bytes
from napari_graydet.project.schema import Record

FILE_NAME = "splits.json"
VALIDATION = 0.15
"""Share of held-out images unless another is asked for."""

TRIES = 100
"""Seeds that are tried for a split with something in its held-out images."""

MAX_BYTES = 256 * 2**20
_VERSION = 1

Side = Literal["train", "validation", "test"]
_MOST_USED_FIRST: tuple[Side, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Names of the images on each side, sorted, and the seed that the split was drawn with."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()
    seed: int = 0

    def side(self, name: str) -> tuple[str, ...]:
        """Return the names of one side, of "all" sides together.

        Raises
        ------
        DatasetError
            If there is no such side, or nothing on it.
        """
        sides = {"train": self.train, "validation": self.validation, "test": self.test}
        if name == "all":
            return tuple(sorted((*self.train, *self.validation, *self.test)))
        if name not in sides:
            raise DatasetError(f"Expected one of {', '.join(sides)} or all, got {name!r}.")
        if not sides[name]:
            raise DatasetError(
                f"The split has no {name} images; ask for another side, or for all of them."
            )
        return sides[name]


def by_patient(
    items: Mapping[str, str],
    *,
    seed: int,
    validation: float = VALIDATION,
    test: float = 0.0,
    learned: Collection[str] = (),
) -> Split:
    """Split images so that no patient stands on two sides.

    Parameters
    ----------
    items
        Patient of each image, by name.
    seed
        Another seed, another split; the same seed and images, the same split.
    validation, test
        Wanted shares of the images, 0 for none. Each side that is wanted gets at least one
        patient, and else what comes near its share with whole patients.
    learned
        Names of images that the weights to start from have learned from: their patients are
        trained on again, or nothing that is held out would say how good the new weights are.

    Raises
    ------
    DatasetError
        If the shares leave nothing to train on, there are fewer patients than sides, or too few
        whom the weights to start from do not know.
    """
    _check_shares(validation, test)
    groups = _groups(items)
    seen = frozenset(learned)
    known = {patient for patient, names in groups.items() if not seen.isdisjoint(names)}
    wanted: dict[Side, float] = {"test": test, "validation": validation}
    sides: list[Side] = [side for side, share in wanted.items() if share > 0]
    if known and len(groups) - len(known) < len(sides):
        raise DatasetError(
            f"Expected patients to hold out whom the weights to start from have not learned from, "
            f"but they know {len(known)} of {len(groups)}; add images of others, or start from "
            "other weights (--start shipped)."
        )
    if len(groups) <= len(sides):
        raise DatasetError(
            f"Expected at least {len(sides) + 1} patients to hold some out for "
            f"{' and '.join(sides) or 'nothing'}, got {len(groups)} with {len(items)} image(s); "
            "add images of others."
        )
    free = sorted(groups.keys() - known, key=lambda patient: _order(seed, patient))
    taken: dict[str, Side] = {}
    for place, side in enumerate(sides):
        later = len(sides) - place - bool(known)  # who the sides after it, and training, need
        for patient in _draw(free, groups, wanted[side] * len(items), len(free) - later):
            taken[patient] = side
            free.remove(patient)
    return _split({name: taken.get(patient, "train") for name, patient in items.items()}, seed)


def _draw(free: list[str], groups: Mapping[str, list[str]], target: float, most: int) -> list[str]:
    """Return patients, in their order, as long as each brings the number of images nearer."""
    drawn: list[str] = []
    count = 0
    for patient in free:
        size = len(groups[patient])
        if len(drawn) < most and abs(count + size - target) < abs(count - target):
            drawn.append(patient)
            count += size
    return drawn or [min(free, key=lambda patient: len(groups[patient]))]


def frozen(
    folder: Path,
    items: Mapping[str, str],
    *,
    seed: int,
    validation: float = VALIDATION,
    test: float = 0.0,
    others: Mapping[str, str] | None = None,
    empty: Collection[str] = (),
) -> Split:
    """Return the split of a project: drawn and written down at the first call, then kept.

    Images of known patients join their patient's side. Images of new patients join validation
    until it has its share, else training; never the test images, which stay what they were. Should
    a patient turn out to stand on two sides, because it was not known that two images are of one
    person, all of them go to the side that was used most (training before validation before
    test), for there they are held out no longer.

    Parameters
    ----------
    folder
        The project folder.
    items
        Patient of each image, by name.
    seed, validation, test
        As for `by_patient`; all three count at the first call only.
    others
        Patient of each image that is not to be split now, but may have been before: what is in
        work again still says where its patient stands.
    empty
        Names of images with nothing in them: they must not be all that judges a model, so another
        seed is tried at the first call if they are.

    Returns
    -------
    Split
        Of the given images only; what else the file knows stays in it.

    Raises
    ------
    DatasetError
        As for `by_patient`, at the first call.
    DamagedProjectError, NewerSchemaError
        If `splits.json` cannot be understood; it is left as it is.
    ProjectError
        If it cannot be read or written.
    """
    path = Path(folder) / FILE_NAME
    known = _read(path)
    if known is None:
        split = _first(items, seed, validation, test, empty)
        _write(path, _File.of(split, validation, test))
        return split
    sides = _extend(known, items, others or {})
    if sides != known.images:
        _write(path, known.model_copy(update={"images": sides}))
    return _split({name: sides[name] for name in items}, known.seed)


def _first(
    items: Mapping[str, str], seed: int, validation: float, test: float, empty: Collection[str]
) -> Split:
    """Draw a split with something in its validation images, if one of `TRIES` seeds has it."""
    first = by_patient(items, seed=seed, validation=validation, test=test)
    split, more = first, 1
    while split.validation and set(split.validation) <= set(empty) and more < TRIES:
        split = by_patient(items, seed=seed + more, validation=validation, test=test)
        more += 1
    return first if set(split.validation) <= set(empty) else split


@dataclass(frozen=True)
class Torn:
    """Patients who stood on two sides, and how many images are held out no longer for that."""

    patients: int
    images: int

    @property
    def notice(self) -> str:
        """What the user should know, in one line."""
        one = self.patients == 1
        return (
            f"{self.patients} patient{' had' if one else 's had'} images both among those that are "
            f"learned from and among the held-out ones: {self.images} held-out "
            f"image{'' if self.images == 1 else 's'} left these, and new ones of such patients "
            "follow. Earlier held-out figures are too good."
        )


def reunite(folder: Path, people: Mapping[str, str]) -> Torn | None:
    """Bring patients who stand on two sides of a kept split to the side that was used most.

    Parameters
    ----------
    folder
        The project folder.
    people
        Patient of each image of the project.

    Returns
    -------
    Torn or None
        What had to be changed; None if nothing had to. Errors as `frozen`.
    """
    path = Path(folder) / FILE_NAME
    known = _read(path)
    if known is None:
        return None
    sides = dict(known.images)
    patients = 0
    for names in _groups({name: people[name] for name in people if name in sides}).values():
        side = _most_used(sides[name] for name in names)
        patients += any(sides[name] != side for name in names)
        sides.update(dict.fromkeys(names, side))
    moved = sum(sides[name] != side for name, side in known.images.items())
    if moved:
        _write(path, known.model_copy(update={"images": sides}))
    return Torn(patients, moved) if moved else None


def saved(folder: Path) -> Split | None:
    """Return the split that a project has kept, None if it has none yet; errors as `frozen`."""
    known = _read(Path(folder) / FILE_NAME)
    return None if known is None else _split(known.images, known.seed)


class _File(Record):
    """`splits.json`; no patient stands in it."""

    version: Annotated[int, Field(ge=1)] = _VERSION
    seed: int
    validation: float
    test: float
    images: dict[str, Side]

    @classmethod
    def of(cls, split: Split, validation: float, test: float) -> _File:
        images = _sides(split)
        return cls(seed=split.seed, validation=validation, test=test, images=images)


def _sides(split: Split) -> dict[str, Side]:
    named: tuple[tuple[Side, tuple[str, ...]], ...] = (
        ("train", split.train),
        ("validation", split.validation),
        ("test", split.test),
    )
    return {name: side for side, names in named for name in names}


def _split(sides: Mapping[str, Side], seed: int) -> Split:
    def names(side: Side) -> tuple[str, ...]:
        return tuple(sorted(name for name, where in sides.items() if where == side))

    return Split(names("train"), names("validation"), names("test"), seed)


def _extend(known: _File, items: Mapping[str, str], others: Mapping[str, str]) -> dict[str, Side]:
    """Return the sides of all images, old and new."""
    sides = dict(known.images)
    new: dict[str, list[str]] = {}
    for patient, names in _groups({**others, **items}).items():
        placed = [name for name in names if name in sides]
        asked = [name for name in names if name in items]
        if placed:
            side = _most_used(sides[name] for name in placed)
            sides.update(dict.fromkeys((*placed, *asked), side))
        elif asked:
            new[patient] = asked
    held = sum(sides.get(name) == "validation" for name in items)
    total = sum(name in sides for name in items)
    for patient in sorted(new, key=lambda one: _order(known.seed, one)):
        size = len(new[patient])
        total += size
        target = known.validation * total
        joins = known.validation > 0 and abs(held + size - target) < abs(held - target)
        held += size if joins else 0
        sides.update(dict.fromkeys(new[patient], "validation" if joins else "train"))
    return sides


def _most_used(sides: Iterable[Side]) -> Side:
    return min(sides, key=_MOST_USED_FIRST.index)


def _groups(items: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the images of each patient."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name, patient in items.items():
        groups[patient].append(name)
    return dict(groups)


def _order(seed: int, patient: str) -> bytes:
    return hashlib.sha256(f"{seed}:{patient}".encode()).digest()


def _check_shares(*shares: float) -> None:
    if not all(0 <= share < 1 for share in shares) or sum(shares) >= 1:
        raise DatasetError(
            f"Expected shares of held-out images from 0 to below 1 in sum, got "
            f"{' and '.join(f'{share:g}' for share in shares)}; leave some images to train on."
        )


def _read(path: Path) -> _File | None:
    if not path.exists():
        return None
    data = read_bytes(
        path, max_bytes=MAX_BYTES, error=DamagedProjectError, limit_error=ProjectError
    )
    try:
        values = json.loads(data)
        version = values.get("version") if isinstance(values, dict) else None
        if isinstance(version, int) and version > _VERSION:
            raise NewerSchemaError(
                f"{path.name} has version {version}, this program reads up to {_VERSION}; "
                "update napari-graydet."
            )
        return _File.model_validate(values)
    except (ValueError, RecursionError, ValidationError):
        raise DamagedProjectError(
            f"{path.name} is damaged and was left as it is; put a copy of it back, or move it away "
            "to draw a new split (then older held-out scores no longer compare)."
        ) from None


def _write(path: Path, file: _File) -> None:
    atomic_write_text(path, file.model_dump_json(indent=1) + "\n", error=ProjectError)
