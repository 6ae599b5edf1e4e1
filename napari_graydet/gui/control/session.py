"""The state of one window, evented.

Views read the session and connect to its signals; only the controller changes it. The record it
shows is the one in the project store, except for `preview` (a box in the middle of a drag) and for
records in `unsaved`, which a failing disk kept from being stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from psygnal import Signal

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.gui.control.mask_model import MaskModel, Window
from napari_graydet.project.schema import Annotation, BoxRecord, ImageEntry, RoiRecord, State

Level = Literal["info", "warning", "error"]
Order = Literal["project", "doubt"]
"""In which order the images come: as in the project, or the most doubtful proposals first."""

FINISHED = (State.ACCEPTED, State.REJECTED)
"""States that are a person's verdict."""


@dataclass(frozen=True)
class Message:
    """One line for the user."""

    text: str
    level: Level = "info"


@dataclass(frozen=True)
class JobState:
    """What runs in the background: its name, its share done (None if unknown), its detail."""

    name: str
    done: float | None = None
    detail: str = ""
    can_cancel: bool = False


@dataclass(eq=False)
class Session:
    """What the window shows.

    Signals carry what changed; every view is redrawn from the attributes, never from a signal.
    """

    project_changed = Signal()
    entries_changed = Signal()
    entry_changed = Signal(int)
    image_changed = Signal()
    record_changed = Signal()
    selection_changed = Signal()
    mask_changed = Signal(object)
    """A Window (rows, columns) of `masks.map` that has new values."""
    alternatives_changed = Signal()
    job_changed = Signal()
    saved_changed = Signal()
    message_changed = Signal()

    folder: Path | None = None
    classes: tuple[str, ...] = ()
    entries: list[ImageEntry] = field(default_factory=list)
    order: Order = "project"
    filter: State | None = None
    """Only images of this state are listed; None lists all."""
    doubts: dict[tuple[int, int], float] = field(default_factory=dict)
    """By id and revision of an image: one that changed is not known any more."""
    image_id: int | None = None
    image: GrayImage | None = None
    annotation: Annotation | None = None
    masks: MaskModel | None = None
    roi_id: str | None = None
    box_id: str | None = None
    preview: BoxRecord | None = None
    alternatives: dict[str, tuple[BoxRecord, ...]] = field(default_factory=dict)
    job: JobState | None = None
    saved_at: float | None = None
    unsaved: dict[int, Annotation] = field(default_factory=dict)
    conflict: int | None = None
    """The image of which somebody else has stored another version meanwhile."""
    can_undo: bool = False
    can_redo: bool = False
    label: str = ""
    message: Message | None = None

    @property
    def entry(self) -> ImageEntry | None:
        """The entry of the current image."""
        return next((e for e in self.entries if e.id == self.image_id), None)

    @property
    def can_reject(self) -> bool:
        """Whether the current image can be rejected: also one that cannot be read any more."""
        entry = self.entry
        stored = entry is not None and entry.revision > 0 and entry.state is not State.REJECTED
        return self.annotation is not None or stored

    @property
    def position(self) -> int | None:
        """Index of the current image in `entries`."""
        return next((i for i, e in enumerate(self.entries) if e.id == self.image_id), None)

    @property
    def roi(self) -> RoiRecord | None:
        """The selected ROI."""
        rois = self.annotation.rois if self.annotation else ()
        return next((roi for roi in rois if roi.id == self.roi_id), None)

    @property
    def box(self) -> BoxRecord | None:
        """The selected 3D box as stored, without a preview."""
        boxes = self.annotation.boxes if self.annotation else ()
        return next((box for box in boxes if box.id == self.box_id), None)

    @property
    def shown_box(self) -> BoxRecord | None:
        """The selected 3D box as it is drawn: the preview of a drag, or the stored one."""
        return self.preview or self.box

    @property
    def listed(self) -> list[ImageEntry]:
        """The entries that pass the filter."""
        return [entry for entry in self.entries if self.lists(entry)]

    def lists(self, entry: ImageEntry) -> bool:
        """Tell whether an entry passes the filter."""
        return self.filter in (None, entry.state)

    def doubt(self, entry: ImageEntry) -> float | None:
        """Return how doubtful an untouched proposal is, 0 sure to 1 doubtful, if that is known."""
        if entry.state is not State.PROPOSED:
            return None
        return self.doubts.get((entry.id, entry.revision))

    def arranged(self, entries: list[ImageEntry]) -> list[ImageEntry]:
        """Return entries in the order that is wanted; those of unknown doubt come last."""
        if self.order == "project":
            return entries

        def surest(entry: ImageEntry) -> float:
            doubt = self.doubt(entry)
            return 1.0 if doubt is None else -doubt

        return sorted(entries, key=surest)

    @property
    def accepted(self) -> int:
        """How many images are accepted."""
        return sum(entry.state is State.ACCEPTED for entry in self.entries)

    def whole_window(self) -> Window:
        """Return the window of the whole current image."""
        height, width = self.image.shape if self.image else (0, 0)
        return slice(0, height), slice(0, width)
