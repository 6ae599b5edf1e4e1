from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from qtpy.QtCore import QTimer

from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import MaskError
from napari_graydet.gui.image.layers import Tool
from tests.gui.conftest import Window
from tests.gui.fakes import BRIGHT, SHAPE
from tests.gui.mouse import Mouse

pytestmark = pytest.mark.gui


def agrees(window: Window) -> bool:
    """Whether layers and record say the same."""
    layers, session = window.desk.layers, window.session
    annotation, image = session.annotation, session.image
    if annotation is None or image is None or not layers.complete:
        return False
    label_map = annotation.label_map(image.pixels, list(session.classes))
    return (
        np.array_equal(layers.mask.data, label_map)
        and np.array_equal(layers.image.data, image.pixels)
        and len(layers.rois.data) == len(annotation.rois)
        and all(kind == "rectangle" for kind in layers.rois.shape_type)
        and all(
            np.allclose(RoiBox.from_napari(corners).xyxy, roi.roi_box.xyxy, atol=0.01)
            for corners, roi in zip(layers.rois.data, annotation.rois, strict=True)
        )
    )


def add_roi(window: Window, roi: RoiBox = BRIGHT) -> None:
    window.controller.add_roi(roi)
    window.wait(lambda: window.session.job is None and window.session.box is not None)
    window.wait(lambda: agrees(window))


def test_layers_show_the_record(window: Window) -> None:
    add_roi(window)
    assert window.desk.layers.mask.data[10:40, 20:50].all()
    assert list(window.desk.layers.rois.features["caption"]) == ["bone"]
    assert window.desk.layers.rois.selected_data == {0}


def test_a_click_draws_no_roi_and_a_drag_does(make_window: Callable[..., Window]) -> None:
    window = make_window(True)
    layers, canvas = window.desk.layers, window.viewer.window._qt_viewer.canvas.native
    layers.use(Tool.DRAW)
    window.wait(lambda: layers.rois.mode == "add_rectangle")
    x, y = canvas.width() / 2, canvas.height() / 2
    mouse = Mouse(canvas)
    mouse.press(x, y)
    mouse.release(x, y)
    window.wait(lambda: window.session.message is not None)
    assert "drag a rectangle" in window.session.message.text
    assert not window.session.annotation.rois and len(layers.rois.data) == 0
    assert layers.tool is Tool.DRAW, "the next attempt may succeed"
    mouse.drag([(x + step, y + step) for step in range(0, 60, 10)])
    window.wait(lambda: len(window.session.annotation.rois) == 1)
    window.wait(lambda: layers.tool is Tool.SELECT)


def test_layers_are_made_one_in_a_turn_and_show_where_the_person_has_gone(window: Window) -> None:
    layers, viewer = window.desk.layers, window.viewer
    turns: list[int] = [0]
    ticks = QTimer()
    ticks.timeout.connect(lambda: turns.append(turns[-1] + 1))
    ticks.start(0)
    made: list[int] = []
    viewer.layers.clear()
    viewer.layers.events.inserted.connect(lambda _event: made.append(turns[-1]))
    window.wait(lambda: made)
    window.controller.next()
    window.wait(lambda: window.session.position == 1 and agrees(window))
    ticks.stop()
    assert len(made) == 3 and made[0] < made[1] < made[2], "events came in between"
    assert [layer.name for layer in viewer.layers] == ["radiograph", "mask", "ROIs"]
    assert layers.tool is Tool.SELECT


def test_captions_name_class_and_score(window: Window) -> None:
    window.controller.detection.image()
    window.wait_idle()
    features = window.desk.layers.rois.features
    assert list(features["id"]) == [roi.id for roi in window.session.annotation.rois]
    assert list(features["caption"]) == ["bone 0.90"]
    assert list(window.desk.layers.rois.text.values) == ["bone 0.90"]
    window.controller.next()
    window.wait(lambda: window.session.position == 1 and agrees(window))
    window.controller.detection.image()
    window.wait_idle()
    assert list(window.desk.layers.rois.features["caption"]) == ["bone 0.90"]


def test_layers_stay_when_there_is_no_image(window: Window) -> None:
    """Hidden and blank: nothing is deleted, and a tool that is chosen meanwhile does nothing."""
    add_roi(window)
    made = list(window.viewer.layers)
    entry = window.session.entries[0]
    window.controller._unreadable(entry, MaskError("gone"), window.controller.images)
    assert list(window.viewer.layers) == made and not any(layer.visible for layer in made)
    assert not window.desk.layers.image.data.any() and not window.desk.layers.mask.data.any()
    assert len(window.desk.layers.rois.data) == 0
    window.desk.layers.use(Tool.DRAW)
    assert window.desk.layers.tool is Tool.SELECT
    window.controller.go_to(window.session.entries[1].id)
    window.wait(lambda: window.session.position == 1 and agrees(window))
    assert list(window.viewer.layers) == made and all(layer.visible for layer in made)


