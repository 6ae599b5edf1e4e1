#!/usr/bin/env bash
# Sees to the system libraries that a window needs on Debian and Ubuntu: OpenGL, Qt's xcb plugin, and
# Xvfb for machines without a display. Installs them through apt where it may, else prints the command.
set -euo pipefail

packages=(python3-venv xvfb xauth libgl1 libegl1 libgl1-mesa-dri libxkbcommon-x11-0 libdbus-1-3
    libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 libxcb-xinerama0 libxcb-shape0
    libxcb-cursor0 libglib2.0-0 libfontconfig1 fonts-dejavu-core)

command -v dpkg-query >/dev/null 2>&1 || exit 0 # macOS, Windows and other Linux bring their own

missing=()
for package in "${packages[@]}"; do
    # newer releases have some libraries under a second name, for their 64-bit times
    status=$(dpkg-query -W -f='${Status}\n' "$package" "${package}t64" 2>/dev/null || true)
    [[ "$status" == *"install ok installed"* ]] || missing+=("$package")
done
# a Python that is not Debian's brings its own venv
if python3 -c "import ensurepip" 2>/dev/null; then
    missing=("${missing[@]/#python3-venv/}")
    missing=(${missing[@]+${missing[@]}})
fi
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    else
        echo "Some system libraries are missing. Please run this once, then try again:" >&2
        echo "    sudo apt-get update && sudo apt-get install -y ${missing[*]}" >&2
        exit 1
    fi
fi
echo "Installing system libraries: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends \
    "${missing[@]}" >/dev/null
