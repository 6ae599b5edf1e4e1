"""``napari-graydet recover``: the backup in the place of a damaged database."""

from __future__ import annotations

from napari_graydet.cli.boundary import Result
from napari_graydet.cli.options import Debug, Json, Project


def recover(project: Project, json: Json = False, debug: Debug = False) -> Result:
    """Put the last good state in the place of a project's damaged database.

    The damaged file is kept beside it.
    """
    from napari_graydet.project.store import ProjectStore

    kept = ProjectStore.recover(project)
    with ProjectStore.open(project) as store:
        count = len(store.entries())
    text = f"{project} is a sound project of {count} images again; the damaged file is {kept}."
    return Result({"project": str(project), "images": count, "damaged": str(kept)}, text)
