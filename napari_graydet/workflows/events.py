"""What long jobs tell their caller: progress out, the wish to stop in. Plain callbacks, no Qt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from napari_graydet.errors import CancelledError, GraydetError


@dataclass(frozen=True)
class Progress:
    """One step of a job over many images.

    Parameters
    ----------
    done, total
        Finished images and all of them.
    name
        The image just finished.
    message
        What became of it, for a log line.
    image_id
        Its number in the project, None outside one.
    """

    done: int
    total: int
    name: str
    message: str = ""
    image_id: int | None = None


@dataclass(frozen=True)
class Failure:
    """An image that could not be handled, and why, in one line."""

    name: str
    message: str
    image_id: int | None = None


IMAGE_ERRORS = (GraydetError, OSError, MemoryError, RuntimeError, ValueError)
"""What may befall one image of many without stopping the others.

Torch reports a failed kernel or a full device as RuntimeError.
"""

OnProgress = Callable[[Progress], None]
ShouldCancel = Callable[[], bool]


def ignore_progress(progress: Progress) -> None:
    """Take a progress event and do nothing: the default of every job."""


def never_cancel() -> bool:
    """Never ask to stop: the default of every job."""
    return False


def check_cancelled(should_cancel: ShouldCancel) -> None:
    """Raise `CancelledError` if the user asked to stop."""
    if should_cancel():
        raise CancelledError("Stopped at the user's wish; what was finished is kept.")


def one_line(error: BaseException) -> str:
    """Return an error's message as one line, its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
