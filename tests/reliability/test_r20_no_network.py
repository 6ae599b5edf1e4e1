"""R20: neither detection nor training nor scoring asks for a connection or a name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from napari_graydet.models.loading import shipped
from tests.workflows.trainings import make_folders

ROOT = Path(__file__).parents[2]

CODE = """
import socket, sys
attempts = []

def note(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        if event == "socket.connect" and args[0].family == getattr(socket, "AF_UNIX", None):
            return  # stays on this machine
        attempts.append((event, args[1:]))
        raise OSError("closed for the test")

sys.addaudithook(note)
if "--try" in sys.argv:
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    except OSError:
        pass
elif "--train" in sys.argv:
    from typer.testing import CliRunner
    from napari_graydet.cli import app
    images, masks, out = sys.argv[2:5]
    data = ["--images", images, "--masks", masks, "--label", "bone"]
    for words in (
        ["init", f"{out}/study", "--images", images],
        ["predict", f"{out}/study"],
        ["train", "boxes", *data, "-o", f"{out}/models", "--epochs", "1"],
        ["evaluate", *data, "--true-rois"],
    ):
        outcome = CliRunner().invoke(app, words)
        assert outcome.exit_code == 0, (words, outcome.output)
else:
    import napari_graydet as gd
    result = gd.segment(sys.argv[1])
    assert result.rois and result.mask.any()
print(len(attempts), attempts[:3])
"""


def attempts(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=250,
    )
    return done.stdout.splitlines()[-1]


def test_the_trap_catches_a_connection() -> None:
    assert not attempts("--try").startswith("0 ")


@pytest.mark.skipif(not shipped("roi").exists(), reason="no shipped weights in this checkout")
def test_detection_makes_no_connection() -> None:
    found = attempts("sample_data/images/chest_01.png")
    print(f"R20: {found} connection attempts")
    assert found == "0 []"


@pytest.mark.skipif(not shipped("roi").exists(), reason="no shipped weights in this checkout")
def test_training_and_scoring_make_no_connection(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path / "data")
    found = attempts("--train", str(images), str(masks), str(tmp_path))
    print(f"R20: {found} connection attempts of init, predict, train and evaluate")
    assert found == "0 []"
