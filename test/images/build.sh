#!/usr/bin/env bash
# build.sh IMAGE...: builds images without a Docker engine, into archives that `cluster load` and `docker load` take:
# ${XDG_CACHE_HOME:-~/.cache}/pipelinectl/images/IMAGE.tar. An image whose inputs did not change is not built again.
# IMAGE is one of openmetadata-stand-in, exithandler, pipelinectl, ingestion-light, ingestion. The programs in bin/ are built before (make build).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pipelinectl/images
mkdir -p "$cache"
# shellcheck source-path=SCRIPTDIR source=../progress.sh
. "$here/../progress.sh"
"$here/../install.sh" buildah=buildah mmdebstrap=mmdebstrap
# The archives and buildah's store are shared by all clones: one build at a time.
exec {lock}>"$cache/lock"
flock "$lock"

# libstdc++6: compiled packages from an index need it.
python=python3,python3-yaml,ca-certificates,libstdc++6
python_build=python3,python3-pip,ca-certificates
# What the base images are made of, beside the packages: the release decides which Python there is.
base=("$here"/python/* /etc/os-release)
handler=("$root/bin/exithandler" "$root/cmd/exithandler/exit_handler.py" "$root/Dockerfile.exithandler")

# make_once ARCHIVE COMMAND INPUT...: makes the archive by the command, where it is missing or was made of other inputs.
make_once() {
  local archive=$1 command=$2 key
  shift 2
  # Of the contents alone: two clones share the cache.
  key=$(cat "$here/build.sh" "$@" | sha256sum) || return
  if [[ -f $archive && -f $archive.inputs && $(<"$archive.inputs") == "$key" ]]; then return 0; fi
  rm -f "$archive" "$archive.inputs" || return
  # shellcheck disable=SC2086 # A name and its arguments, which have no spaces.
  $command || return
  echo "$key" >"$archive.inputs"
}

# build CONTEXT TAG ARGUMENT...: a build that needs no container runtime. The image that had the tag before goes.
build() {
  local context=$1 tag=pipelinectl.local/$2:dev before
  shift 2
  before=$(image_id "$tag")
  buildah build --isolation chroot --quiet --tag "$tag" "$@" "$context" >/dev/null || return
  if [[ -n $before && $before != "$(image_id "$tag")" ]]; then
    # Another image may still be based on it.
    buildah rmi "$before" >/dev/null 2>&1 || true
  fi
}

image_id() { buildah inspect --type image --format '{{.FromImageID}}' "$1" 2>/dev/null || true; }

# build_and_push CONTEXT IMAGE ARGUMENT...: a build, and its archive.
build_and_push() {
  build "$@" || return
  buildah push --quiet "pipelinectl.local/$2:dev" "docker-archive:$cache/$2.tar:pipelinectl.local/$2:dev" >/dev/null || return
  echo "built image $2"
}

# with_handler IMAGE: the image pipelinectl.local/IMAGE-plain:dev with exithandler.
with_handler() {
  build_and_push "$root" "$1" --file "$root/Dockerfile.exithandler" --target ingestion \
    --build-arg "INGESTION_IMAGE=pipelinectl.local/$1-plain:dev"
}

# base_image NAME PACKAGES: the image pipelinectl.local/NAME:dev, Debian's packages of this machine's own release.
base_image() {
  local rootfs=$cache/$1/rootfs.tar
  # The archive may be there and the image not: buildah has its own store.
  buildah inspect --type image "pipelinectl.local/$1:dev" >/dev/null 2>&1 || rm -f "$rootfs" || return
  mkdir -p "$cache/$1" || return
  make_once "$rootfs" "base_build $1 $2" "${base[@]}"
}

base_build() {
  with_progress "building the base image $1 (about half a minute)" "$here/python/rootfs.sh" "$cache/$1/rootfs.tar" "$2" || return
  build "$cache/$1" "$1" --file "$here/python/Dockerfile"
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

# packages: the image pipelinectl.local/ingestion-plain:dev, the ingestion package and its entry point. It is a subshell, so that
# its trap is its own: the settings may have a password.
packages() (
  certificates=()
  settings=$(mktemp) || exit
  trap 'rm -f "$settings"' EXIT
  pip_settings >"$settings" || exit
  # A machine behind a proxy of its own may trust more than Debian does.
  if [[ -f /etc/ssl/certs/ca-certificates.crt ]]; then
    certificates=(--volume /etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro)
  fi
  with_progress "installing the package openmetadata-ingestion (0.5 GB, about two minutes)" \
    build "$here" ingestion-plain --layers --file "$here/ingestion/Dockerfile" --secret "id=pip,src=$settings" "${certificates[@]}"
)

stand_in() { build_and_push "$root" openmetadata-stand-in --file "$root/test/openmetadata/Dockerfile"; }

exithandler() { build_and_push "$root" exithandler --file "$root/Dockerfile.exithandler" --target exithandler; }

pipelinectl() { build_and_push "$root" pipelinectl --file "$root/Dockerfile.exithandler" --target pipelinectl; }

ingestion_light() {
  base_image python "$python" || return
  build "$here" ingestion-light-plain --file "$here/ingestion-light/Dockerfile" || return
  with_handler ingestion-light
}

ingestion() {
  base_image python "$python" || return
  base_image python-build "$python_build" || return
  packages || return
  with_handler ingestion
}

for image in "$@"; do
  case $image in
  openmetadata-stand-in) make=stand_in inputs=("$root/bin/openmetadata-stand-in" "$root/test/openmetadata/Dockerfile") ;;
  exithandler) make=exithandler inputs=("${handler[@]}") ;;
  pipelinectl) make=pipelinectl inputs=("$root/bin/pipelinectl" "$root/Dockerfile.exithandler") ;;
  ingestion-light) make=ingestion_light inputs=("${base[@]}" "${handler[@]}" "$here"/ingestion-light/* "$here"/simulation/*.py) ;;
  ingestion) make=ingestion inputs=("${base[@]}" "${handler[@]}" "$here"/ingestion/{Dockerfile,*.txt,*.py,*/*.py} "$here"/simulation/*.py) ;;
  *)
    echo "build.sh: unknown image $image; it is one of openmetadata-stand-in, exithandler, pipelinectl, ingestion-light, ingestion" >&2
    exit 2
    ;;
  esac
  make_once "$cache/$image.tar" "$make" "${inputs[@]}"
done
