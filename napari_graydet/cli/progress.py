"""Progress on standard error: a bar on a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_graydet.workflows.events import OnProgress, Progress


@contextmanager
def progress_bar(title: str) -> Iterator[OnProgress]:
    """Give a callback for a job's progress events."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Bar(
        *columns,
        TextColumn("[dim]{task.fields[name]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=None, name="")

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total, name=progress.name)

        yield show
