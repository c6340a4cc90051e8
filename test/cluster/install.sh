#!/bin/bash
# install.sh: installs what the local cluster needs from Debian's (or Ubuntu's) packages, and nothing that is there already.
set -euo pipefail
declare -A package=([containerd]=containerd [ctr]=containerd [containerd-shim-runc-v2]=containerd [runc]=runc)
# The same places as the command cluster looks at.
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
wanted=()
for program in "${!package[@]}"; do
  PATH=$path type -P "$program" >/dev/null || wanted+=("${package[$program]}")
done
plugins=
for dir in /usr/lib/cni /opt/cni/bin /usr/libexec/cni; do
  if [[ -x $dir/bridge && -x $dir/host-local && -x $dir/loopback ]]; then plugins=$dir; fi
done
[[ $plugins ]] || wanted+=(containernetworking-plugins)
if ((${#wanted[@]} == 0)); then
  echo "nothing to install"
  exit 0
fi
mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | sort -u)
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
apt-get install -y --no-install-recommends "${wanted[@]}" ||
  { apt-get update && apt-get install -y --no-install-recommends "${wanted[@]}"; }
