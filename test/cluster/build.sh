#!/bin/bash
# build.sh [DIR]: builds the command cluster into DIR (default: bin here), and the Kubernetes binary that it runs into the
# cache, unless it is there. Needs Go. The first build of Kubernetes takes minutes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:-$here/bin}"
bin=$(cd "${1:-$here/bin}" && pwd)
cd "$here"
command -v go >/dev/null || { echo "build.sh: missing: go; see https://go.dev/doc/install" >&2; exit 1; }
# One set of flags for all, so that the packages that both programs need are compiled once.
export CGO_ENABLED=0

# build NAME OUTPUT LDFLAGS PACKAGE: a line every 20 s while it runs; OUTPUT appears only when it is complete.
build() {
  local name=$1 out=$2 ldflags=$3 package=$4 begin=$SECONDS next=20 tmp
  tmp=$(mktemp "$out.XXXXXX")
  echo "building $name"
  go build -trimpath -ldflags "$ldflags" -o "$tmp" "$package" &
  local go=$!
  trap 'kill "$go" 2>/dev/null || true; rm -f "$tmp"' EXIT
  while kill -0 "$go" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS - begin >= next)); then
      echo "  still building $name, $((SECONDS - begin)) s"
      next=$((next + 20))
    fi
  done
  wait "$go"
  chmod 755 "$tmp"
  mv "$tmp" "$out"
  trap - EXIT
  echo "built $out in $((SECONDS - begin)) s"
}

build cluster "$bin/cluster" "-s -w" ./cmd/cluster
# Only the program itself knows which binary it needs.
kubernetes=${PIPELINECTL_CLUSTER_BIN:-$("$bin/cluster" artifact)}
if [[ -x $kubernetes && -x $kubernetes.pause ]]; then
  echo "already built: $kubernetes"
  exit 0
fi
mkdir -p "$(dirname "$kubernetes")"
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${version#v}"
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  # Without these the API server takes itself for version 0.0.0. The date is fixed, so that a build can be reproduced.
  flags+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor"
  flags+=" -X $package.gitTreeState=clean -X $package.gitCommit=unknown -X $package.buildDate=1970-01-01T00:00:00Z"
done
build "the pause program" "$kubernetes.pause" "-s -w" ./cmd/pause
build "Kubernetes $version (the first time: several minutes, 4 GB of build cache)" "$kubernetes" "$flags" ./cmd/allinone
