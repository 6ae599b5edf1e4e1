"""ModelNet: the 3D shapes that PointNet is pretrained on, as distributed (OFF files) or as clouds.

An OFF file is text: ``OFF``, the numbers of vertices, faces and edges, a line per vertex and a line
per face. Some files of ModelNet40 have the counts on the first line, without a space
("OFF490 518 0"). Points are sampled on the surface, as many to an area as its size.

Source: Wu et al., "3D ShapeNets", CVPR 2015 (ModelNet); Qi et al., CVPR 2017 (sampling, sphere).
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_graydet.errors import DatasetError, FormatError
from napari_graydet.io.files import read_bytes, reason_of

Float32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

MAX_OFF_BYTES = 256 << 20
MAX_NPZ_BYTES = 4 << 30
MAX_VERTICES = 5_000_000
MAX_CORNERS = 64
"""Corners of a face; ModelNet has triangles."""

MAX_SHAPES = 200_000


@dataclass(frozen=True, eq=False)
class Clouds:
    """Point clouds with their classes.

    Parameters
    ----------
    points
        (N, P, 3) float32 in the unit sphere around the origin.
    labels
        (N,) class ids.
    classes
        Class names by id.
    """

    points: Float32
    labels: Ints
    classes: tuple[str, ...]


def read_modelnet(path: Path, part: str, rng: np.random.Generator, points: int = 1024) -> Clouds:
    """Read one side of ModelNet.

    Parameters
    ----------
    path
        A folder ``<class>/train|test/*.off`` as distributed, or an ``.npz`` with ``x_train``,
        ``y_train``, ``x_test``, ``y_test`` and perhaps ``classes``.
    part
        "train" or "test".
    rng
        For the sampling of surfaces.
    points
        Points of a cloud.

    Raises
    ------
    DatasetError
        If there is neither, or nothing of that part.
    FormatError
        If a file is damaged.
    """
    if path.is_dir():
        return _read_folder(path, part, rng, points)
    if path.suffix == ".npz":
        return _read_npz(path, part, rng, points)
    raise DatasetError(
        f"Expected a folder of OFF files (class/train/*.off) or an .npz of clouds, got {path}."
    )


def _read_folder(path: Path, part: str, rng: np.random.Generator, points: int) -> Clouds:
    files = sorted(path.glob(f"*/{part}/*.off"))
    if not files:
        raise DatasetError(
            f"Expected OFF files in {path}/<class>/{part}, found none; give the folder of ModelNet "
            "that holds a folder for each class."
        )
    if len(files) > MAX_SHAPES:
        raise DatasetError(f"{path} has {len(files)} shapes, more than {MAX_SHAPES}.")
    classes = tuple(sorted({file.parent.parent.name for file in files}))
    clouds = [in_unit_sphere(sample_surface(*read_off(file), points, rng)) for file in files]
    labels = [classes.index(file.parent.parent.name) for file in files]
    return Clouds(np.stack(clouds), np.array(labels, dtype=np.int64), classes)


def _read_npz(path: Path, part: str, rng: np.random.Generator, points: int) -> Clouds:
    try:
        if path.stat().st_size > MAX_NPZ_BYTES:
            raise FormatError(f"{path.name} has more than {MAX_NPZ_BYTES >> 30} GiB.")
        with np.load(path, allow_pickle=False) as held:
            x, y = held[f"x_{part}"], held[f"y_{part}"]
            given = held["classes"] if "classes" in held.files else np.empty(0)
            names = tuple(str(name) for name in given.reshape(-1))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise FormatError(
            f"{path.name} is no .npz with x_{part} and y_{part} ({reason_of(error)}); give clouds "
            "of shape (N, P, 3) and their class ids."
        ) from error
    labels = np.asarray(y).reshape(-1)
    if not (np.issubdtype(x.dtype, np.floating) or np.issubdtype(x.dtype, np.integer)):
        raise FormatError(f"{path.name}: expected real numbers in x_{part}, got {x.dtype}.")
    if x.ndim != 3 or x.shape[2] != 3 or x.shape[1] < 1 or len(labels) != len(x) or not len(x):
        raise FormatError(
            f"{path.name}: expected clouds (N, P, 3) and N class ids, got {x.shape} and {y.shape}."
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise FormatError(f"{path.name}: class ids are whole numbers from 0.")
    count = int(labels.max()) + 1
    classes = names or tuple(f"class {i}" for i in range(count))
    if count > len(classes):
        raise FormatError(f"{path.name} has class id {count - 1}, but {len(classes)} class names.")
    chosen = rng.permuted(np.tile(np.arange(x.shape[1]), (len(x), 1)), axis=1)[:, :points]
    clouds = np.take_along_axis(x, chosen[..., None], axis=1).astype(np.float32)
    if not np.isfinite(clouds).all():
        raise FormatError(f"{path.name} holds points that are not finite.")
    return Clouds(clouds, labels.astype(np.int64), classes)


def read_off(path: Path) -> tuple[Float32, Ints]:
    """Read a mesh.

    Returns
    -------
    vertices
        (V, 3) float32.
    triangles
        (F, 3) vertex indices; faces with more corners are cut into triangles.

    Raises
    ------
    FormatError
        If it is not an OFF file, or damaged, or too large.
    """
    data = read_bytes(path, max_bytes=MAX_OFF_BYTES, error=FormatError, limit_error=FormatError)
    lines = (line.split(b"#")[0].split() for line in data.splitlines())
    rows = [row for row in lines if row]
    if not rows or not rows[0][0].startswith(b"OFF"):
        raise FormatError(f"{path.name} does not begin with OFF; it is no OFF file.")
    glued = [rows[0][0][3:], *rows[0][1:]] if rows[0][0] != b"OFF" else rows[0][1:]
    counts, rest = (glued, rows[1:]) if glued else (rows[1] if len(rows) > 1 else [], rows[2:])
    try:
        n_vertices, n_faces = int(counts[0]), int(counts[1])
        if not (3 <= n_vertices <= MAX_VERTICES and 1 <= n_faces <= MAX_VERTICES):
            raise ValueError(f"{n_vertices} vertices and {n_faces} faces")
        if len(rest) < n_vertices + n_faces:
            raise ValueError(f"{len(rest)} lines for {n_vertices} vertices and {n_faces} faces")
        vertices = np.array([row[:3] for row in rest[:n_vertices]], dtype=np.float64)
        faces = [_triangles(row) for row in rest[n_vertices : n_vertices + n_faces]]
        triangles = np.array([t for face in faces for t in face], dtype=np.int64)
    except (IndexError, ValueError, OverflowError) as error:
        raise FormatError(
            f"{path.name} is a damaged OFF file ({reason_of(error)}); copy it again."
        ) from error
    if vertices.shape != (n_vertices, 3) or not np.isfinite(vertices).all():
        raise FormatError(f"{path.name} holds vertices that are not three finite numbers.")
    if triangles.min() < 0 or triangles.max() >= n_vertices:
        raise FormatError(f"{path.name} has a face with a vertex that is not there.")
    return vertices.astype(np.float32), triangles


def _triangles(row: Sequence[bytes]) -> list[tuple[int, int, int]]:
    """Cut a face, "n i1 ... in" and perhaps colours, into a fan of triangles."""
    corners = int(row[0])
    if not 3 <= corners <= MAX_CORNERS:
        raise ValueError(f"a face of {corners} corners")
    index = [int(value) for value in row[1 : corners + 1]]
    if len(index) < corners:
        raise ValueError("a face with too few corners")
    return [(index[0], index[i], index[i + 1]) for i in range(1, corners - 1)]


def sample_surface(
    vertices: Float32, triangles: Ints, count: int, rng: np.random.Generator
) -> Float32:
    """Draw (count, 3) points evenly from the surface of a mesh; flat ones give corners."""
    a, b, c = (vertices[triangles[:, i]].astype(np.float64) for i in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    total = areas.sum()
    odds = areas / total if np.isfinite(total) and total > 0 else None
    face = rng.choice(len(triangles), count, p=odds)
    u, v = rng.random((2, count, 1))
    folded = u + v > 1  # the other half of the parallelogram, mirrored back
    u, v = np.where(folded, 1 - u, u), np.where(folded, 1 - v, v)
    points = a[face] + u * (b - a)[face] + v * (c - a)[face]
    return np.asarray(points, dtype=np.float32)


def in_unit_sphere(points: Float32) -> Float32:
    """Move a cloud's centre to the origin and its farthest point to distance 1."""
    centred = points - points.mean(axis=0)
    farthest = float(np.linalg.norm(centred, axis=1).max())
    return np.asarray(centred / farthest if farthest > 0 else centred, dtype=np.float32)
