"""Accepted annotations -> files that training code reads: masks, YOLO labels, JSON records.

An export is staged: everything is written into a hidden folder beside the target, which then takes
the target's name. So a failure leaves no half export, and an older export stays until the new one
is whole. It speaks of images by file name and SHA-256 only: no folder, no DICOM tag, no patient;
where file names tell of patients, images are numbered instead (`anonymous`).
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.errors import DatasetError, ExportError, GraydetError
from napari_graydet.io.files import reason_of
from napari_graydet.io.masks import write_mask
from napari_graydet.project.patients import people
from napari_graydet.project.schema import Annotation, ImageEntry, State
from napari_graydet.workflows.events import (
    OnProgress,
    Progress,
    ShouldCancel,
    check_cancelled,
    ignore_progress,
    never_cancel,
    one_line,
)
from napari_graydet.workflows.names import distinct_names
from napari_graydet.workflows.project_images import read_entry
from napari_graydet.workflows.records import ImageRecord
from napari_graydet.workflows.render import MAX_CLASSES, render
from napari_graydet.workflows.yolo_export import VAL_FRACTION, YoloExport, split_names

if TYPE_CHECKING:
    from napari_graydet.project.store import ProjectStore

FORMATS = ("masks", "yolo", "json")
_HIDDEN = ".graydet-"
"""How the names of folders begin that stand there while an export is made, or was killed."""

MANIFEST = "graydet-export.json"
"""Marks a folder as an export of ours, and lists its files."""


@dataclass(frozen=True)
class ExportReport:
    """What an export holds.

    Parameters
    ----------
    out
        The folder.
    images
        Number of exported images.
    empty
        How many of them are accepted as "nothing here".
    formats, classes
        Formats written; class names, their place being the class id.
    train, val
        Images per side of the YOLO split; 0 without YOLO.
    notices
        What the user should know, one line each.
    """

    out: Path
    images: int
    empty: int
    formats: tuple[str, ...]
    classes: tuple[str, ...]
    train: int = 0
    val: int = 0
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Item:
    """One accepted image on its way out; `file_name` is what the export calls it."""

    entry: ImageEntry
    name: str
    file_name: str
    image: GrayImage
    annotation: Annotation


@dataclass
class _Export:
    """The state of one export while it is written."""

    folder: Path
    formats: tuple[str, ...]
    classes: list[str]
    yolo: YoloExport | None
    empty: int = 0
    notices: list[str] = field(default_factory=list)

    def add(self, item: _Item) -> None:
        try:
            rendering = render(item.image, item.annotation, self.classes, ids=len(self.classes) > 1)
        except GraydetError as error:
            raise ExportError(f"{item.image.name} cannot be exported: {one_line(error)}") from error
        self.empty += not rendering.mask.any()
        self._notice_overlap(item, rendering.mask)
        if "masks" in self.formats:
            write_mask(self.folder / "masks" / f"{item.name}.png", rendering.mask)
        if "json" in self.formats:
            path = self.folder / "records" / f"{item.name}.json"
            path.write_text(self._record(item).text(), encoding="utf-8", newline="\n")
        if self.yolo is not None:
            self.yolo.add(item.name, item.image, item.annotation)

    def _record(self, item: _Item) -> ImageRecord:
        return ImageRecord.of(
            item.annotation,
            image=item.file_name,
            sha256=item.entry.sha256,
            classes=self.classes,
            frame=item.image.frame,
            provenance=True,
            state=item.annotation.state,
        )

    def _notice_overlap(self, item: _Item, mask: Any) -> None:
        labels = item.annotation.labels
        if len(labels) < 2:
            return
        covered = sum(int(item.annotation.mask(item.image.pixels, x).sum()) for x in labels)
        if covered > int((mask > 0).sum()):
            self.notices.append(
                f"{item.image.name}: classes overlap; in its mask the later class lies on top."
            )


def export_project(
    store: ProjectStore,
    out: str | Path,
    formats: Sequence[str] = FORMATS,
    on_progress: OnProgress = ignore_progress,
    should_cancel: ShouldCancel = never_cancel,
    *,
    seed: int = 0,
    val_fraction: float = VAL_FRACTION,
    anonymous: bool = False,
) -> ExportReport:
    """Export the accepted images of a project.

    Parameters
    ----------
    store
        The open project.
    out
        Folder to make. An earlier export there is replaced; any other folder with content is
        refused.
    formats
        Any of "masks" (PNG; 0/255, with several classes in the project class id + 1), "yolo"
        (``images/``, ``labels/``, ``data.yaml``) and "json" (records).
    on_progress, should_cancel
        Called after, and asked before, each image.
    seed, val_fraction
        Of YOLO's split into training and validation images; a patient is never on both sides.
    anonymous
        Number the images instead of calling them by their file names.

    Raises
    ------
    ExportError
        If nothing is accepted, a file cannot be read or written, or `out` holds something else.
    CancelledError
        If the user stopped. In both cases `out` is as it was.
    """
    target = Path(out).absolute()  # "." has no name that another folder could take
    chosen = _formats(formats)
    entries = [entry for entry in store.entries() if entry.state is State.ACCEPTED]
    classes = list(store.classes)
    _check(entries, classes)
    _check_target(target)
    with _staged(target) as folder:
        names = _names(entries, anonymous)
        yolo = _start(folder, chosen, store, entries, names, seed, val_fraction)
        export = _Export(folder, chosen, classes, yolo)
        for done, (entry, name) in enumerate(zip(entries, names, strict=True), start=1):
            check_cancelled(should_cancel)
            file_name = PurePath(entry.path)
            called = f"{name}{file_name.suffix}" if anonymous else file_name.name
            export.add(_read(store, entry, name, called))
            on_progress(Progress(done, len(entries), PurePath(entry.path).name, "", entry.id))
        if yolo is not None:
            export.notices += yolo.finish()
        _write_manifest(export, len(entries))
    return ExportReport(
        out=target,
        images=len(entries),
        empty=export.empty,
        formats=chosen,
        classes=tuple(classes),
        train=yolo.count("train") if yolo else 0,
        val=yolo.count("val") if yolo else 0,
        notices=tuple(export.notices),
    )


def _formats(formats: Sequence[str]) -> tuple[str, ...]:
    wanted = FORMATS if "all" in formats else tuple(dict.fromkeys(formats))
    unknown = [name for name in wanted if name not in FORMATS]
    if unknown or not wanted:
        raise ExportError(
            f"Expected export formats out of {', '.join(FORMATS)} or all, got "
            f"{', '.join(unknown) or 'none'}."
        )
    return wanted


def _check(entries: list[ImageEntry], classes: list[str]) -> None:
    if not entries:
        raise ExportError(
            "No image of the project is accepted yet; accept images first, only these are exported."
        )
    if len(classes) > MAX_CLASSES:
        raise ExportError(f"Masks hold at most {MAX_CLASSES} classes, got {len(classes)}.")


def _start(
    folder: Path,
    formats: tuple[str, ...],
    store: ProjectStore,
    entries: list[ImageEntry],
    names: list[str],
    seed: int,
    val_fraction: float,
) -> YoloExport | None:
    for name, format_name in (("masks", "masks"), ("records", "json")):
        if format_name in formats:
            (folder / name).mkdir()
    if "yolo" not in formats:
        return None
    groups = dict(zip(names, _groups(store, entries), strict=True))
    split = split_names(groups, seed, val_fraction)
    return YoloExport(folder / "yolo", list(store.classes), split)


def _groups(store: ProjectStore, entries: list[ImageEntry]) -> list[str]:
    """Return what stays on one side together: a patient's images, else the same bytes."""
    try:
        store.patients.require(entries)
    except DatasetError as error:
        raise ExportError(f"The YOLO labels cannot be split by patient: {error}") from error
    if store.patients.rule is None:
        return [entry.sha256 for entry in entries]
    owners = people(store.entries())
    return [owners[entry.path] for entry in entries]


