#!/usr/bin/env bash
# Makes an environment in which this checkout's `repro verify` runs: $ENVIRONMENT, by the interpreter $PYTHON.
# The package is used where it lies, so that nothing of it is built; what it needs is locked, and has no torch.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
"$PYTHON" -m venv "$ENVIRONMENT"
install=("$ENVIRONMENT/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps)
"${install[@]}" --only-binary :all: -r "$here/requirements.lock"
"${install[@]}" --no-build-isolation -r "$here/requirements-built.lock"
packages=$("$ENVIRONMENT/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
(cd "$here/../../.." && pwd -P) > "$packages/gcnet-repro.pth"
