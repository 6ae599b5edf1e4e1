from __future__ import annotations

import numpy as np
import torch

from napari_graydet.models.roi.views import PADDING, candidates_of, letterbox, views_of


def test_letterbox_keeps_shape_and_scale() -> None:
    image = np.full((100, 50), 255, np.uint8)
    canvas, size = letterbox(image, 224)
    assert canvas.shape == (1, 3, 224, 128)
    assert size == (112, 224)
    assert (canvas[..., :112] == 1).all()
    assert (canvas[..., 113:] == PADDING).all()


def test_only_the_image_is_mirrored_not_its_padding() -> None:
    canvas = torch.arange(24.0).reshape(1, 1, 4, 6)
    one, other = views_of(canvas, 4, mirrored=True)
    assert torch.equal(one, canvas[0])
    assert torch.equal(other[..., :4], canvas[0][..., :4].flip(-1))
    assert torch.equal(other[..., 4:], canvas[0][..., 4:])
    assert torch.equal(views_of(canvas, 4, mirrored=False), canvas)


def test_what_the_mirror_image_shows_is_turned_back() -> None:
    plain = np.array([[10, 5, 30, 20, 0.9, 1], [4, 4, 4, 9, 0.8, 0]])  # the second has no area
    mirrored = np.array([[70, 5, 90, 20, 0.5, 1]])
    found = candidates_of([plain, mirrored], width=100)
    assert found.corners.tolist() == [[10, 5, 30, 20], [10, 5, 30, 20]]
    assert found.scores.tolist() == [0.9, 0.5]
    assert found.views.tolist() == [0, 1]
    assert found.classes.tolist() == [1, 1]