def _names(entries: list[ImageEntry], anonymous: bool) -> list[str]:
    if anonymous:
        return [f"image{entry.id:06d}" for entry in entries]
    return distinct_names([entry.path for entry in entries])


def _read(store: ProjectStore, entry: ImageEntry, name: str, file_name: str) -> _Item:
    try:
        annotation = store.record_at(entry.id, entry.revision)  # as it was when it was listed
        return _Item(entry, name, file_name, read_entry(store, entry), annotation)
    except GraydetError as error:
        raise ExportError(
            f"{PurePath(entry.path).name} cannot be exported: {one_line(error)}"
        ) from error


def _write_manifest(export: _Export, images: int) -> None:
    files = sorted(
        path.relative_to(export.folder).as_posix()
        for path in export.folder.rglob("*")
        if path.is_file()
    )
    document = {
        "schema": 1,
        "kind": "napari-graydet export",
        "formats": list(export.formats),
        "images": images,
        "classes": {str(number): name for number, name in enumerate(export.classes)},
        "mask values": _mask_values(export.classes),
        "files": files,
    }
    text = json.dumps(document, indent=1) + "\n"
    (export.folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")


def _mask_values(classes: list[str]) -> dict[str, str]:
    if len(classes) > 1:
        return {"0": "background"} | {str(i): name for i, name in enumerate(classes, start=1)}
    return {"0": "background", "255": classes[0] if classes else "object"}


def _check_target(out: Path) -> None:
    """Raise `ExportError` if `out` holds anything that an export did not write."""
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        raise ExportError(f"{out} is a file or a link; choose a new folder for the export.")
    entries = [path for path in out.iterdir() if not path.name.startswith(_HIDDEN)]
    present = {p for entry in entries for p in (entry, *entry.rglob("*")) if not p.is_dir()}
    foreign = sorted(present - _own_files(out))
    if foreign:
        raise ExportError(
            f"{out} holds files that no export wrote ({foreign[0].relative_to(out)}); "
            "choose a new or empty folder, nothing was changed."
        )


def _own_files(out: Path) -> set[Path]:
    try:
        listed = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, LookupError, TypeError):
        return set()
    caches = set(out.glob("yolo/labels/*.cache"))  # left there by ultralytics' training
    return {out / MANIFEST, *caches, *(out / str(name) for name in listed)}


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """Give a hidden folder that becomes `out` if the body succeeds, and vanishes if not."""
    token = uuid.uuid4().hex[:12]
    inside = _keeps_its_place(out)
    place = out if inside else out.parent
    stage, old = place / f"{_HIDDEN}{token}.part", place / f"{_HIDDEN}{token}.old"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stage.mkdir()
        yield stage
        if inside:
            _refill(out, stage, old)
        else:
            _swap(stage, out, old)
    except OSError as error:
        raise ExportError(
            f"Could not write the export {out}: {reason_of(error)}; choose a folder that can be "
            "written and has space left."
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _keeps_its_place(out: Path) -> bool:
    """Tell whether a folder is to be filled, not replaced: a drive, or where one stands."""
    if not out.is_dir():
        return False
    return not any(out.iterdir()) or os.path.ismount(out) or out.samefile(Path.cwd())


def _refill(out: Path, stage: Path, old: Path) -> None:
    """Put what is staged inside a folder in the place of what is there; back if that fails."""
    moved: list[tuple[Path, Path]] = []
    present = [path for path in out.iterdir() if not path.name.startswith(_HIDDEN)]
    try:
        old.mkdir()
        for source, target in [
            *((path, old / path.name) for path in present),
            *((path, out / path.name) for path in [*stage.iterdir()]),
        ]:
            source.rename(target)
            moved.append((source, target))
    except OSError:
        for source, target in reversed(moved):
            target.rename(source)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)


def _swap(stage: Path, out: Path, old: Path) -> None:
    """Let the staged folder take the target's name; put the old one back if that fails."""
    if not out.exists():
        stage.rename(out)
        return
    out.rename(old)
    try:
        stage.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
