"""Intents of the user -> new records -> recorder -> session.

Every view (layers, histogram, cloud, numbers, lists, keys) calls these methods and nothing else.
An intent that makes no sense (no image, no ROI) does nothing; one that fails leaves one line in
`session.message`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GraydetError, MaskError
from napari_graydet.gui.control import edits
from napari_graydet.gui.control.detection import Detection, PredictorFactory
from napari_graydet.gui.control.navigation import Navigation
from napari_graydet.gui.control.session import Session
from napari_graydet.gui.control.work import Jobs
from napari_graydet.project.schema import (
    Annotation,
    BoxRecord,
    CleanUpRecord,
    Source,
    State,
)


class Controller(Navigation):
    """What a person can do in the window.

    Parameters
    ----------
    session
        The state that is changed.
    jobs
        Where slow work runs.
    predictor
        Returns the detectors; asked before each detection.
    """

    def __init__(self, session: Session, jobs: Jobs, predictor: PredictorFactory) -> None:
        super().__init__(session, jobs)
        self.detection = Detection(self, predictor)

    def _close_store(self) -> None:
        self.detection.leave()
        super()._close_store()

    # Verdict ------------------------------------------------------------------------------------

    def accept(self) -> None:
        """Accept the image as it is, also with nothing in it, and go to the next open one."""
        self._finish(State.ACCEPTED)

    def reject(self) -> None:
        """Reject the image (not to be used) and go to the next open one."""
        self._finish(State.REJECTED)

    def _finish(self, state: State) -> None:
        annotation = self.session.annotation
        if annotation is None:
            if state is State.REJECTED:
                self._reject_unseen()
            return
        if self.commit(annotation.model_copy(update={"state": state}), str(state)):
            self.next_open()

    def _reject_unseen(self) -> None:
        """Reject an image that cannot be read any more: a training must be able to do without."""
        session, recorder = self.session, self.recorder
        if recorder is None or session.image_id is None or not session.can_reject:
            return
        with _Told(self):
            if recorder.reject_unseen(session.image_id):
                self.next_open()

    # ROIs ---------------------------------------------------------------------------------------

    def add_roi(self, roi: RoiBox, label: str | None = None) -> None:
        """Add an ROI drawn by hand, select it, and look for its 3D box."""
        annotation = self.session.annotation
        if annotation is None:
            return
        name = label or self.session.label
        if not self.know_class(name):
            return
        with _Told(self):
            record, roi_id = edits.add_roi(annotation, roi, name)
            self.session.roi_id, self.session.box_id = roi_id, None
            self.session.selection_changed.emit()
            self.commit(record, "add ROI")
            self.detection.box()

    def move_roi(self, roi_id: str, roi: RoiBox) -> None:
        """Move or resize an ROI; its 3D boxes go along."""
        self._edit(lambda a: edits.move_roi(a, roi_id, roi), "move ROI")

    def delete_rois(self, roi_ids: list[str]) -> None:
        """Delete ROIs with their 3D boxes."""
        if roi_ids:
            self._edit(lambda a: edits.delete_rois(a, roi_ids), "delete ROI")

    def delete_selected(self) -> None:
        """Delete the selected ROI with its 3D boxes."""
        if self.session.roi_id is not None:
            self.delete_rois([self.session.roi_id])

    def choose_label(self, label: str) -> None:
        """Choose the class of the selected ROI, and of those drawn from now on."""
        if not self.know_class(label):
            return
        self.session.label = label
        self.session.selection_changed.emit()
        roi = self.session.roi
        if roi is not None and roi.label != label:
            self._edit(lambda a: edits.relabel_roi(a, roi.id, label), "change class")

    def select_roi(self, roi_id: str | None) -> None:
        """Select an ROI and its 3D box."""
        session = self.session
        if session.roi_id == roi_id or session.annotation is None:
            return
        session.roi_id = roi_id
        boxes = [b for b in session.annotation.boxes if b.roi_id == roi_id]
        session.box_id = boxes[0].id if boxes and roi_id is not None else None
        if session.roi is not None:
            session.label = session.roi.label
        self._end_preview()
        session.selection_changed.emit()

    # 3D boxes -----------------------------------------------------------------------------------

    def preview_range(self, low: int, high: int) -> None:
        """Show a gray range in the middle of a drag; nothing is stored."""
        self._preview(lambda box: edits.with_range(box, low, high))

    def set_range(self, low: int, high: int) -> None:
        """Set the gray range of the selected ROI's box; makes the box if there is none."""
        self._set_box(lambda box: edits.with_range(box, low, high), "set range")

    def preview_box(self, geometry: GrayBox) -> None:
        """Show a 3D box in the middle of a drag; nothing is stored."""
        self._preview(lambda box: edits.by_hand(box, geometry))

    def set_box(self, geometry: GrayBox) -> None:
        """Set the geometry of the selected box; its ROI goes along when the extent changed."""
        self._set_box(lambda box: edits.by_hand(box, geometry), "move box")

    def preview_roi(self, roi_id: str, roi: RoiBox) -> None:
        """Show the selected box over an ROI in the middle of a drag; nothing is stored."""
        box = self.session.box
        if box is not None and box.roi_id == roi_id and self.session.image is not None:
            with _Told(self):
                extent = roi.clip(self.session.image.shape)
                self._preview(lambda b: edits.by_hand(b, b.gray_box().with_roi(extent)))

    def set_net(self, k: int) -> None:
        """Make the box flat (K = 1), tilted (K = 2) or bent (K = 3)."""
        self._set_box(lambda b: edits.by_hand(b, b.gray_box().with_nets(k)), "flat, tilt or bend")

    def choose_alternative(self, index: int) -> None:
        """Take one of the detector's boxes for the selected ROI."""
        box = self.session.box
        found = self.session.alternatives.get(self.session.roi_id or "", ())
        if box is not None and 0 <= index < len(found):
            chosen = found[index].model_copy(update={"id": box.id})
            self._edit(lambda a: edits.put_box(a, chosen), "choose alternative")

    def _set_box(self, change: Callable[[BoxRecord], BoxRecord], action: str) -> None:
        box = self.session.box or self._new_box()
        if box is None:
            return
        with _Told(self):
            new = change(box)
            if self.session.box is not None and edits.same_geometry(new, box):
                self._end_preview()  # dragged back to where it was
                self.session.record_changed.emit()
                return
            self.session.box_id = new.id
            self._edit(lambda a: edits.put_box(a, new), action)

    def _preview(self, change: Callable[[BoxRecord], BoxRecord]) -> None:
        session = self.session
        box = session.box or session.preview or self._new_box()
        if box is None or session.masks is None:
            return
        with _Told(self):
            session.preview = change(box)
            session.mask_changed.emit(session.masks.preview(session.preview))

    def _end_preview(self) -> None:
        session = self.session
        session.preview = None
        window = session.masks.end_preview() if session.masks else None
        if window is not None:
            session.mask_changed.emit(window)

    def _new_box(self) -> BoxRecord | None:
        """Return a box for an ROI that has none, to be given a range."""
        roi, image = self.session.roi, self.session.image
        if roi is None or image is None:
            return None
        whole = GrayBox.flat(roi.roi_box, image.scale.range_from_unit(0, 1))
        return edits.boxed_roi(roi, whole.gray)

    # Mask ---------------------------------------------------------------------------------------

    def paint(self, painted: npt.NDArray[np.integer]) -> None:
        """Keep what was painted or erased on the mask as the record's residual.

        Raises
        ------
        MaskError
            If a value is no class of the project.
        """
        session = self.session
        if session.annotation is None or session.masks is None:
            return
        if painted.shape != session.masks.map.shape or painted.max() > len(session.classes):
            raise MaskError(
                f"Painting takes the values 0 to {len(session.classes)} (the classes), "
                f"got {painted.max()}; choose a class in the panel."
            )
        masks = session.masks
        if not np.array_equal(painted, masks.map):
            self._edit(lambda a: edits.paint(a, masks, painted), "paint")

    def clear_paint(self) -> None:
        """Forget what was painted for the selected class."""
        label = self.session.label
        if self.session.annotation and label in self.session.annotation.residual:
            self._edit(lambda a: edits.clear_residual(a, label), "clear painting")

    def set_cleanup(self, cleanup: CleanUpRecord | None) -> None:
        """Set the clean-up of the selected class in this image."""
        label = self.session.label
        annotation = self.session.annotation
        if annotation is not None and annotation.cleanup.get(label) != cleanup:
            self._edit(lambda a: edits.set_cleanup(a, label, cleanup), "clean-up")

    # History ------------------------------------------------------------------------------------

    def undo(self) -> None:
        """Undo the last edit, also of another image, which is then shown."""
        self._after_step(self.recorder.undo() if self.recorder else None)

    def redo(self) -> None:
        """Do the last undone edit again."""
        self._after_step(self.recorder.redo() if self.recorder else None)

    def _after_step(self, image_id: int | None) -> None:
        if image_id is None or self.recorder is None:
            return
        if image_id == self.session.image_id and self.session.annotation is not None:
            self.reload()
        else:
            self.go_to(image_id)

    def go_to_conflict(self) -> None:
        """Show the image of which somebody else has stored another version."""
        if self.session.conflict is not None:
            self.go_to(self.session.conflict)

    def take_stored(self) -> None:
        """After a conflict: give up this window's edit and show what the other one stored."""
        if self.recorder is not None:
            self.recorder.take_stored()

    def keep_mine(self) -> None:
        """After a conflict: store this window's record; the other one stays as a revision."""
        if self.recorder is not None:
            with _Told(self):
                self.recorder.keep_mine()

    def retry_save(self) -> None:
        """Try to store what a failing disk refused."""
        if self.recorder is not None:
            self.recorder.flush()

    def entry_predicted(self, image_id: int) -> None:
        """Show the new state of an image that was predicted in the background."""
        if self.recorder is None:
            return
        self.recorder.refresh_entry(image_id)
        if image_id == self.session.image_id:
            self.reload()

    # Commit -------------------------------------------------------------------------------------

    def _edit(self, change: Callable[[Annotation], Annotation], action: str) -> None:
        annotation = self.session.annotation
        if annotation is None:
            return
        with _Told(self):
            self.commit(change(annotation), action)

    def commit(self, annotation: Annotation, action: str, source: Source = "human") -> bool:
        """Show and store a new record of the current image; return whether it is stored."""
        assert self.recorder is not None
        return self.recorder.commit(annotation, action, source)

    def know_class(self, label: str) -> bool:
        """Append a class to the project unless it has it; return whether it has it now."""
        if self.recorder is not None and label not in self.session.classes:
            with _Told(self):
                self.recorder.store.add_class(label)
            self.learn_classes()
        return label in self.session.classes

    def learn_classes(self) -> None:
        """Read the project's classes again."""
        if self.recorder is not None:
            self.recorder.learn_classes()


class _Told:
    """Turns an error of our own tree into a message, and ends a preview that it broke."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, GraydetError):
            self._controller.fail(error)
            self._controller._end_preview()
            self._controller.session.record_changed.emit()  # views go back to the record
            return True
        return False
