"""A question before something that is stopped or deleted."""

from __future__ import annotations

from qtpy.QtWidgets import QMessageBox, QWidget


def agreed(parent: QWidget, title: str, text: str, yes: str) -> bool:
    """Ask; return whether the button named `yes` was chosen. Escape and Enter are a no."""
    question = QMessageBox(parent)
    question.setIcon(QMessageBox.Icon.Question)
    question.setWindowTitle(title)
    question.setText(text)
    go = question.addButton(yes, QMessageBox.ButtonRole.AcceptRole)
    no = question.addButton("Cancel", QMessageBox.ButtonRole.RejectRole)
    question.setDefaultButton(no)
    question.exec()
    chosen = question.clickedButton()
    question.deleteLater()
    return chosen == go
