#!/usr/bin/env bash
# generate.sh: writes which fields OpenMetadata's schemas mark as passwords, from the ingestion package of several versions: fields that a
# newer version has dropped are still sent to servers of an older one. Run by `make generate`; the package comes from the index that this
# machine's pip is set up for, without its dependencies (0.3 GB).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
workflow=$here/../../pkg/workflow
# The first and the last of each minor version from 1.9 on, and what the image has. Add the newest, remove none.
versions=(1.9.0.0 1.9.17.6 1.10.0.0 1.10.14.7 1.11.0.0 1.11.14.0 1.12.0.0 1.12.14.2 1.13.0.0 1.13.6.3 2.0.0.0 2.0.7.0
  "$(sed -n 's/^openmetadata-ingestion==//p' "$here/ingestion/requirements.txt")")
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
for version in "${versions[@]}"; do
  echo "reading openmetadata-ingestion $version"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$wheels" "openmetadata-ingestion==$version"
done
python3 "$here/passwords.py" "$wheels"/*.whl >"$workflow/testdata/passwords.json"
python3 -c '
import json, sys
for name, parents in json.load(sys.stdin)["names"].items():
    print(name, *parents)
' <"$workflow/testdata/passwords.json" >"$workflow/passwords.txt"
