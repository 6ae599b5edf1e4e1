"""The label map of one record, kept up to date while a box is dragged.

`Annotation.label_map` is the definition; this computes the same map bit for bit (a test says so),
but only where something changes: the inside of every box, the clean-up and the residual of every
label are kept, and a drag recomputes one box in its window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.core.segmentation import decode_runs, explained_share
from napari_graydet.project.schema import Annotation, BoxRecord

Window = tuple[slice, slice]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Inside:
    """The pixels inside one box: its window in the image, and the mask of that window."""

    window: Window
    mask: Mask


@dataclass
class _Layer:
    """One label: the mask of boxes and clean-up, and the painted pixels."""

    base: Mask
    added: Mask | None
    erased: Mask | None

    def final(self, window: Window) -> Mask:
        out = self.base[window]
        if self.added is not None:
            out = out | self.added[window]
        if self.erased is not None:
            out = out & ~self.erased[window]
        return out


class MaskModel:
    """The label map of a record.

    Parameters
    ----------
    pixels
        (H, W) stored values.
    classes
        Labels in the project's order; class id + 1 is written to the map.

    Attributes
    ----------
    map
        (H, W) uint8, 0 = background, else class id + 1; later classes lie on top.
    """

    def __init__(self, pixels: npt.NDArray[np.integer], classes: tuple[str, ...]) -> None:
        self.pixels = pixels
        self.classes = classes
        self.map: npt.NDArray[np.uint8] = np.zeros(pixels.shape, dtype=np.uint8)
        self._record: Annotation | None = None
        self._inside: dict[str, tuple[BoxRecord, _Inside]] = {}
        self._layers: dict[str, _Layer] = {}
        self._previewed: tuple[str, Window] | None = None

    def show(self, record: Annotation) -> Window:
        """Compute the map of a record; return the window that may have changed."""
        before = self._record
        self._record = record
        self._inside = {box.id: (box, self._cached_inside(box)) for box in record.boxes}
        stale = [label for label in self._all_labels(before) if self._differs(before, label)]
        self._previewed = None
        for label in stale:
            self._layers.pop(label, None)
            if label in record.labels:
                self._layers[label] = self._layer(record, label)
        window = (slice(0, self.map.shape[0]), slice(0, self.map.shape[1]))
        if stale:
            self._compose(window)
        return window

    def preview(self, box: BoxRecord) -> Window:
        """Show one box differently than in the record; return the window that changed.

        The clean-up of its label is left out until the drag ends: it costs more than a frame.
        """
        assert self._record is not None
        window, mask = box.gray_box().inside(self.pixels)
        label = box.label
        layer = self._layers.get(label)
        last = self._previewed[1] if self._previewed else self._extent_of(box.id)
        touched = _union(window, last)
        base = np.zeros(self.map.shape, dtype=np.bool_) if layer is None else layer.base
        part = np.zeros(_shape(touched), dtype=np.bool_)
        for other in self._record.boxes:
            if other.label == label and other.id != box.id:
                _paste(part, touched, self._inside[other.id][1])
        _paste(part, touched, _Inside(window, mask))
        base[touched] = part
        self._layers[label] = _Layer(
            base, layer.added if layer else None, layer.erased if layer else None
        )
        self._previewed = (label, window)
        self._compose(touched)
        return touched

    def end_preview(self) -> Window | None:
        """Go back to the record after a preview; return the window that changed."""
        if self._previewed is None or self._record is None:
            return None
        return self.show(self._record)

    def final(self, label: str) -> Mask:
        """Return the (H, W) mask of a label with its residual."""
        layer = self._layers.get(label)
        whole = (slice(None), slice(None))
        if layer is None:
            return np.zeros(self.map.shape, dtype=np.bool_)
        return layer.final(whole)

    def residual(self, label: str) -> tuple[Mask, Mask]:
        """Return the (H, W) added and erased pixels of a label."""
        layer = self._layers.get(label)
        empty = np.zeros(self.map.shape, dtype=np.bool_)
        added = layer.added if layer else None
        erased = layer.erased if layer else None
        return (
            empty if added is None else added.copy(),
            empty.copy() if erased is None else erased.copy(),
        )

    def explained(self, label: str) -> float:
        """Return which share of the label's mask its boxes explain (IoU), 0..1."""
        layer = self._layers.get(label)
        return 1.0 if layer is None else explained_share(layer.base, self.final(label))

    def _all_labels(self, before: Annotation | None) -> tuple[str, ...]:
        assert self._record is not None
        old = before.labels if before else ()
        return tuple(dict.fromkeys((*old, *self._record.labels, *self._layers)))

    def _differs(self, before: Annotation | None, label: str) -> bool:
        """Whether a label's mask may differ from the one that is shown."""
        if before is None or (self._previewed is not None and self._previewed[0] == label):
            return True
        assert self._record is not None
        return any(
            part(before) != part(self._record)
            for part in (
                lambda a: [box for box in a.boxes if box.label == label],
                lambda a: a.cleanup.get(label),
                lambda a: a.residual.get(label),
            )
        )

    def _cached_inside(self, box: BoxRecord) -> _Inside:
        known = self._inside.get(box.id)
        if known is not None and known[0] == box:
            return known[1]
        return _Inside(*box.gray_box().inside(self.pixels))

    def _extent_of(self, box_id: str) -> Window | None:
        known = self._inside.get(box_id)
        return known[1].window if known else None

    def _layer(self, record: Annotation, label: str) -> _Layer:
        base = np.zeros(self.map.shape, dtype=np.bool_)
        insides = [self._inside[box.id][1] for box in record.boxes if box.label == label]
        for inside in insides:
            base[inside.window] |= inside.mask
        cleanup = record.cleanup.get(label)
        if cleanup is not None and insides:
            # Only the boxes' surroundings can change; the margin keeps borders as in the whole.
            around = _grow(_union(*(i.window for i in insides)), cleanup.opening + 1, base.shape)
            base[around] = cleanup.core()(base[around])
        residual = record.residual.get(label)
        if residual is None:
            return _Layer(base, None, None)
        added, erased = (decode_runs(r, base.shape) for r in (residual.added, residual.erased))
        return _Layer(base, added, erased)

    def _compose(self, window: Window) -> None:
        out = self.map[window]
        if not self._layers:
            out[...] = 0
            return
        first, *others = sorted(self._layers, key=self.classes.index)
        # What a drag does for each frame: several times faster than writing where the mask is set.
        inside = self._layers[first].final(window).view(np.uint8)
        np.multiply(inside, np.uint8(self.classes.index(first) + 1), out=out)
        for label in others:
            np.copyto(out, self.classes.index(label) + 1, where=self._layers[label].final(window))


