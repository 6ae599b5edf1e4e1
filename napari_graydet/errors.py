"""The project's own exceptions.

Every message is one line: what was expected, what came, and what to do.
"""

from __future__ import annotations


class GraydetError(Exception):
    """Base of all errors that a user can cause and mend."""


class ImageError(GraydetError):
    """A file is not a grayscale image that we can read."""


class LimitError(ImageError):
    """A file is larger, deeper or more numerous than the limits allow."""


class GeometryError(GraydetError, ValueError):
    """An ROI, box or gray range is empty, inverted, not finite or outside its image."""


class MaskError(GraydetError):
    """A mask does not fit its image."""


class FormatError(GraydetError):
    """A file of shapes to pretrain on is not in the format that its ending promises."""


class WeightsError(GraydetError):
    """A weights file is damaged, of another architecture or of other classes."""


class ModelError(GraydetError):
    """A model could not be built or run."""


class ProjectError(GraydetError):
    """A project cannot be opened, read or written."""


class DamagedProjectError(ProjectError):
    """A file or record of a project is damaged; it was kept as it is, not read as empty."""


class ConflictError(ProjectError):
    """Somebody else changed the record since it was read; nothing was overwritten."""


class NewerSchemaError(ProjectError):
    """The project was written by a newer version of the program; it was left untouched."""


class DatasetError(GraydetError):
    """Images and masks do not make a set that can be trained or evaluated on."""


class ExportError(GraydetError):
    """An export could not be written completely; no half export is left behind."""


class CancelledError(GraydetError):
    """The user asked to stop."""
