"""Panel Train, driven by the mouse; the training is a child process that takes no time."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox

from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import ModelError, ProjectError
from napari_graydet.gui.control import training as training_module
from napari_graydet.gui.control.patients import preview
from napari_graydet.gui.panels.patients import PAUSE, PatientsDialog
from napari_graydet.gui.panels.train import TrainPanel
from napari_graydet.gui.workplace import IMAGES
from napari_graydet.io.lock import exclusive
from napari_graydet.project.model_registry import LOCK_FILE, STOP_FILE, ModelRegistry
from napari_graydet.project.schema import ImageEntry, State
from napari_graydet.workflows import command_process
from tests.gui.accepted import click, click_row, make_study, open_study
from tests.gui.conftest import Window
from tests.gui.fakes import make_folder

pytestmark = pytest.mark.gui

QT6 = os.environ.get("QT_API") == "pyqt6"
REAL = 120_000
"""Milliseconds that a process with torch may take on a busy machine."""


@pytest.fixture
def window(make_window: Callable[..., Window], monkeypatch: pytest.MonkeyPatch) -> Window:
    monkeypatch.setattr(command_process, "NICE", 0)  # the machines of tests have other work, too
    made = make_window(True)
    made.workplace.tabs.setCurrentWidget(made.workplace.train)
    return made


def ask(window: Window, what: str) -> None:
    assert window.session.folder is not None
    (window.session.folder / f"{what}.txt").touch()


def unask(window: Window, what: str) -> None:
    assert window.session.folder is not None
    (window.session.folder / f"{what}.txt").unlink()


def said(window: Window) -> str:
    """Return the line above all tabs, which must be one line."""
    text: str = window.workplace.message.text()
    assert "\n" not in text and "Traceback" not in text
    return text


def wait_phase(window: Window, phase: str) -> None:
    window.wait(lambda: window.desk.training.phase == phase)


def start(panel: TrainPanel) -> None:
    """Train the detectors only: the child's tiny weights are no network that could refine."""
    if panel.parts["refiner"].isChecked():
        click(panel.parts["refiner"])
    click(panel.start)


def test_too_few_images_are_counted(window: Window) -> None:
    panel = window.workplace.train
    assert panel.news.text() == "No image accepted. Training needs at least 5: accept 5 more."
    assert not panel.start.isEnabled()
    open_study(window, accepted=4)
    assert "4 images accepted" in panel.news.text() and "accept 1 more" in panel.news.text()
    window.controller.accept()
    assert "5 images accepted" in panel.news.text() and panel.start.isEnabled()
    assert "Roughly" in panel.hint.text() and "minutes on two CPU cores" in panel.hint.text()
    for box in panel.parts.values():
        click(box)
    assert not panel.start.isEnabled() and "Choose what to train" in panel.hint.text()


def test_what_is_ticked_stays_under_the_mouse(window: Window) -> None:
    panel = open_study(window).train

    def places() -> list[int]:
        QTest.qWait(50)  # the layout comes to rest
        shown = (*panel.parts.values(), panel.start)
        return [widget.mapTo(panel, widget.rect().topLeft()).y() for widget in shown]

    before, lines = places(), {panel.hint.height()}
    for box in panel.parts.values():
        click(box)
        assert places() == before
        lines.add(panel.hint.height())
    assert len(lines) > 1, "the line below has had more and less to say"


def in_dialog(panel: TrainPanel, act: Callable[[PatientsDialog], None]) -> None:
    """Click *Patients …*, do something in the dialog, and leave it with Escape if it is open then.

    pytest-qt fails the test if that raises.
    """

    def at_work() -> None:
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, PatientsDialog)
        try:
            act(dialog)
        finally:
            if dialog.isVisible():
                QTest.keyClick(dialog, Qt.Key.Key_Escape)

    QTimer.singleShot(0, at_work)
    click(panel.ask)


