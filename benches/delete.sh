#!/usr/bin/env bash
# Deleting against `rm -rf`: 200,000 files in 5,000 directories, on a fresh tmpfs and a fresh ext4 in a loop device, in turn.
# With an archive of `docker save` also `layerfs image rm` of its image against `docker rmi`, each on a copy of one store.
# Usage: delete.sh [RUNS] [ARCHIVE]     Prints rows for BENCHMARKS.md: medians, and the median of the ratios of each turn.
set -euo pipefail
runs=${1:-7} archive=${2:-}
here=$(cd "$(dirname "$0")/.." && pwd)
bin=${LAYERFS_BIN:-$here/target/release}
[ "$(id -u)" = 0 ] || { echo "delete.sh: run as root: it mounts" >&2; exit 2; }

base=$(mktemp -d)
daemon=
stop() {
    [ -z "$daemon" ] || { kill "$daemon" 2>/dev/null && wait "$daemon" || true; }
    daemon=
}
finish() {
    stop
    # Stopped half way, what was running may still be in there: it goes with the last one that leaves.
    umount -R --lazy "$base/work" 2>/dev/null || true
    umount -R --lazy "$base/keep" 2>/dev/null || true
    rm -rf --one-file-system "$base"
}
trap finish EXIT
mkdir "$base/keep" "$base/work"
mount -t tmpfs -o size=70%,nr_inodes=0 tmpfs "$base/keep"

fresh() {
    umount -R "$base/work" 2>/dev/null || true
    if [ "$1" = tmpfs ]; then
        mount -t tmpfs -o size=70%,nr_inodes=0 tmpfs "$base/work"
    else
        rm -f "$base/keep/disk"
        truncate -s 2G "$base/keep/disk"
        mkfs.ext4 -q -i 4096 -E lazy_itable_init=0,lazy_journal_init=0 "$base/keep/disk"
        mount -o loop "$base/keep/disk" "$base/work"
    fi
}

# seconds COMMAND...: the time of one run.
seconds() {
    local begin end
    begin=$(date +%s%N)
    "$@" >/dev/null
    end=$(date +%s%N)
    echo "$(((end - begin) / 1000)) 1000000" | awk '{ printf "%.4f\n", $1 / $2 }'
}

# report TITLE FILE: lines of times, one column a program, the first one to compare with.
report() {
    awk -v title="$1" '
        function median(list, n,    i, j, t) {
            for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (list[j] < list[i]) { t = list[i]; list[i] = list[j]; list[j] = t }
            return list[int((n + 1) / 2)]
        }
        { columns = NF; for (c = 1; c <= NF; c++) { time[c, NR] = $c; ratio[c, NR] = $c / $1 } }
        END {
            printf "| %s |", title
            for (c = 1; c <= columns; c++) {
                for (r = 1; r <= NR; r++) { t[r] = time[c, r]; q[r] = ratio[c, r] }
                printf " %.3f s", median(t, NR)
                printf c == 1 ? " |" : " (%.2f) |", median(q, NR)
            }
            printf "\n"
        }' "$2"
}

tree() {
    mkdir "$base/work/tree"
    tar -C "$base/work/tree" -xf "$base/keep/tree.tar"
}

mkdir "$base/keep/tree"
for outer in $(seq 50); do
    for inner in $(seq 100); do
        mkdir -p "$base/keep/tree/d$outer/d$inner"
        (cd "$base/keep/tree/d$outer/d$inner" && seq 40 | split -l 1 - "file-of-some-name-")
    done
done
tar -C "$base/keep/tree" -cf "$base/keep/tree.tar" .
rm -rf "$base/keep/tree"

echo "| work | \`rm -rf\` | 1 thread | 2 threads |"
echo "|---|---|---|---|"
for kind in tmpfs ext4; do
    rm -f "$base/times"
    for _ in $(seq "$runs"); do
        for command in "rm -rf" "$bin/examples/delete 1" "$bin/examples/delete 2"; do
            fresh "$kind"
            tree
            # What is measured is deleting, not the writing that is still to come.
            sync -f "$base/work"
            # shellcheck disable=SC2086 # a program and its arguments
            printf '%s ' "$(seconds $command "$base/work/tree")"
            [ ! -e "$base/work/tree" ] || { echo "delete.sh: $command left something" >&2; exit 1; }
        done
        echo
    done >"$base/times"
    report "200,000 files in 5,000 directories, $kind" "$base/times"
done
[ -n "$archive" ] || exit 0

docker="docker -H unix://$base/docker.sock"
start() {
    dockerd --data-root "$1" --exec-root "$base/exec" -H "unix://$base/docker.sock" -p "$base/docker.pid" --bridge=none \
        --iptables=false --ip6tables=false -s overlay2 >"$base/dockerd.log" 2>&1 &
    daemon=$!
    for _ in $(seq 300); do
        $docker version >/dev/null 2>&1 && return
        sleep 0.1
    done
    cat "$base/dockerd.log" >&2
    exit 1
}

for kind in tmpfs ext4; do
    umount -R "$base/work" 2>/dev/null || true
    rm -f "$base/times" "$base/keep/disk"
    [ "$kind" = tmpfs ] || truncate -s 6G "$base/keep/disk"
    for _ in $(seq "$runs"); do
        for how in docker layerfs; do
            umount -R "$base/work" 2>/dev/null || true
            if [ "$kind" = tmpfs ]; then
                mount -t tmpfs -o size=70%,nr_inodes=0 tmpfs "$base/work"
            else
                mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$base/keep/disk"
                mount -o loop "$base/keep/disk" "$base/work"
            fi
            "$bin/layer-unpack" --quiet --root "$base/work/root" "$archive" >/dev/null
            name=$("$bin/layerfs" --root "$base/work/root" image ls -q | head -n 1)
            if [ "$how" = docker ]; then
                start "$base/work/root"
                sync -f "$base/work"
                printf '%s ' "$(seconds $docker rmi -f "$name")"
                stop
            else
                sync -f "$base/work"
                printf '%s\n' "$(seconds "$bin/layerfs" --root "$base/work/root" image rm -f "$name")"
            fi
            [ -z "$(find "$base/work/root/overlay2" -mindepth 1 -maxdepth 1 ! -name l)" ] ||
                { echo "delete.sh: $how left a layer" >&2; exit 1; }
        done
    done >"$base/times"
    echo
    echo "| work | \`docker rmi\` | \`layerfs image rm\` |"
    echo "|---|---|---|"
    report "$(basename "$archive"), $kind" "$base/times"
done
