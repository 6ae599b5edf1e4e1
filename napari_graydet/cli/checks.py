"""The checks of ``doctor``: each looks at one thing and says how it is, whatever it finds."""

from __future__ import annotations

import enum
import importlib.metadata
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import napari_graydet
from napari_graydet.errors import GraydetError

_PACKAGES = (
    "napari",
    "torch",
    "torchvision",
    "ultralytics",
    "numpy",
    "scipy",
    "scikit-image",
    "pydantic",
    "pydicom",
    "SQLAlchemy",
    "safetensors",
)
_COMPROMISED = {"8.3.41", "8.3.42", "8.3.45", "8.3.46"}
"""Releases of ultralytics that carried a crypto miner."""
_SECONDS = 60
"""Patience with a child process that opens a Qt window or loads torch."""


class Status(enum.StrEnum):
    """How something is: `WARNING` leaves a part unusable, `FAILED` the program."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """One line of the report; `hint` says what to do about it."""

    name: str
    status: Status
    detail: str
    hint: str = ""


def all_checks() -> Iterator[Check]:
    """Make all checks, one after the other."""
    yield Check("napari-graydet", Status.OK, napari_graydet.__version__)
    yield Check("Python", Status.OK, f"{platform.python_version()} on {platform.platform()}")
    for package in _PACKAGES:
        yield package_check(package)
    yield from window_checks()
    yield device_check()
    yield weights_check("roi")
    yield weights_check("boxes")
    yield write_check("write access here", Path.cwd())
    yield write_check("write access, home folder", Path.home())


def package_check(package: str) -> Check:
    """Tell an installed package's version."""
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        hint = f"pip install {package}"
        return Check(package, Status.FAILED, "not installed", hint)
    if package == "ultralytics" and version in _COMPROMISED:
        hint = "pip install --upgrade ultralytics"
        return Check(package, Status.FAILED, f"{version}, a compromised release", hint)
    return Check(package, Status.OK, version)


_QT_PROBE = """
import json
from qtpy import API_NAME, QT_VERSION
from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
from qtpy.QtWidgets import QApplication
app = QApplication([])
found = {"binding": API_NAME, "qt": QT_VERSION, "platform": app.platformName(), "opengl": None}
context, surface = QOpenGLContext(), QOffscreenSurface()
surface.create()
if context.create() and context.makeCurrent(surface):
    import ctypes, ctypes.util, sys
    gl = {"win32": "opengl32", "darwin": "OpenGL"}.get(sys.platform, "GL")
    library = ctypes.CDLL(ctypes.util.find_library(gl))
    library.glGetString.restype = ctypes.c_char_p
    found["opengl"] = " ".join((library.glGetString(n) or b"").decode() for n in (0x1F02, 0x1F01))
print(json.dumps(found))
"""
_BINDING_PROBE = """
import json, importlib
from qtpy import API_NAME, QT_VERSION
print(json.dumps({"binding": API_NAME, "qt": QT_VERSION}))
"""
_DEVICE_PROBE = """
import json, torch
name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
mps = torch.backends.mps.is_available()
print(json.dumps({"device": "cuda" if name else "mps" if mps else "cpu", "name": name,
                  "threads": torch.get_num_threads()}))
"""


def window_checks() -> Iterator[Check]:
    """Tell Qt's binding, the display and OpenGL, found out in a child: Qt aborts its process."""
    binding = probe(_BINDING_PROBE)
    if isinstance(binding, str):
        hint = "pip install 'napari-graydet[pyqt6]'"
        yield Check("Qt binding", Status.WARNING, f"none that works: {binding}", hint)
        return
    yield Check("Qt binding", Status.OK, f"{binding['binding']}, Qt {binding['qt']}")
    found = probe(_QT_PROBE)
    if isinstance(found, str):
        hint = "the command line works without; for the window use a desktop, or xvfb-run"
        yield Check("display", Status.WARNING, f"no window can be opened: {found}", hint)
        return
    yield Check("display", Status.OK, str(found["platform"]))
    if found["opengl"]:
        yield Check("OpenGL", Status.OK, str(found["opengl"]))
    else:
        hint = "install a graphics driver, or libgl1-mesa-dri for software rendering"
        yield Check("OpenGL", Status.WARNING, "no context could be made", hint)


def device_check() -> Check:
    """Tell where the networks run."""
    found = probe(_DEVICE_PROBE)
    if isinstance(found, str):
        hint = "pip install --force-reinstall torch torchvision"
        return Check("device", Status.FAILED, f"torch cannot be loaded: {found}", hint)
    if found["device"] == "cpu":
        return Check("device", Status.OK, f"cpu, {found['threads']} threads")
    return Check("device", Status.OK, f"{found['device']} {found['name']}".strip())


def weights_check(kind: Literal["roi", "boxes"]) -> Check:
    """Tell whether shipped weights are there and undamaged (SHA-256 of their card)."""
    name = {"roi": "ROI weights", "boxes": "3D box weights"}[kind]
    hint = "pip install --force-reinstall --no-deps napari-graydet"
    try:
        from napari_graydet.io.weights import load_weights
        from napari_graydet.models.loading import shipped

        path = shipped(kind)
        _, card = load_weights(path)
    except (GraydetError, OSError) as error:
        return Check(name, Status.FAILED, " ".join(str(error).split()), hint)
    except ImportError as error:
        return Check(name, Status.FAILED, f"cannot be looked at: {error}", "see the packages above")
    size = path.stat().st_size / 2**20
    classes = ", ".join(card.classes)
    return Check(name, Status.OK, f"{card.architecture}, {classes}, {size:.1f} MiB, SHA-256 right")


def write_check(name: str, folder: Path) -> Check:
    """Tell whether files can be made in a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        hint = "projects and results need a folder that can be written"
        return Check(name, Status.WARNING, f"{folder}: {error.strerror}", hint)
    return Check(name, Status.OK, str(folder))


def probe(
    code: str, run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run
) -> dict[str, object] | str:
    """Run a few lines of Python in a child that prints JSON; return that, or why it failed."""
    command = [sys.executable, "-c", code]
    try:
        done = run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {_SECONDS} s"
    except OSError as error:
        return str(error)
    if done.returncode == 0 and done.stdout.strip():
        found: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
        return found
    return _reason(done.stderr.splitlines()) or f"the process ended with {done.returncode}"


def _reason(lines: list[str]) -> str:
    """Return the telling line of a child's complaints: Qt's "could not ...", else the last one."""
    said = [line.strip() for line in lines if line.strip()]
    return next((line for line in said if "could not" in line.casefold()), (said or [""])[-1])