def typed(window: Window, dialog: PatientsDialog, text: str) -> str:
    """Write a rule with the keyboard and return what the dialog says of it."""
    QTest.keyClick(dialog.text, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClicks(dialog.text, text)
    assert not dialog.keep.isEnabled()
    before = dialog.told.text()
    window.wait(lambda: dialog.told.text() != before)
    return str(dialog.told.text())


def test_patients_are_told_asked_for_and_kept(window: Window, tmp_path: Path) -> None:
    panel = open_study(window).train
    folder = window.session.folder
    assert folder is not None
    assert panel.patients.text() == "Each image counts as its own patient."

    def look(dialog: PatientsDialog) -> None:
        assert "each image counts" in dialog.told.text() and not dialog.keep.isEnabled()
        assert not dialog.usual.isVisible()  # image_0 to image_6 belong together in no usual way
        assert "none for 7 of them" in typed(window, dialog, "^(bone)")
        assert not dialog.keep.isEnabled()
        said = typed(window, dialog, "^(image)")
        assert said.splitlines() == [
            "7 images are of 1 patient:",
            "image: image_0, image_1, image_2 and 4 more",
        ]
        assert dialog.keep.isEnabled()  # and is left with Escape

    in_dialog(panel, look)
    in_dialog(panel, lambda dialog: QTest.keyClicks(dialog.text, "x"))  # and Escape at once
    QTest.qWait(2 * PAUSE)
    assert "Each image" in panel.patients.text()

    def keep(rule: str, before: str) -> None:
        def act(dialog: PatientsDialog) -> None:
            assert dialog.rule == before
            typed(window, dialog, rule)
            click(dialog.keep)
            assert not dialog.isVisible()

        in_dialog(panel, act)

    keep("^(image)", "")
    window.wait(lambda: "of 1 patient." in panel.patients.text())
    assert "7 images of 1 patient." in said(window)
    assert "all of one patient" in panel.news.text() and not panel.start.isEnabled()
    table = tmp_path / "who.csv"
    table.write_text("".join(f"image_{n},{n // 2}\n" for n in range(7)))
    keep(str(table), "^(image)")
    window.wait(lambda: panel.patients.text() == "The accepted images are of 3 patients.")
    assert panel.start.isEnabled()

    def own(dialog: PatientsDialog) -> None:
        assert dialog.rule == "patients.csv"  # the project's copy, wherever the program was started
        assert "7 images are of 4 patients" in dialog.told.text() and dialog.keep.isEnabled()

    in_dialog(panel, own)

    def empty(dialog: PatientsDialog) -> None:
        QTest.keyClick(dialog.text, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
        QTest.keyClick(dialog.text, Qt.Key.Key_Delete)
        window.wait(lambda: dialog.keep.text() == "Take the rule away")
        assert dialog.keep.isEnabled() and "each image counts" in dialog.told.text()
        click(dialog.keep)

    in_dialog(panel, empty)
    window.wait(lambda: panel.patients.text() == "Each image counts as its own patient.")
    assert (folder / "patients.csv").exists() and panel.start.isEnabled()
    keep(str(table), "")
    window.wait(lambda: panel.patients.text() == "The accepted images are of 3 patients.")
    (folder / "patients.csv").write_text("image_0,1\n")
    window.controller.open_folder(folder)
    window.wait(lambda: "5 of 6 accepted images have no patient" in panel.patients.text())
    assert not panel.start.isEnabled()
    (folder / "patients.csv").unlink()
    window.controller.open_folder(folder)
    window.wait(lambda: "Patients are not known" in panel.patients.text())
    assert not panel.start.isEnabled()


def test_rules_that_fit_the_names_are_offered(
    window: Window, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    panel = open_study(window).train
    entries = [
        ImageEntry(id=n, path=f"{who}_{n}.png", sha256=str(n), state=State.PROPOSED, revision=1)
        for n, who in enumerate(("ann", "bob", "ann", "bob", "cy"))
    ]
    table = tmp_path / "who.csv"
    table.write_text("".join(f"{entry.path},x\n" for entry in entries))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_a, **_k: (str(table), ""))
    dialog = PatientsDialog(entries, "", tmp_path, panel)
    dialog.show()
    offered = [dialog.usual.itemText(row) for row in range(dialog.usual.count())]
    assert offered[1:] == ["What comes before the first _: 3 patients"]
    dialog.usual.setFocus()
    QTest.keyClick(dialog.usual, Qt.Key.Key_Down)
    assert dialog.rule == "^([^_]+)_"
    window.wait(lambda: "5 images are of 3 patients:\nann: ann_0, ann_2\n" in dialog.told.text())
    assert dialog.keep.isEnabled() and dialog.usual.currentIndex() == 1
    click(dialog.file)
    assert dialog.usual.currentIndex() == 0
    window.wait(lambda: "5 images are of 1 patient:" in dialog.told.text())
    dialog.close()
    again = PatientsDialog(entries, "^([^_]+)_", tmp_path, panel)
    assert again.usual.currentText() == "What comes before the first _: 3 patients"
    many = preview(entries * 400, "^([^_]+)_", tmp_path)
    assert many.text.startswith("The first 1000 images are of 3 patients") and many.fits


def test_a_training_is_compared_used_and_rolled_back(window: Window) -> None:
    workplace = open_study(window)
    panel: TrainPanel = workplace.train
    folder, training = window.session.folder, window.desk.training
    assert folder is not None
    start(panel)
    assert training.phase == "running" and panel.stop.isVisible()
    window.wait(lambda: panel.curves)
    window.wait(lambda: training.phase != "running")
    curves = {part: view.curve for part, view in panel.curves.items()}
    assert set(curves) == {"roi", "boxes"}
    assert "Blue: mask IoU" in panel.curves["boxes"].toolTip()
    assert [value for _, value in curves["boxes"].score] == pytest.approx([7 / 12, 8 / 12, 9 / 12])
    wait_phase(window, "deciding")
    assert "✓" in workplace.tabs.tabText(1)

    comparison, compare = training.comparison, panel.compare
    assert comparison is not None and comparison.better
    (change,) = comparison.changes
    assert change.old is not None and change.old < 0.8 and change.new == 1.0
    assert change.changed is not None and change.changed > 0.3
    assert "better on 1, worse on 0" in compare.verdict.text()
    assert change.ceiling == 1.0 and "best gray range of each part: 1.000" in compare.verdict.text()
    window.wait(lambda: compare.old.image is not None and compare.new.image is not None)
    click_row(compare.table, 0)
    window.wait(lambda: window.desk.errors.map is not None)
    assert window.session.entry is not None and window.session.entry.path == change.image
    assert ModelRegistry(folder).choices() == {}, "nothing is used before it was chosen"

    click(compare.use)
    wait_phase(window, "idle")
    window.wait(lambda: training.models.choices == {"roi": "0001", "boxes": "0001"})
    assert "Model 0001 is in use" in said(window)
    assert "Nothing new: model 0001 knows all 6" in panel.news.text()
    assert "less than a minute, judging by the last one" in panel.hint.text()
    assert window.desk.overlay._layer is None and window.desk.layers.mask.visible
    window.desk._predictor()
    settings = window.desk._detectors[0]
    assert settings.roi_source == str(folder / "models" / "0001" / "roi.safetensors")
    assert settings.box_source == str(folder / "models" / "0001" / "boxes.safetensors")

    window.controller.go_to(window.session.entries[-1].id)
    window.wait(lambda: window.session.image_id == window.session.entries[-1].id)
    window.controller.accept()
    assert "1 image accepted since model 0001 was trained (7 in all)" in panel.news.text()
    window.controller.go_to(window.session.entries[0].id)
    window.wait(lambda: window.session.image_id == window.session.entries[0].id)
    window.controller.add_roi(RoiBox(2, 2, 12, 12), "bone")
    window.controller.accept()
    assert "2 images accepted since" in panel.news.text(), "what was corrected is news, too"

    click(panel.models.back)
    window.wait(lambda: training.models.choices == {})
    assert "shipped model is in use" in said(window)
    window.desk._predictor()
    assert window.desk._detectors[0].roi_source is None
    assert not panel.models.back.isEnabled()

    panel.models.select("0001")
    click(panel.models.compare)
    wait_phase(window, "deciding")
    click(compare.keep)
    wait_phase(window, "idle")
    assert ModelRegistry(folder).choices() == {} and "stays in use" in said(window)


@pytest.mark.skipif(QT6, reason="a process of its own: the other Qt tells nothing new")
def test_a_real_training_is_used_and_rolled_back(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As all of them, but with nothing in the place of the program: it learns for three seconds."""
    panel, training = open_study(window).train, window.desk.training
    folder = window.session.folder
    assert folder is not None
    training.command = None
    monkeypatch.setattr(training, "start", partial(training.start, minutes=0.05))
    for part in ("roi", "refiner"):
        click(panel.parts[part])
    click(panel.start)
    window.wait(lambda: training.phase == "comparing", REAL)
    entry = ModelRegistry(folder).entry("0001")
    assert entry.status == "done" and set(entry.weights) == {"boxes"} and entry.split is not None
    assert 0 < entry.scores["boxes"]["mask IoU"] <= 1
    window.wait(lambda: training.phase == "deciding", REAL)
    comparison = training.comparison
    assert comparison is not None
    assert [c.image for c in comparison.changes] == list(entry.split.validation)
    click(panel.compare.use)
    window.wait(lambda: training.models.choices == {"boxes": "0001"})
    window.wait(panel.models.back.isEnabled)
    click(panel.models.back)
    window.wait(lambda: training.models.choices == {})


def states(panel: TrainPanel) -> list[str]:
    rows = (panel.models.list.topLevelItem(n) for n in range(panel.models.list.topLevelItemCount()))
    return [f"{row.text(0)} {row.text(3)}" for row in rows if row is not None]


def test_a_model_whose_folder_is_gone_is_left_for_the_shipped_one(window: Window) -> None:
    panel, training = open_study(window).train, window.desk.training
    folder = window.session.folder
    assert folder is not None
    start(panel)
    wait_phase(window, "deciding")
    click(panel.compare.use)
    wait_phase(window, "idle")
    window.wait(lambda: states(panel) == ["0001 in use", "shipped not in use"])
    assert not panel.models.delete.isEnabled() and "Trained in" in panel.models.facts.text()
    shutil.rmtree(folder / "models" / "0001")
    training.refresh()
    window.wait(lambda: states(panel) == ["0001 damaged", "shipped not in use"])
    panel.models.select("0001")
    assert "gone" in panel.models.facts.text() and not panel.models.use.isEnabled()
    assert not panel.models.delete.isEnabled(), "it is in use"
    panel.models.select("shipped")
    assert panel.models.isVisible() and panel.models.facts.text() == "Comes with the program."
    click(panel.models.use)
    window.wait(lambda: training.models.choices == {} and training.phase == "idle")
    assert "shipped model is in use" in said(window) and states(panel) == ["shipped in use"]


def test_a_model_is_deleted_after_a_question(window: Window) -> None:
    panel, training = open_study(window).train, window.desk.training
    folder = window.session.folder
    assert folder is not None
    start(panel)
    wait_phase(window, "deciding")
    click(panel.compare.keep)
    window.wait(panel.models.delete.isEnabled)

    def answer(text: str) -> None:
        def choose() -> None:
            question = QApplication.activeModalWidget()
            assert isinstance(question, QMessageBox) and "model 0001" in question.text()
            click(next(b for b in question.buttons() if text in b.text()))

        QTimer.singleShot(0, choose)
        click(panel.models.delete)

    answer("Cancel")
    assert (folder / "models" / "0001").is_dir()
    answer("Delete it")
    window.wait(lambda: not training.models.entries)
    assert not (folder / "models" / "0001").exists() and "0001 was deleted" in said(window)
    assert not panel.models.isVisible()


def test_the_preset_reaches_the_command_line(window: Window) -> None:
    panel, training = open_study(window).train, window.desk.training
    assert window.session.folder is not None
    panel.preset.setCurrentIndex(panel.preset.findData("paper"))
    assert not panel.parts["refiner"].isEnabled() and "hours on a CPU" in panel.hint.text()
    click(panel.start)
    wait_phase(window, "deciding")
    (entry,) = ModelRegistry(window.session.folder).entries()
    assert (entry.preset, entry.parts) == ("paper", ("roi", "boxes"))
    assert training.comparison is not None


def test_a_training_is_stopped_within_a_second_and_goes_on(window: Window) -> None:
    panel, training = open_study(window).train, window.desk.training
    ask(window, "slow")
    start(panel)
    window.wait(lambda: panel.curves)
    window.wait(lambda: panel.models.list.topLevelItemCount() == 2)  # and the shipped one
    window.controller.go_to(window.session.entries[1].id)  # the window stays usable
    window.wait(lambda: window.session.position == 1)
    assert window.workplace.tabs.tabText(1) != "Train"
    began = time.monotonic()
    click(panel.stop)
    assert training.phase == "stopping", "told at once"
    wait_phase(window, "idle")
    seconds = time.monotonic() - began
    print(f"the training stopped within {seconds:.2f} s")
    assert seconds < 1.5
    window.wait(lambda: training.models.entries[0].status == "cancelled")
    assert "stopped" in said(window)
    window.wait(panel.models.resume.isEnabled)  # the newest is selected
    assert "no weights yet" in panel.models.facts.text()
    unask(window, "slow")
    click(panel.models.resume)
    assert window.session.message is None, "how the last one ended is over"
    wait_phase(window, "deciding")
    click(panel.compare.keep)


def test_what_befalls_a_training_is_one_line(window: Window) -> None:
    panel, training = open_study(window).train, window.desk.training
    lines = {"refuse": "give others", "nan": "NaN", "crash": "killed (signal 6)"}
    for what, expected in lines.items():
        ask(window, what)
        start(panel)
        wait_phase(window, "idle")
        assert expected in said(window)
        assert panel.start.isEnabled() and window.session.message.level == "error"
        window.controller.say(None)
        assert expected in panel.note.text() and panel.note.isVisible(), "stays when one goes on"
        unask(window, what)
    ask(window, "deaf")
    start(panel)
    window.wait(lambda: panel.curves)
    click(panel.stop)
    assert panel.stop.text() == "Stop at once"
    click(panel.stop)
    wait_phase(window, "idle")
    assert training._process is None


def test_another_folder_stops_a_training_only_when_told_to(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, training = open_study(window).train, window.desk.training
    first, other = window.session.folder, make_folder(window.folder.parent / "other", 2)
    assert first is not None
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(other))
    images = window.viewer.window.dock_widgets[IMAGES]
    asked: list[str] = []

    def answer(text: str) -> None:
        question = QApplication.activeModalWidget()
        assert isinstance(question, QMessageBox)
        asked.append(question.text())
        click(next(b for b in question.buttons() if text in b.text()))

    ask(window, "slow")
    start(panel)
    window.wait(lambda: panel.curves)
    QTimer.singleShot(200, lambda: answer("Cancel"))
    click(images.open)
    assert "it can go on later" in asked[0] and training.phase == "running"
    assert window.session.folder == first and window.session.job is None

    process, waited = training._process, []
    assert process is not None
    close = process.close
    monkeypatch.setattr(
        process, "close", lambda *a: (waited.append(threading.current_thread()), close(*a))
    )
    QTimer.singleShot(200, lambda: answer("Open anyway"))
    click(images.open)
    window.wait(lambda: window.session.folder == other and window.session.image is not None)
    window.wait(lambda: window.session.message is not None)
    assert said(window) == "The training in bones was stopped; open it again to go on."
    assert threading.main_thread() not in waited, "the window does not stand still meanwhile"
    window.controller.next()
    assert panel.note.isVisible() and "in bones was stopped" in panel.note.text()
    assert not process.is_running and training.phase == "idle"
    assert ModelRegistry(first).entries()[0].status == "cancelled"
    click(images.open)
    assert len(asked) == 2, "nothing runs any more"


def test_a_training_of_another_process_is_seen_and_stopped(window: Window) -> None:
    panel = window.workplace.train.models
    panel._clock.setInterval(50)
    folder = make_study(window.folder.parent / "shared")
    registry = ModelRegistry(folder)
    window.controller.open_folder(folder)
    window.wait(lambda: window.desk.training.models.folder == folder)
    window.wait_idle()
    tabs = window.workplace.tabs
    tabs.setCurrentIndex(0)
    entry = registry.begin(["boxes"], preset="fast", seed=0, request={}, versions={})
    place = registry.run_folder(entry.id)

    def state() -> str:
        item = panel.list.topLevelItem(0)
        return "" if item is None else item.text(3)

    with exclusive(place / LOCK_FILE, error=ProjectError, taken="held"):
        tabs.setCurrentWidget(window.workplace.train)
        window.wait(lambda: state() == "is being trained")
        assert not panel.resume.isVisible() and "is being trained" in panel.facts.text()
        click(panel.stop)
        window.wait(lambda: state() == "is stopping")
        assert (place / STOP_FILE).exists() and not panel.stop.isEnabled()
        registry.end(entry, "cancelled")
    window.wait(lambda: state() == "stopped")
    assert panel.resume.isEnabled() and panel.resume.isVisible() and not panel.stop.isVisible()
    window.wait(lambda: not panel._clock.isActive())
    registry.write(entry)  # as a kill leaves it
    window.desk.training.refresh()
    window.wait(lambda: state() == "was interrupted")
    assert panel.resume.isEnabled() and panel.resume.isVisible()


def test_a_model_that_could_not_be_compared_can_be_used(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModelError("no memory")

    monkeypatch.setattr(training_module, "compare_models", fail)
    panel, training = open_study(window).train, window.desk.training
    start(panel)
    wait_phase(window, "idle")
    assert "could not be compared: no memory" in said(window)
    window.wait(panel.models.use.isEnabled)
    click(panel.models.use)
    window.wait(lambda: training.models.choices == {"roi": "0001", "boxes": "0001"})
    assert "Model 0001 is in use" in said(window) and not panel.models.use.isEnabled()
    click(panel.models.back)
    window.wait(lambda: training.models.choices == {})
    ask(window, "slow")
    start(panel)
    assert not panel.models.use.isEnabled(), "one thing after the other"


@pytest.mark.skipif(os.name != "posix", reason="/proc")
def test_a_training_ends_with_its_window(window: Window) -> None:
    panel, training = open_study(window).train, window.desk.training
    ask(window, "slow")
    start(panel)
    window.wait(lambda: panel.curves)
    process, folder = training._process, window.session.folder
    assert process is not None and folder is not None
    window.viewer.close()
    assert not Path(f"/proc/{process.pid}").exists(), "neither alive nor a zombie"
    assert ModelRegistry(folder).entries()[0].status == "cancelled"
