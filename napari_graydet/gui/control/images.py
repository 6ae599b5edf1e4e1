"""Images of the project, read in workers and kept for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from skimage.transform import resize_local_mean

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.errors import ProjectError
from napari_graydet.gui.control.work import Jobs
from napari_graydet.io.images import read_image
from napari_graydet.project.schema import ImageEntry
from napari_graydet.project.store import ProjectStore

KEPT = 5
"""Images held in memory: the current one, its neighbours, and the last seen."""

THUMBNAIL = 84
"""Longest side of a thumbnail, pixels."""

Thumbnail = npt.NDArray[np.uint8]


class ImageCache:
    """Reads images in the background; the next one is usually there before it is asked for."""

    def __init__(self, store: ProjectStore, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self._images: OrderedDict[int, GrayImage] = OrderedDict()
        self._reading: set[int] = set()
        self._waiting: dict[
            int, tuple[Callable[[GrayImage], None], Callable[[Exception], None]]
        ] = {}

    def get(
        self,
        entry: ImageEntry,
        done: Callable[[GrayImage], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Hand an image to `done`: in the next turn if it is known, else when it has been read.

        Only the last request is answered: whoever asks for another image has gone on.
        """
        self._waiting.clear()
        known = self._images.get(entry.id)
        if known is not None:
            self._images.move_to_end(entry.id)
            self._jobs.soon(lambda: done(known))
            return
        self._waiting[entry.id] = (done, failed)
        self._read(entry)

    def prefetch(self, entry: ImageEntry) -> None:
        """Read an image that will probably be wanted soon."""
        if entry.id not in self._images:
            self._read(entry)

    def _read(self, entry: ImageEntry) -> None:
        if entry.id in self._reading:
            return
        self._reading.add(entry.id)
        self._jobs.run(
            lambda _progress, _cancel: read_entry_image(self._store, entry.id),
            done=lambda image: self._arrived(entry.id, image),
            failed=lambda error: self._failed(entry.id, error),
            finished=lambda: self._reading.discard(entry.id),
        )

    def _arrived(self, image_id: int, image: GrayImage) -> None:
        self._images[image_id] = image
        while len(self._images) > KEPT:
            self._images.popitem(last=False)
        if image_id in self._waiting:
            self._waiting.pop(image_id)[0](image)

    def _failed(self, image_id: int, error: Exception) -> None:
        if image_id in self._waiting:
            self._waiting.pop(image_id)[1](error)


def read_entry_image(store: ProjectStore, image_id: int) -> GrayImage:
    """Read an image of a project (in a worker).

    Raises
    ------
    ImageError
        If it cannot be read.
    ProjectError
        If the file is not the one that was annotated.
    """
    image = read_image(store.image_path(image_id))
    if store.image_changed(image_id, image.sha256):
        raise ProjectError(
            f"{image.name} changed since it was annotated; put the original back, or add the new "
            "image under another name."
        )
    return image


def thumbnail_of(image: GrayImage) -> Thumbnail:
    """Return the image as a small (h, w) uint8 picture, black 0 to white 255."""
    shrink = THUMBNAIL / max(image.shape)
    size = tuple(max(1, round(n * shrink)) for n in image.shape)
    step = max(1, int(1 / shrink) // 4)  # thin out first: full-size means would cost 20 times more
    thinned = image.scale.to_unit(image.pixels[::step, ::step])
    small = np.asarray(resize_local_mean(thinned, size))  # type: ignore[no-untyped-call]
    out: Thumbnail = np.rint(small * 255).astype(np.uint8)
    return out
