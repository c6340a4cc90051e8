#!/usr/bin/env bash
# install.sh PROGRAM=PACKAGE...: installs Debian's (or Ubuntu's) packages of the programs that are missing, and is silent where
# none is. PROGRAM is a name, or the absolute path of a file.
set -euo pipefail
# Not all of these are on a user's PATH; the last ones have CNI's plugins.
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/cni:/opt/cni/bin:/usr/libexec/cni
declare -A wanted=()
for pair in "$@"; do
  program=${pair%%=*}
  [[ $program == /* && -e $program ]] || type -P "$program" >/dev/null || wanted[${pair#*=}]=
done
packages=("${!wanted[@]}")
if ((${#packages[@]} == 0)); then exit 0; fi
if ! command -v apt-get >/dev/null; then
  echo "install.sh: missing: ${packages[*]} (Debian's names); install them with this system's package manager" >&2
  exit 1
fi
if ((EUID != 0)); then
  echo "install.sh: missing: ${packages[*]}; run as root: apt-get install -y --no-install-recommends ${packages[*]}" >&2
  exit 1
fi
echo "installing Debian's packages ${packages[*]} (about a minute)"
export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -qq -y --no-install-recommends "${packages[@]}")
# The list of packages may be missing, as in an image of a container, or be old.
"${install[@]}" >/dev/null 2>&1 || { apt-get update -qq && "${install[@]}" >/dev/null; }
