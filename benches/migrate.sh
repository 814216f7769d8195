#!/usr/bin/env bash
# A store of overlay2 into containerd's: `layerfs system migrate` against `docker save | docker load`, in turn, on tmpfs, with Docker 28.
# Usage: migrate.sh [RUNS] ARCHIVE     Prints a line a turn: seconds of a migration, and of save and load between two daemons.
# Needs root, Docker 28 (`just engines`) and the programs of a release build.
set -euo pipefail
runs=${1:-3} archive=$(realpath "$2")
here=$(cd "$(dirname "$0")/.." && pwd)
bin=${LAYERFS_BIN:-$here/target/release}
engine=${LAYERFS_ENGINES:-$here/target/engines}/sid/usr
export PATH=$engine/sbin:$engine/bin:$PATH
[ "$(id -u)" = 0 ] || { echo "migrate.sh: run as root: it mounts, and starts daemons" >&2; exit 2; }

base=$(mktemp -d)
daemons=()
stop() {
    for daemon in "${daemons[@]}"; do kill "$daemon" 2>/dev/null && wait "$daemon" || true; done
    daemons=()
}
finish() {
    stop
    umount -R --lazy "$base/t" 2>/dev/null || true
    rm -rf --one-file-system "$base"
}
trap finish EXIT
mkdir "$base/t"
mount -t tmpfs -o size=90%,nr_inodes=0 tmpfs "$base/t"
t=$base/t
export DOCKER_TMPDIR=$t/tmp
mkdir "$DOCKER_TMPDIR"
echo '{}' >"$base/daemon.json"

# start NAME ROOT FLAG: a daemon with a socket and directories of its own.
start() {
    dockerd --data-root "$2" --exec-root "$base/$1.exec" -H "unix://$base/$1.sock" -p "$base/$1.pid" --config-file "$base/daemon.json" \
        --bridge=none --iptables=false --ip6tables=false "$3" >"$base/$1.log" 2>&1 &
    daemons+=($!)
    for _ in $(seq 300); do
        docker -H "unix://$base/$1.sock" version >/dev/null 2>&1 && return
        sleep 0.1
    done
    cat "$base/$1.log" >&2
    exit 1
}

# seconds LINE: the time of one run of a shell's line.
seconds() {
    local begin end
    begin=$(date +%s%N)
    bash -o pipefail -c "$1" >/dev/null
    end=$(date +%s%N)
    echo "$(((end - begin) / 1000)) 1000000" | awk '{ printf "%.3f ", $1 / $2 }'
}

"$bin/layerfs" --root "$t/old" image load -q -i "$archive"
migrate="$bin/layerfs --root $t/old system migrate -q"
for _ in $(seq "$runs"); do
    seconds "$migrate --to containerd --no-sync"
    $migrate --undo
    seconds "$migrate --to containerd --no-sync --copy"
    $migrate --undo
    start old "$t/old" --storage-driver=overlay2
    start new "$t/new" --feature=containerd-snapshotter=true
    images=$(docker -H "unix://$base/old.sock" images --format '{{.Repository}}:{{.Tag}}' | tr '\n' ' ')
    seconds "docker -H unix://$base/old.sock save $images | docker -H unix://$base/new.sock load"
    stop
    rm -rf --one-file-system "$t/new"
    echo
done
