#!/usr/bin/env bash
# integration.sh: runs the tests that need a cluster. Where none can be made it says so, and leaves them out.
set -euo pipefail
cd "$(dirname "$0")/.."
export CLUSTER=${CLUSTER:-local}
make=(make --no-print-directory)
# As the programs are built, so that their packages are not compiled once more.
test=(env CGO_ENABLED=0 go test -trimpath -count=1)
images=(openmetadata-stand-in ingestion-light ingestion exithandler pipelinectl)

case $CLUSTER in
current) ;;
local)
  if [[ $(uname -s) != Linux || $EUID -ne 0 ]]; then
    cat <<'TEXT'
################################################################################
#  THE INTEGRATION TESTS ARE LEFT OUT: a local cluster needs Linux and root.   #
#  CLUSTER=current runs them on the cluster that kubectl uses now.             #
################################################################################
TEXT
    exit 0
  fi
  "${make[@]}" cluster-build
  # A cluster that was up before stays up, healthy or not; that of the cluster's own tests never does.
  status=0
  bin/cluster status >/dev/null 2>&1 || status=$?
  not_running=3
  down() {
    PIPELINECTL_CLUSTER_STATE=test/cluster/bin/test-state bin/cluster down || true # It has said why.
    if ((status == not_running)); then bin/cluster down; fi
  }
  trap down EXIT
  echo "testing the cluster itself (about two minutes)"
  (cd test/cluster && "${test[@]}" -timeout 20m .)
  bin/cluster up
  ;;
*)
  echo "integration.sh: CLUSTER is \"$CLUSTER\": set it to local or current" >&2
  exit 2
  ;;
esac
"${make[@]}" images IMAGES="${images[*]}"
"${make[@]}" bin/demo
echo "loading images into the cluster (about a minute)"
bin/demo load "${images[@]}"
echo "testing on the cluster (about a quarter of an hour)"
PIPELINECTL_E2E=1 "${test[@]}" -p 1 -parallel 16 -timeout 75m ./test/images ./test/e2e
