"""What kind of disk a project lies on."""

from __future__ import annotations

from pathlib import Path

MOUNTS = Path("/proc/mounts")

_NETWORK = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "davfs", "fuse.davfs2", "fuse.glusterfs"),
        *("fuse.sshfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb2", "smb3", "smbfs"),
    }
)


def network_share(folder: Path, mounts: Path = MOUNTS) -> str | None:
    """Return the type of the network file system that a folder is on, None if it is local.

    Known on Linux; elsewhere every folder counts as local, except Windows' ``\\\\server`` paths.
    """
    resolved = folder.resolve()
    if resolved.drive.startswith("\\\\"):
        return "smb"
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    best, kind = -1, None
    for fields in (line.split() for line in lines):
        if len(fields) < 3:
            continue
        mount = Path(_unescape(fields[1]))
        if resolved.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), fields[2]
    return kind if kind in _NETWORK else None


def _unescape(text: str) -> str:
    """Undo the octal escapes of /proc/mounts."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
