"""Mutated and truncated files of every kind: an image, or one of our errors, soon; never a crash.

Runs in a child process, since a crash of a C library would take the tests with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

KINDS = {
    "PNG": ["png8", "png16", "png-palette"],
    "JPEG": ["jpeg", "jpeg-progressive"],
    "TIFF": ["tiff", "tiff-tiles-zlib", "tiff-jpeg", "tiff-big"],
    "DICOM": ["dicom", "dicom-implicit", "dicom-rle"],
    "DICOM packed or bare": ["dicom-deflated", "dicom-bare"],
    "DICOM compressed": ["dicom-jpeg-lossless", "dicom-jpeg-ls", "dicom-jpeg-2000"],
}
PER_KIND = 300


@pytest.mark.parametrize("family", KINDS)
def test_only_our_errors(family: str) -> None:
    options = [str(PER_KIND), *KINDS[family]]
    command = [sys.executable, "-W", "error", "-m", "tests.io.mutate", *options]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout)
    assert list(results) == KINDS[family]
    for kind, result in results.items():
        print(f"{kind}: {result}")
        assert result["read"] + result["refused"] == PER_KIND
        assert result["refused"] > 0
        assert result["unmapped"] == []
        assert result["slowest_seconds"] < 5
        assert result["peak_megabytes"] < 1000
