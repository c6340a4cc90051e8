#!/usr/bin/env bash
# unit.sh: runs the tests that need no cluster, with the race detector where there is the C compiler that it needs.
set -euo pipefail
cd "$(dirname "$0")/.."

compiles() { echo '#include <stdlib.h>' | $(go env CC) -x c -fsyntax-only - >/dev/null 2>&1; }

if ! compiles && ((EUID == 0)) && command -v apt-get >/dev/null; then
  test/install.sh gcc=gcc /usr/include/stdlib.h=libc6-dev || true
fi
race=()
if compiles; then
  export CGO_ENABLED=1
  race=(-race)
else
  export CGO_ENABLED=0
  cat <<'TEXT'
################################################################################
#  THE RACE DETECTOR IS LEFT OUT: it needs a C compiler and the C library's    #
#  headers; Debian has them in gcc and libc6-dev. The tests run without it.    #
################################################################################
TEXT
fi

echo "checking and testing; the first time the packages are compiled, which takes some minutes"
# With the detector, so that the packages are not compiled once more for the check.
go vet "${race[@]}" ./...
# Go's own ten minutes are too few for a slow machine without anything in its caches: a test builds the programs too.
go test -timeout 60m "${race[@]}" ./...
if [[ $(uname -s) != Linux ]]; then
  echo "THE TESTS OF THE LOCAL CLUSTER ARE LEFT OUT: it is made of Linux namespaces and cgroups, and compiles only there."
  exit 0
fi
cd test/cluster
go vet "${race[@]}" . ./cmd/cluster ./internal/...
go test -timeout 60m "${race[@]}" -short . ./cmd/cluster ./internal/...
