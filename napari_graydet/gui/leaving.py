"""What opening another folder, or closing the window, would end: a person is asked before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_graydet.gui.control.detection import DETECTING_ALL

if TYPE_CHECKING:
    from napari_graydet.gui.desk import Desk


def would_end(desk: Desk) -> str:
    """Say what of this folder's work would end with another one; empty if nothing would."""
    job, phase = desk.session.job, desk.training.phase
    ends = []
    if phase in ("running", "stopping"):
        ends.append("the training; it can go on later")
    if phase in ("comparing", "deciding"):
        ends.append("the comparison of two models; the new one stays in the list of models")
    if job is not None and job.name == DETECTING_ALL:
        ends.append("detecting in all images; what is proposed stays")
    if desk.evaluation.running:
        ends.append("the evaluation")
    if not ends:
        return ""
    return f"Opening another folder ends {', and '.join(ends)}."


def would_lose(desk: Desk) -> str:
    """Say what would be lost because it could not be saved, now neither; empty if nothing would."""
    recorder, count = desk.controller.recorder, len(desk.session.unsaved)
    if recorder is None or not count or recorder.flush():
        return ""
    count = len(desk.session.unsaved)
    images = "1 image" if count == 1 else f"{count} images"
    return f"Edits of {images} could not be saved, and would be lost."
