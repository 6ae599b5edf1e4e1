"""`import napari_graydet` is quick and loads nothing heavy (R29)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import napari_graydet as gd

HEAVY = ("torch", "torchvision", "ultralytics", "cv2", "qtpy", "PyQt5", "PyQt6", "napari", "vispy")


def in_child(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded_by(code: str) -> set[str]:
    found = in_child(f"import sys\n{code}\nprint(' '.join(sys.modules))")
    return {name.partition(".")[0] for name in found.split()}


@pytest.mark.parametrize("code", ["import napari_graydet", "import napari_graydet.cli"])
def test_import_loads_nothing_heavy(code: str) -> None:
    assert not loaded_by(code) & {*HEAVY, "numpy", "scipy", "pydantic"}


def test_library_code_is_free_of_qt_and_loads_torch_late() -> None:
    modules = [
        f"napari_graydet.{name}"
        for name in (
            "core.ceiling",
            "project.store",
            "io.images",
            "workflows.predict",
            "workflows.segment",
            "workflows.export",
            "workflows.render",
            "workflows.measure",
            "workflows.models_in_use",
            "workflows.predict_project",
            "workflows.evaluation.evaluate",
            "models.loading",
        )
    ]
    assert not loaded_by(f"import {', '.join(modules)}") & set(HEAVY)


def test_public_names_load_neither_torch_nor_qt() -> None:
    loaded = loaded_by("import napari_graydet as g\nfor n in g.__all__: getattr(g, n)")
    assert "numpy" in loaded and not loaded & set(HEAVY)


def test_predicting_loads_no_training() -> None:
    loaded = in_child(
        "import sys, napari_graydet.workflows.predict_project, napari_graydet.workflows."
        "models_in_use\nprint([m for m in sys.modules if 'workflows.training' in m])"
    )
    assert loaded == "[]"


def test_import_takes_less_than_a_fifth_of_a_second() -> None:
    code = (
        "import time; t = time.perf_counter(); import napari_graydet; "
        "print(time.perf_counter() - t)"
    )
    best = min(float(in_child(code)) for _ in range(3))
    print(f"import napari_graydet: {best * 1000:.1f} ms")
    assert best < 0.2


def test_threads_of_the_networks_do_not_spin_unless_the_user_wants_it() -> None:
    code = "import os; {}import napari_graydet.models; print(os.environ['OMP_WAIT_POLICY'])"
    assert in_child(code.format("os.environ.pop('OMP_WAIT_POLICY', 0); ")) == "PASSIVE"
    assert in_child(code.format("os.environ['OMP_WAIT_POLICY'] = 'ACTIVE'; ")) == "ACTIVE"


def test_every_public_name_is_there() -> None:
    for name in gd.__all__:
        assert getattr(gd, name) is not None
    assert dir(gd) == sorted(gd.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = gd.nonsense


def test_open_project(tmp_path: Path) -> None:
    from napari_graydet.errors import ProjectError
    from tests.workflows.projects import make_project

    make_project(tmp_path / "study").close()
    with gd.open_project(str(tmp_path / "study")) as project:
        assert len(project.entries()) == 6
    with pytest.raises(ProjectError):
        gd.open_project(tmp_path)


def test_a_script_predicts_exports_and_catches_our_errors(tmp_path: Path) -> None:
    from tests.workflows.fakes import fake_predictor
    from tests.workflows.projects import fill, make_project

    folder = str(tmp_path / "study")
    make_project(tmp_path / "study").close()
    with gd.open_project(folder) as project:
        fill(project)
        report = gd.predict_project(project, fake_predictor())
        assert len(report.predicted) == 1  # the only one without human work
        out = gd.export_project(project, str(tmp_path / "out"), ["masks"]).out
    assert isinstance(gd.predictor_of(folder), gd.Predictor)
    assert gd.read_mask(next(out.glob("masks/*.png")), (40, 60)).any()
    with pytest.raises(gd.GraydetError):
        gd.open_project(out)
