#!/usr/bin/env bash
# build.sh IMAGE...: builds images without a Docker engine, into archives that `cluster load` and `docker load` take:
# ${XDG_CACHE_HOME:-~/.cache}/pipelinectl/images/IMAGE.tar. An image whose inputs did not change is not built again.
# IMAGE is one of openmetadata-stand-in, exithandler, ingestion-light. The programs in bin/ are built before (make build).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pipelinectl/images
mkdir -p "$cache"

"$here/install.sh"

# changed ARCHIVE INPUT...: true where the archive is missing or was made of other inputs.
changed() {
  local archive=$1 sum
  shift
  # Of the contents alone: two clones share the cache.
  sum=$(cat "$@" "$here/build.sh" | sha256sum)
  [[ ! -f $archive || ! -f $archive.inputs || $(<"$archive.inputs") != "$sum" ]] || return 1
  rm -f "$archive" "$archive.inputs"
  inputs=$sum
}

# built ARCHIVE: remembers what the archive was made of.
built() { echo "$inputs" >"$1.inputs"; }

# build CONTEXT ARGUMENT...: a build that needs no container runtime.
build() {
  local context=$1
  shift
  buildah build --isolation chroot --quiet "$@" "$context" >/dev/null
}

push() { buildah push --quiet "pipelinectl.local/$1:dev" "docker-archive:$cache/$1.tar:pipelinectl.local/$1:dev"; }

# python_base: the image pipelinectl.local/python:dev, from the packages that apt is set up for on this machine.
python_base() {
  local rootfs=$cache/python/rootfs.tar sources=()
  # The archive may be there and the image not: buildah has its own store.
  buildah inspect --type image pipelinectl.local/python:dev >/dev/null 2>&1 || rm -f "$rootfs"
  changed "$rootfs" "$here/python/Dockerfile" || return 0
  mkdir -p "$cache/python"
  echo "building the Python base image (about half a minute)"
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/ubuntu.sources; do
    [[ -s $file ]] && sources+=("$file")
  done
  # shellcheck disable=SC1091
  mmdebstrap --quiet --variant=essential --include=python3,python3-yaml,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --customize-hook='ln -s python3 "$1/usr/bin/python"' \
    "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$rootfs" "${sources[@]}"
  build "$cache/python" --file "$here/python/Dockerfile" --tag pipelinectl.local/python:dev
  built "$rootfs"
}

for image in "$@"; do
  archive=$cache/$image.tar
  begin=$SECONDS
  case $image in
  openmetadata-stand-in)
    changed "$archive" "$root/bin/openmetadata-stand-in" "$root/test/openmetadata/Dockerfile" || continue
    build "$root" --file "$root/test/openmetadata/Dockerfile" --tag "pipelinectl.local/$image:dev"
    ;;
  exithandler)
    changed "$archive" "$root/bin/exithandler" "$root/Dockerfile.exithandler" || continue
    build "$root" --file "$root/Dockerfile.exithandler" --target exithandler --tag "pipelinectl.local/$image:dev"
    ;;
  ingestion-light)
    changed "$archive" "$root/bin/exithandler" "$root/Dockerfile.exithandler" "$here"/ingestion-light/* "$here"/simulation/*.py || continue
    python_inputs=$inputs
    python_base
    inputs=$python_inputs
    build "$here" --file "$here/ingestion-light/Dockerfile" --tag pipelinectl.local/ingestion-light-plain:dev
    build "$root" --file "$root/Dockerfile.exithandler" --target ingestion \
      --build-arg INGESTION_IMAGE=pipelinectl.local/ingestion-light-plain:dev --tag "pipelinectl.local/$image:dev"
    ;;
  *)
    echo "build.sh: unknown image $image" >&2
    exit 2
    ;;
  esac
  push "$image"
  built "$archive"
  echo "built image $image in $((SECONDS - begin)) s"
done
