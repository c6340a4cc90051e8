#!/usr/bin/env bash
# build.sh [DIR]: builds the command cluster into DIR (default: bin here), and the Kubernetes binary that it runs into the
# cache, unless it is there. Needs Go. The first build of Kubernetes takes minutes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:-$here/bin}"
bin=$(cd "${1:-$here/bin}" && pwd)
cd "$here"
# shellcheck source-path=SCRIPTDIR source=../progress.sh
. ../progress.sh
command -v go >/dev/null || { echo "build.sh: missing: go; see https://go.dev/doc/install" >&2; exit 1; }
# One set of flags for all, so that the packages that both programs need are compiled once.
export CGO_ENABLED=0

# build NAME OUTPUT LDFLAGS PACKAGE: OUTPUT appears only when it is complete.
build() (
  new=$2.new.$BASHPID
  trap 'rm -f "$new"' EXIT
  with_progress "building $1" go build -trimpath -ldflags "$3" -o "$new" "$4" || exit
  mv "$new" "$2"
)

build "the command cluster (the first time: a minute)" "$bin/cluster" "-s -w" ./cmd/cluster
# Only the program itself knows which binary it needs.
kubernetes=${PIPELINECTL_CLUSTER_BIN:-$("$bin/cluster" artifact)}
if [[ -x $kubernetes && -x $kubernetes.pause ]]; then
  touch "$kubernetes" "$kubernetes.pause" # In use: see below.
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
build "Kubernetes $version (the first time: 6 to 7 minutes on 2 cores, and 4 GB of build cache)" "$kubernetes" "$flags" ./cmd/allinone
# Those of older sources that no clone on this machine has used for a month.
find "$(dirname "$kubernetes")" -maxdepth 1 -name 'allinone-*' -mtime +30 -delete