def _shape(window: Window) -> tuple[int, int]:
    return window[0].stop - window[0].start, window[1].stop - window[1].start


def _union(*windows: Window | None) -> Window:
    """Return the smallest window around all that are not empty."""
    known = [w for w in windows if w is not None and min(_shape(w)) > 0]
    if not known:
        return slice(0, 0), slice(0, 0)
    rows, cols = (
        slice(min(w[axis].start for w in known), max(w[axis].stop for w in known))
        for axis in (0, 1)
    )
    return rows, cols


def _grow(window: Window, margin: int, shape: tuple[int, ...]) -> Window:
    rows, cols = (
        slice(max(0, s.start - margin), min(size, s.stop + margin))
        for s, size in zip(window, shape, strict=True)
    )
    return rows, cols


def _paste(part: Mask, place: Window, inside: _Inside) -> None:
    """Or the mask of a box into `part`, which shows the window `place` of the image."""
    starts = [max(a.start, b.start) for a, b in zip(place, inside.window, strict=True)]
    stops = [min(a.stop, b.stop) for a, b in zip(place, inside.window, strict=True)]
    if starts[0] >= stops[0] or starts[1] >= stops[1]:
        return
    target, source = (
        tuple(
            slice(start - s.start, stop - s.start)
            for start, stop, s in zip(starts, stops, window, strict=True)
        )
        for window in (place, inside.window)
    )
    part[target] |= inside.mask[source]
