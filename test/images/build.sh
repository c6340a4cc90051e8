#!/usr/bin/env bash
# build.sh IMAGE...: builds images without a Docker engine, into archives that `cluster load` and `docker load` take:
# ${XDG_CACHE_HOME:-~/.cache}/pipelinectl/images/IMAGE.tar. An image whose inputs did not change is not built again.
# IMAGE is one of openmetadata-stand-in, exithandler, ingestion-light, ingestion. The programs in bin/ are built before (make build).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pipelinectl/images
mkdir -p "$cache"
# libstdc++6: compiled packages from an index need it.
python=python3,python3-yaml,ca-certificates,libstdc++6

"$here/install.sh"

# changed ARCHIVE INPUT...: true where the archive is missing or was made of other inputs.
changed() {
  local archive=$1 sum
  shift
  # Of the contents alone: two clones share the cache.
  sum=$(cat "$@" | sha256sum)
  [[ ! -f $archive || ! -f $archive.inputs || $(<"$archive.inputs") != "$sum" ]] || return 1
  rm -f "$archive" "$archive.inputs"
  inputs=$sum
}

# built ARCHIVE: remembers what the archive was made of.
built() { echo "$inputs" >"$1.inputs"; }

# build CONTEXT TAG ARGUMENT...: a build that needs no container runtime. The image that had the tag before goes.
build() {
  local context=$1 tag=pipelinectl.local/$2:dev before
  shift 2
  before=$(image_id "$tag")
  buildah build --isolation chroot --quiet --tag "$tag" "$@" "$context" >/dev/null
  if [[ -n $before && $before != "$(image_id "$tag")" ]]; then
    # Another image may still be based on it.
    buildah rmi "$before" >/dev/null 2>&1 || true
  fi
}

image_id() { buildah inspect --type image --format '{{.FromImageID}}' "$1" 2>/dev/null || true; }

push() { buildah push --quiet "pipelinectl.local/$1:dev" "docker-archive:$cache/$1.tar:pipelinectl.local/$1:dev"; }

# base NAME PACKAGES: the image pipelinectl.local/NAME:dev, Debian's packages of this machine's own release.
base() {
  local name=$1 packages=$2
  local rootfs=$cache/$name/rootfs.tar
  # The archive may be there and the image not: buildah has its own store.
  buildah inspect --type image "pipelinectl.local/$name:dev" >/dev/null 2>&1 || rm -f "$rootfs"
  changed "$rootfs" "$here"/python/* <(echo "$packages") || return 0
  mkdir -p "$cache/$name"
  echo "building the base image $name (about half a minute)"
  "$here/python/rootfs.sh" "$rootfs" "$packages"
  build "$cache/$name" "$name" --file "$here/python/Dockerfile"
  built "$rootfs"
}

# with_progress WHAT COMMAND...: says every 30 seconds that the command is still at work.
with_progress() {
  local what=$1 begin=$SECONDS pid status=0
  shift
  "$@" &
  pid=$!
  while sleep 1 && kill -0 "$pid" 2>/dev/null; do
    if (((SECONDS - begin) % 30 == 0)); then echo "$what: $((SECONDS - begin)) s"; fi
  done
  wait "$pid" || status=$?
  return "$status"
}

# pip_settings: how this machine's pip reaches its index, for a pip in a build.
pip_settings() {
  local key variable value
  echo '[global]'
  for key in index-url extra-index-url trusted-host proxy timeout; do
    variable=PIP_${key^^}
    variable=${variable//-/_}
    value=${!variable:-$(sed -n "s/^ *$key *= *//p" /etc/pip.conf ~/.pip/pip.conf ~/.config/pip/pip.conf 2>/dev/null | tail -1 || true)}
    if [[ -n $value ]]; then echo "$key = $value"; fi
  done
}

# packages: the image pipelinectl.local/ingestion-plain:dev, the ingestion package and its entry point.
packages() {
  local settings certificates=() status=0
  settings=$(mktemp)
  pip_settings >"$settings"
  # A machine behind a proxy of its own may trust more than Debian does.
  if [[ -f /etc/ssl/certs/ca-certificates.crt ]]; then
    certificates=(--volume /etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro)
  fi
  echo "installing the package openmetadata-ingestion (about 0.5 GB, some minutes)"
  with_progress "installing the package" build "$here" ingestion-plain --layers --file "$here/ingestion/Dockerfile" \
    --secret "id=pip,src=$settings" "${certificates[@]}" || status=$?
  rm -f "$settings"
  return "$status"
}

for image in "$@"; do
  archive=$cache/$image.tar
  begin=$SECONDS
  case $image in
  openmetadata-stand-in)
    changed "$archive" "$here/build.sh" "$root/bin/openmetadata-stand-in" "$root/test/openmetadata/Dockerfile" || continue
    build "$root" "$image" --file "$root/test/openmetadata/Dockerfile"
    ;;
  exithandler)
    changed "$archive" "$here/build.sh" "$root/bin/exithandler" "$root/Dockerfile.exithandler" || continue
    build "$root" "$image" --file "$root/Dockerfile.exithandler" --target exithandler
    ;;
  ingestion-light)
    changed "$archive" "$here/build.sh" "$root/bin/exithandler" "$root/Dockerfile.exithandler" "$here"/ingestion-light/* "$here"/simulation/*.py || continue
    own=$inputs
    base python "$python"
    inputs=$own
    build "$here" ingestion-light-plain --file "$here/ingestion-light/Dockerfile"
    build "$root" "$image" --file "$root/Dockerfile.exithandler" --target ingestion \
      --build-arg INGESTION_IMAGE=pipelinectl.local/ingestion-light-plain:dev
    ;;
  ingestion)
    changed "$archive" "$here/build.sh" "$root/bin/exithandler" "$root/Dockerfile.exithandler" "$here"/ingestion/{Dockerfile,*.txt,*.py,*/*.py} "$here"/simulation/*.py || continue
    own=$inputs
    base python "$python"
    base python-build python3,python3-pip,ca-certificates
    inputs=$own
    packages
    build "$root" "$image" --file "$root/Dockerfile.exithandler" --target ingestion \
      --build-arg INGESTION_IMAGE=pipelinectl.local/ingestion-plain:dev
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
