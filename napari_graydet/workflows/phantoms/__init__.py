"""Phantom radiographs with exact masks, from parametric anatomy and X-ray physics.

`make_phantom` draws forearm, hand and chest radiographs: solids are projected to path lengths,
attenuated by the Beer-Lambert law, scattered, blurred, made noisy and put through a display curve.
Nothing is read from disk; the same generator state gives the same bits. They train the shipped
weights and are the sample radiographs of the project (DESIGN.md; METHOD.md says what real
radiographs measure).
"""

from __future__ import annotations

from napari_graydet.workflows.phantoms.make import KINDS, Phantom, make_phantom
from napari_graydet.workflows.phantoms.samples import write_samples

__all__ = ["KINDS", "Phantom", "make_phantom", "write_samples"]
