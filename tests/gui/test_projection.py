from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from napari_graydet.gui.cloud.projection import UP, Projection, view_direction

angles = st.tuples(st.floats(-180, 180), st.floats(-80, 80))
coordinates = st.floats(-50, 50)
points = st.tuples(coordinates, coordinates, coordinates)


def camera(azimuth: float, elevation: float, zoom: float = 2.0) -> Projection:
    view = np.array(view_direction(azimuth, elevation))
    up = np.array(UP) - view * view[0]
    up /= np.linalg.norm(up)
    return Projection((3.0, -2.0, 1.0), tuple(view), tuple(up), zoom, 22.0, (380, 330))


@given(angles, points)
def test_a_ray_goes_through_the_point_it_was_projected_from(
    at: tuple[float, float], point: tuple[float, float, float]
) -> None:
    cam = camera(*at)
    eye, direction = cam.ray(cam.to_canvas([point])[0])
    to_point = np.asarray(point) - eye
    away = np.cross(direction / np.linalg.norm(direction), to_point)
    assert np.linalg.norm(away) < 1e-6


@given(angles, points, st.floats(-40, 40))
def test_following_a_vertical_line_gives_back_its_height(
    at: tuple[float, float], point: tuple[float, float, float], height: float
) -> None:
    cam = camera(*at)
    pixel = cam.to_canvas([(height, point[1], point[2])])[0]
    assert cam.height_at(pixel, point[1], point[2]) == pytest.approx(height, abs=1e-5)


@given(angles)
def test_gray_goes_up_on_the_canvas(at: tuple[float, float]) -> None:
    low, high = camera(*at).to_canvas([(-10.0, 0.0, 0.0), (10.0, 0.0, 0.0)])
    assert high[1] < low[1]
    assert high[0] == pytest.approx(low[0], abs=2)


def test_from_the_front_x_runs_right_and_y_comes_nearer() -> None:
    cam = camera(0.0, 20.0)
    origin, x, y = cam.to_canvas([(0, 0, 0), (0, 0, 10), (0, 10, 0)])
    assert x[0] > origin[0] + 5
    assert y[1] > origin[1] + 1  # lower on the canvas: nearer to the eye


@example((108.0, -15.0), 16.0, [(0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 2.0), (0.0, 1.0, 0.0)])
@given(angles, st.floats(0.1, 20), st.lists(points, min_size=4, max_size=9, unique=True))
def test_fitted_points_lie_inside_the_margins_and_touch_them(
    at: tuple[float, float], zoom: float, world: list[tuple[float, float, float]]
) -> None:
    cloud = np.array([*world, (30.0, 30.0, 30.0), (-30.0, -30.0, -30.0)])
    cam = camera(*at, zoom).fitted(cloud, (30.0, 20.0))
    low, high = cam.to_canvas(cloud).min(axis=0), cam.to_canvas(cloud).max(axis=0)
    room = np.array([380 - 60, 330 - 40])
    assert ((high - low) <= room * 1.02).all()
    assert ((high - low) / room).max() > 0.98
    assert np.allclose((low + high) / 2, (190, 165), atol=0.5)
