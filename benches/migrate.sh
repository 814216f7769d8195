#!/usr/bin/env bash
# A store of overlay2 into containerd's: `layerfs system migrate` against `docker save | docker load`, in turn, on tmpfs, with Docker 28.
# Usage: migrate.sh [RUNS] ARCHIVE     Prints a line a turn: seconds of a migration, and of save and load between two daemons.
# Needs root, Docker 28 (`just engines`) and the programs of a release build.
set -euo pipefail
runs=${1:-3} archive=$(realpath "$2")
# shellcheck source=benches/lib.sh
. "$(dirname "$0")/lib.sh"
engine=${LAYERFS_ENGINES:-$here/target/engines}/sid/usr
export PATH=$engine/sbin:$engine/bin:$PATH
room 90

"$bin/layerfs" --root "$t/old" image load -q -i "$archive"
migrate="$bin/layerfs --root $t/old system migrate -q"
for _ in $(seq "$runs"); do
    seconds "$migrate --to containerd --no-sync"
    $migrate --undo
    seconds "$migrate --to containerd --no-sync --copy"
    $migrate --undo
    start_dockerd old "$t/old"
    start_dockerd new "$t/new" --feature=containerd-snapshotter=true
    images=$($(docker_of old) images --format '{{.Repository}}:{{.Tag}}' | tr '\n' ' ')
    seconds "$(docker_of old) save $images | $(docker_of new) load"
    stop old new
    rm -rf --one-file-system "$t/new"
    echo
done