def test_the_mask_follows_a_preview_in_place(window: Window) -> None:
    add_roi(window)
    data = window.desk.layers.mask.data
    window.controller.preview_range(0, 100)
    assert window.desk.layers.mask.data is data
    np.testing.assert_array_equal(data, window.session.masks.map)
    assert not data.any() and not window.session.masks.map.any()


def test_a_rectangle_added_moved_and_removed_is_an_edit(window: Window) -> None:
    rois = window.desk.layers.rois
    rois.add_rectangles([BRIGHT.to_napari()])
    window.wait(lambda: window.session.box is not None and agrees(window))
    moved = RoiBox(10, 10, 40, 40)
    window.desk.layers.rois.data = [moved.to_napari()]
    window.wait(lambda: window.session.roi is not None and window.session.roi.roi_box == moved)
    window.wait_idle()
    window.wait(lambda: agrees(window))
    window.desk.layers.rois.selected_data = {0}
    window.desk.layers.rois.remove_selected()
    window.wait(lambda: not window.session.annotation.rois)
    assert agrees(window)
    window.controller.undo()
    window.wait(lambda: agrees(window) and len(window.session.annotation.rois) == 1)


@pytest.mark.parametrize("kind", ["polygons", "ellipses", "paths", "lines"])
def test_odd_shapes_become_their_bounding_box(window: Window, kind: str) -> None:
    corners = {
        "polygons": [[5, 5], [30, 10], [20, 40]],
        "ellipses": [[5, 5], [5, 40], [30, 40], [30, 5]],
        "paths": [[5, 5], [30, 10], [20, 40]],
        "lines": [[5, 5], [30, 40]],
    }[kind]
    getattr(window.desk.layers.rois, f"add_{kind}")([np.array(corners, float)])
    window.wait(lambda: window.session.roi is not None)
    window.wait_idle()
    window.wait(lambda: agrees(window))
    assert window.session.roi.roi_box == RoiBox(5.5, 5.5, 40.5, 30.5)


def test_shapes_without_area_or_outside_are_refused_in_one_line(window: Window) -> None:
    window.desk.layers.rois.add_lines([np.array([[5.0, 5.0], [5.0, 40.0]])])
    window.wait(lambda: window.session.message is not None)
    assert "area" in window.session.message.text
    window.desk.layers.rois.add_rectangles([RoiBox(900, 900, 950, 950).to_napari()])
    window.wait(lambda: "covers no pixel" in window.session.message.text)
    window.wait(lambda: agrees(window))
    assert not window.session.annotation.rois


def test_painting_is_kept_as_residual_and_undone_with_our_history(window: Window) -> None:
    add_roi(window)
    window.desk.layers.use(Tool.PAINT)
    mask = window.desk.layers.mask
    mask.brush_size = 4
    mask.paint((50, 70), 1)
    window.wait(lambda: "bone" in window.session.annotation.residual)
    assert agrees(window) and mask.data[50, 70] == 1
    window.controller.undo()
    window.wait(lambda: agrees(window))
    assert mask.data[50, 70] == 0
    mask.paint((20, 30), 0)
    window.wait(lambda: "bone" in window.session.annotation.residual)
    assert window.session.annotation.residual["bone"].erased and agrees(window)


def test_a_class_that_does_not_exist_cannot_be_painted(window: Window) -> None:
    window.desk.layers.mask.paint((30, 30), 7)
    window.wait(lambda: window.session.message is not None)
    assert "0 to 2" in window.session.message.text and agrees(window)


def _delete(name: str) -> Callable[[Window], None]:
    def abuse(window: Window) -> None:
        layer = getattr(window.desk.layers, name)
        if layer in window.viewer.layers:  # else it is about to be restored
            window.viewer.layers.remove(layer)

    return abuse


def _delete_all(window: Window) -> None:
    window.viewer.layers.clear()


def _rename_and_reorder(window: Window) -> None:
    for layer in window.viewer.layers:
        layer.name = "nonsense"
    window.viewer.layers.reverse()


def _add_others(window: Window) -> None:
    window.viewer.add_image(np.zeros((4, 20, 20), np.float32))
    window.viewer.add_image(np.zeros((20, 20, 3), np.uint8), rgb=True)
    window.viewer.add_labels(np.zeros((5, 20, 20), int))
    window.viewer.add_points(np.zeros((3, 3)))
    window.viewer.add_shapes(np.zeros((4, 2)))


def _three_dimensions(window: Window) -> None:
    window.viewer.add_image(np.zeros((4, 20, 20), np.float32))
    window.viewer.dims.ndisplay = 3
    window.controller.preview_range(10, 50)
    window.viewer.dims.ndisplay = 2
    window.controller.set_range(10, 60)


def _replace_mask(window: Window) -> None:
    window.desk.layers.mask.data = np.ones((7, 9), np.int32)


