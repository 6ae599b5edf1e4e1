"""The rule of patients of an open project: used, missed, and set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from napari_graydet.errors import DatasetError, ProjectError
from napari_graydet.project import splits
from napari_graydet.project.patients import PatientRule, people
from napari_graydet.project.schema import ImageEntry
from napari_graydet.project.settings import FILE_NAME, ProjectSettings, is_table


class KeptPatients:
    """What a project's settings say about patients.

    A rule that cannot be read must not keep anybody from annotating: it leaves a notice, and stops
    only what needs to know the patients (`require`).

    Parameters
    ----------
    folder
        The project folder.
    text
        The rule as it stands in the settings; None without one.

    Attributes
    ----------
    text
        The same.
    rule
        The rule; None without one, or if it cannot be read.
    notices
        What the user should know, one line each.
    """

    def __init__(self, folder: Path, text: str | None) -> None:
        self.text = text
        self.rule: PatientRule | None = None
        self._folder = folder
        self._stamps = _stamps(folder, text)
        self._error: DatasetError | None = None
        try:
            self.rule = None if text is None else PatientRule.kept(folder, text)
        except DatasetError as error:
            self._error = error

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know, one line each."""
        return (f"Patients are not known: {self._error}",) if self._error else ()

    def renewed(self) -> KeptPatients:
        """Return what stands in the project folder now: another process may have set a rule."""
        if _stamps(self._folder, self.text) == self._stamps:
            return self
        try:
            return KeptPatients(self._folder, ProjectSettings.read(self._folder).patients)
        except ProjectError:
            return self  # the folder is gone; what was known still holds

    def mark(self, entries: Sequence[ImageEntry]) -> list[ImageEntry]:
        """Return entries with their patients, as far as the rule finds them."""
        rule = self.rule
        if rule is None:
            return list(entries)
        return [e.model_copy(update={"patient": rule.find(e.path) or None}) for e in entries]

    def require(self, entries: Iterable[ImageEntry]) -> None:
        """Raise `DatasetError` if there is a rule, but not for all of these images."""
        if self._error is not None:
            raise DatasetError(str(self._error))
        if self.rule is not None:
            self.rule.require(entry.path for entry in entries)

    def check_same(self, rule: str) -> None:
        """Raise `DatasetError` unless a rule that a person gave is the one that is kept."""
        if not PatientRule.given(rule).same_as(self.rule):
            kept = "none yet" if self.text is None else repr(self.text)
            raise DatasetError(
                f"A project keeps its own rule of patients ({kept}), but got {rule!r}; leave "
                "--patients out here, or set the rule with: napari-graydet train PART PROJECT "
                "--patients RULE."
            )


def _stamps(folder: Path, text: str | None) -> list[tuple[int, int, int] | None]:
    """Return what tells a settings file or table from the one that was read."""
    stamps: list[tuple[int, int, int] | None] = []
    for name in (FILE_NAME, *((text,) if text is not None and is_table(text) else ())):
        try:
            status = (folder / name).stat()
            stamps.append((status.st_ino, status.st_mtime_ns, status.st_size))
        except OSError:
            stamps.append(None)
    return stamps


def keep_rule(
    folder: Path, text: str, entries: Sequence[ImageEntry]
) -> tuple[KeptPatients, tuple[str, ...]]:
    """Give a project a rule; parameters, notices and errors as `ProjectStore.set_patients`.

    The settings are written last: only then does the rule count.
    """
    rule = PatientRule.given(text)
    rule.require(entry.path for entry in entries)
    settings = ProjectSettings.read(folder)
    kept = KeptPatients(folder, rule.keep_in(folder))
    owned = people(kept.mark(entries))
    torn = splits.reunite(folder, owned)
    settings.model_copy(update={"patients": kept.text}).write(folder)
    count = len(set(owned.values()))
    told = (
        f"The project keeps this rule of patients from now on: {len(owned)} images of {count} "
        f"patient{'' if count == 1 else 's'}."
    )
    return kept, (told,) if torn is None else (told, torn.notice)


def drop_rule(folder: Path) -> tuple[KeptPatients, tuple[str, ...]]:
    """Take a project's rule away; notices and errors as `ProjectStore.drop_patients`.

    A CSV file stays where it is: it may be the only one.
    """
    settings = ProjectSettings.read(folder)
    settings.model_copy(update={"patients": None}).write(folder)
    kept = " The file of patients stays in the project folder." if settings.has_table else ""
    told = (
        "The project has no rule of patients any more: each image counts as its own patient, so "
        f"held-out figures are too good where a patient has several.{kept}"
    )
    return KeptPatients(folder, None), (told,)
