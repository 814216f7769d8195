#!/usr/bin/env bash
# Deleting against `rm -rf`: 200,000 files in 5,000 directories, on a fresh tmpfs and a fresh ext4 in a loop device, in turn.
# With an archive of `docker save` also `layerfs image rm` of its image against `docker rmi`, each on a copy of one store.
# Usage: delete.sh [RUNS] [ARCHIVE]     Prints rows for BENCHMARKS.md: medians, and the median of the ratios of each turn.
set -euo pipefail
runs=${1:-7} archive=${2:-}
# shellcheck source=benches/lib.sh
. "$(dirname "$0")/lib.sh"
room 70
work=$base/work keep=$t
mkdir "$work"

fresh() {
    umount -R "$work" 2>/dev/null || true
    if [ "$1" = tmpfs ]; then
        mount -t tmpfs -o size=70%,nr_inodes=0 tmpfs "$work"
    else
        rm -f "$keep/disk"
        truncate -s 2G "$keep/disk"
        mkfs.ext4 -q -i 4096 -E lazy_itable_init=0,lazy_journal_init=0 "$keep/disk"
        mount -o loop "$keep/disk" "$work"
    fi
}

# report TITLE FILE: lines of times, one column a program, the first one to compare with.
report() {
    awk -v title="$1" "$median"'
        { columns = NF; for (c = 1; c <= NF; c++) { time[c, NR] = $c; ratio[c, NR] = $c / $1 } }
        END {
            printf "| %s |", title
            for (c = 1; c <= columns; c++) {
                for (r = 1; r <= NR; r++) { x[r] = time[c, r]; q[r] = ratio[c, r] }
                printf " %.3f s", median(x, NR)
                printf c == 1 ? " |" : " (%.2f) |", median(q, NR)
            }
            printf "\n"
        }' "$2"
}

tree() {
    mkdir "$work/tree"
    tar -C "$work/tree" -xf "$keep/tree.tar"
}

mkdir "$keep/tree"
for outer in $(seq 50); do
    for inner in $(seq 100); do
        mkdir -p "$keep/tree/d$outer/d$inner"
        (cd "$keep/tree/d$outer/d$inner" && seq 40 | split -l 1 - "file-of-some-name-")
    done
done
tar -C "$keep/tree" -cf "$keep/tree.tar" .
rm -rf "$keep/tree"

echo "| work | \`rm -rf\` | 1 thread | 2 threads |"
echo "|---|---|---|---|"
for kind in tmpfs ext4; do
    rm -f "$base/times"
    for _ in $(seq "$runs"); do
        for command in "rm -rf" "$bin/examples/delete 1" "$bin/examples/delete 2"; do
            fresh "$kind"
            tree
            # What is measured is deleting, not the writing that is still to come.
            sync -f "$work"
            seconds "$command $work/tree"
            [ ! -e "$work/tree" ] || die "$command left something"
        done
        echo
    done >"$base/times"
    report "200,000 files in 5,000 directories, $kind" "$base/times"
done
[ -n "$archive" ] || exit 0

for kind in tmpfs ext4; do
    umount -R "$work" 2>/dev/null || true
    rm -f "$base/times" "$keep/disk"
    [ "$kind" = tmpfs ] || truncate -s 6G "$keep/disk"
    for _ in $(seq "$runs"); do
        for how in docker layerfs; do
            umount -R "$work" 2>/dev/null || true
            if [ "$kind" = tmpfs ]; then
                mount -t tmpfs -o size=70%,nr_inodes=0 tmpfs "$work"
            else
                mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$keep/disk"
                mount -o loop "$keep/disk" "$work"
            fi
            "$bin/layer-unpack" --quiet --root "$work/root" "$archive" >/dev/null
            name=$("$bin/layerfs" --root "$work/root" image ls -q | head -n 1)
            if [ "$how" = docker ]; then
                start_dockerd docker "$work/root"
                sync -f "$work"
                seconds "$(docker_of docker) rmi -f $name"
                stop docker
            else
                sync -f "$work"
                seconds "$bin/layerfs --root $work/root image rm -f $name"
                echo
            fi
            [ -z "$(find "$work/root/overlay2" -mindepth 1 -maxdepth 1 ! -name l)" ] ||
                die "$how left a layer"
        done
    done >"$base/times"
    echo
    echo "| work | \`docker rmi\` | \`layerfs image rm\` |"
    echo "|---|---|---|"
    report "$(basename "$archive"), $kind" "$base/times"
done
