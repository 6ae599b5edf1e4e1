"""What napari sees of us."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from npe2 import PluginManifest
from pytestqt.qtbot import QtBot

pytestmark = pytest.mark.gui


@pytest.fixture
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution("napari-graydet")


def test_every_command_of_the_manifest_exists(manifest: PluginManifest) -> None:
    for command in manifest.contributions.commands:
        module, name = command.python_name.split(":")
        assert hasattr(__import__(module, fromlist=[name]), name), command.id


def test_menus_and_categories(manifest: PluginManifest) -> None:
    assert {"Annotation", "Segmentation", "IO"} <= {str(c.value) for c in manifest.categories}
    assert {"napari/layers/annotate", "napari/layers/segment"} <= set(manifest.contributions.menus)


@pytest.mark.parametrize(
    "name", ["Workplace", "Images", "ROI", "3D box", "Train", "Evaluate", "Export"]
)
def test_every_widget_opens_from_the_plugins_menu(
    make_napari_viewer: Callable[..., object], qtbot: QtBot, name: str, manifest: PluginManifest,
    npe2pm: object,
) -> None:  # fmt: skip
    from napari_graydet.gui.desk import desk_of

    npe2pm.register(manifest)
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-graydet", name)
    assert widget.desk is desk_of(viewer)
    qtbot.wait(10)
    if name == "Workplace":
        assert "Images (napari-graydet)" in viewer.window.dock_widgets
    desk_of(viewer).close()


@pytest.mark.parametrize("kind", ["hand", "forearm", "chest"])
def test_sample_data_come_with_their_exact_mask(kind: str) -> None:
    from napari_graydet import _sample_data

    (pixels, _, first), (mask, _, second) = getattr(_sample_data, kind)()
    assert (first, second) == ("image", "labels")
    assert pixels.shape == mask.shape and max(pixels.shape) == _sample_data.SIZE
    assert 0.02 < np.mean(mask > 0) < 0.6
