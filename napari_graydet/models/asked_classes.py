"""Which of its classes a box detector is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from napari_graydet.errors import ModelError


def asked_classes(name: str, labels: Sequence[str], label: str | None) -> Sequence[int]:
    """Return the numbers of the classes to look for.

    Parameters
    ----------
    name
        Of the detector, for messages.
    labels
        All classes it knows.
    label
        The one that is asked for; None for all.

    Raises
    ------
    ModelError
        If it does not know the label.
    """
    if label is None:
        return range(len(labels))
    if label not in labels:
        raise ModelError(
            f"The box detector {name!r} knows {', '.join(labels)}, got {label!r}; "
            "train it on this class or leave the label open."
        )
    return [labels.index(label)]
