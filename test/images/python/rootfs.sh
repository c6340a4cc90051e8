#!/usr/bin/env bash
# rootfs.sh ARCHIVE PACKAGES: a small root file system with Python, from the packages that apt is set up for on this machine.
set -euo pipefail
archive=$1 packages=$2
sources=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/ubuntu.sources; do
  [[ -s $file ]] && sources+=("$file")
done
# shellcheck disable=SC1091,SC2016
mmdebstrap --quiet --variant=essential --include="$packages" \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --customize-hook='ln -s python3 "$1/usr/bin/python"' \
  "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$archive" "${sources[@]}"
