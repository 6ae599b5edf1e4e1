from __future__ import annotations

from pathlib import Path

import pytest

from napari_graydet.project.filesystem import network_share

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home {0}/home nfs4 rw 0 0
/dev/sdb1 {0}/home/local ext4 rw 0 0
//nas/studies {0}/our\\040studies cifs rw 0 0
garbage
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("home/anna/hands", "nfs4"),
        ("home/local/hands", None),
        ("our studies/hands", "cifs"),
        ("our", None),
        ("homes", None),
    ],
)
def test_the_nearest_mount_decides(tmp_path: Path, folder: str, kind: str | None) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS.format(tmp_path))
    assert network_share(tmp_path / folder, mounts) == kind


def test_a_system_without_a_list_of_mounts_counts_as_local(tmp_path: Path) -> None:
    assert network_share(tmp_path, tmp_path / "absent") is None
