#!/usr/bin/env bash
# Makes the environment of a container: what requirements.lock names, and this checkout's package.
#   install.sh cpu|cuda CHECKOUT ENVIRONMENT
# TORCH_INDEX is the index that PyTorch for CPUs comes from, where that is not PyTorch's own: a mirror's, or a folder's.
set -euo pipefail
variant=$1 checkout=$2 environment=$3
here="$checkout/containers"
lock="$checkout/requirements.lock"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

python3 -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --only-binary :all: \
    --require-hashes -r "$here/tools.lock"
uv="$work/tools/bin/uv"
"$uv" venv --quiet --python python3 "$environment"
# What has no wheel is built with locked tools, too. The environment is read-only where it runs: what is not compiled now,
# every process would compile again.
install=("$uv" pip install --python "$environment/bin/python" --no-deps --compile-bytecode
    --build-constraints "$here/tools.lock")

case $variant in
cuda)
    "${install[@]}" --require-hashes -r "$lock"
    ;;
cpu)
    python3 "$here/split_lock.py" "$lock" "$work/locked.txt" "$work/torch.txt"
    if [[ -n ${TORCH_INDEX:-} ]]; then
        "${install[@]}" --default-index "$TORCH_INDEX" -r "$work/torch.txt"
    else
        "${install[@]}" --torch-backend cpu -r "$work/torch.txt"
    fi
    "${install[@]}" --require-hashes -r "$work/locked.txt"
    ;;
*)
    echo "install.sh: the variant is cpu or cuda, not '$variant'" >&2
    exit 2
    ;;
esac
"${install[@]}" "$checkout"
