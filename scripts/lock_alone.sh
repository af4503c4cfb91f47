#!/bin/sh
# Pin packages that are installed without what they ask for, with the hash of each: lock_alone.sh IN OUT
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
{
    echo "#"
    echo "# This file is written by scripts/lock_alone.sh, by the following command:"
    echo "#"
    echo "#    make lock"
    echo "#"
    grep -v '^#' "$1" | while read -r requirement; do
        "$BIN/pip" download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$folder" "$requirement"
        echo "$requirement \\"
        "$BIN/pip" hash --algorithm sha256 "$folder"/*.whl | sed -n 's/^--hash/    --hash/p'
        rm "$folder"/*.whl
    done
} > "$folder/out"
mv "$folder/out" "$2"