def _replace_image(window: Window) -> None:
    layer = window.desk.layers.image
    if layer in window.viewer.layers:
        layer.data = np.zeros((7, 9), np.uint8)


def _replace_image_and_delete_mask(window: Window) -> None:
    _replace_image(window)
    _delete("mask")(window)


def _contours(window: Window) -> None:
    window.desk.layers.mask.contour = 2
    window.controller.preview_range(10, 50)
    window.controller.set_range(10, 60)


def _lock(window: Window) -> None:
    for layer in window.viewer.layers:
        layer.editable = False


ABUSE = [
    _delete("image"), _delete("mask"), _delete("rois"), _delete_all, _rename_and_reorder,
    _add_others, _three_dimensions, _replace_mask, _replace_image,
    _replace_image_and_delete_mask, _contours, _lock,
]  # fmt: skip


@pytest.mark.parametrize("abuse", ABUSE, ids=lambda f: getattr(f, "__qualname__", str(f)))
def test_abused_layers_are_put_right_from_the_record(
    window: Window, abuse: Callable[[Window], None]
) -> None:
    add_roi(window)
    abuse(window)
    window.controller.set_range(120, 230)
    window.wait(lambda: agrees(window))
    window.controller.next()
    window.wait(lambda: window.session.position == 1)
    window.wait(lambda: agrees(window))
    assert window.desk.layers.mask.data.shape == SHAPE


@pytest.mark.parametrize("sequences", [10, pytest.param(500, marks=pytest.mark.long)])
@pytest.mark.timeout(3600)
def test_random_sequences_of_abuse_in_two_windows(
    make_window: Callable[..., Window], sequences: int
) -> None:
    """R26: whatever was done to the layers, they show the record again, and the other window's."""
    windows = [make_window(), make_window()]
    for window in windows:
        add_roi(window)
    rng = np.random.default_rng(11)
    for number in range(sequences):
        window, other = windows[number % 2], windows[1 - number % 2]
        for kind in rng.integers(len(ABUSE), size=rng.integers(1, 7)):
            ABUSE[kind](window)
            if rng.random() < 0.5:
                window.qtbot.wait(1)
        window.controller.set_range(int(rng.integers(1, 120)), int(rng.integers(130, 255)))
        if rng.random() < 0.5:
            go_round(window)
        window.wait(lambda window=window: agrees(window))
        assert agrees(other)
        tidy(window)


def go_round(window: Window) -> None:
    """Go to the next image, or from the last to the first; every one gets an ROI."""
    entries, here = window.session.entries, window.session.position
    assert here is not None
    at = (here + 1) % len(entries)
    window.controller.go_to(entries[at].id)
    window.wait(lambda: window.session.position == at and window.session.image is not None)
    annotation = window.session.annotation
    if annotation is not None and not annotation.rois:
        add_roi(window)


def tidy(window: Window) -> None:
    """Remove what others have added: that each sequence takes as long as the first."""
    layers = window.desk.layers
    for layer in list(window.viewer.layers):
        if layer not in (layers.image, layers.mask, layers.rois):
            window.viewer.layers.remove(layer)


def test_images_of_other_sizes_follow_each_other(window: Window) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((30, 40), np.uint8)).save(window.folder / "image_2.png")
    add_roi(window)
    window.controller.go_to(window.session.entries[2].id)
    window.wait(lambda: window.session.position == 2 and agrees(window))
    assert window.desk.layers.mask.data.shape == (30, 40)
    fitted = window.viewer.scene.camera.zoom
    window.viewer.reset_view()
    assert window.viewer.scene.camera.zoom == pytest.approx(fitted), "to the image, not to old ROIs"


def test_an_image_stays_fitted_until_a_person_chooses_a_view(
    make_window: Callable[..., Window],
) -> None:
    window = make_window(show=True)
    viewer = window.viewer
    camera, canvas = viewer.scene.camera, viewer.canvas

    def resize(width: int, height: int) -> None:
        before = canvas.size
        viewer.window.resize(width, height)
        window.wait(lambda: canvas.size != before)
        window.qtbot.wait(20)

    def share() -> float:
        """Return the part of the canvas that the image takes, along the side that it fills most."""
        return float(max(np.array(SHAPE) * camera.zoom / np.array(canvas.size)))

    resize(1500, 900)
    assert share() == pytest.approx(0.95, abs=0.02), "as napari fits"
    resize(1200, 700)
    assert share() == pytest.approx(0.95, abs=0.02)
    camera.zoom *= 2
    chosen = camera.zoom
    resize(1400, 800)
    assert camera.zoom == pytest.approx(chosen), "a view that was chosen stays"
    viewer.reset_view()
    resize(1200, 700)
    assert share() == pytest.approx(0.95, abs=0.02), "Home fits again"
    viewer.dims.ndisplay = 3
    viewer.reset_view()
    camera.angles = (10, 20, 30)
    resize(1400, 800)
    assert camera.angles == pytest.approx((10, 20, 30)), "turned in 3D is a view that was chosen"
