#!/usr/bin/env bash
# install.sh: installs what the images are built with from Debian's (or Ubuntu's) packages, and nothing that is there already.
set -euo pipefail
wanted=()
for program in buildah mmdebstrap; do
  command -v "$program" >/dev/null || wanted+=("$program")
done
if ((${#wanted[@]} == 0)); then
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "install.sh: install with this system's package manager: ${wanted[*]}" >&2
  exit 1
fi
if ((EUID != 0)); then
  echo "install.sh: run as root: apt-get install -y --no-install-recommends ${wanted[*]}" >&2
  exit 1
fi
echo "installing: ${wanted[*]}"
# The list of packages may be missing, as in an image of a container.
apt-get install -qq -y --no-install-recommends "${wanted[@]}" >/dev/null ||
  { apt-get update -qq && apt-get install -qq -y --no-install-recommends "${wanted[@]}" >/dev/null; }
