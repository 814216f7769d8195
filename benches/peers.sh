#!/usr/bin/env bash
# layer-unpack against dockerd load and GNU tar of the same layers: in turn, in one run, all on tmpfs.
# Usage: peers.sh ARCHIVE [RUNS]     ARCHIVE: an uncompressed `docker save`; it is copied to tmpfs first.
# Prints one line of JSON for each measurement, and the medians and ratios at the end.
set -euo pipefail
[ $# -ge 1 ] || { sed -n 2,4p "$0" >&2; exit 2; }
archive=$(realpath "$1") runs=${2:-5}
here=$(cd "$(dirname "$0")/.." && pwd)
unpack=$here/target/release/layer-unpack

base=$(mktemp -d)
mount -t tmpfs -o size=90% tmpfs "$base"
# A scratch directory and private daemons, with their own clean-up.
TMPDIR=$base
. "$here/testdata/lib.sh"
cleanup_daemons=$(trap -p EXIT | sed "s/^trap -- '\(.*\)' EXIT$/\1/")
finish() {
    ("$cleanup_daemons") || true
    umount -R "$base" 2>/dev/null || umount -l "$base"
    rmdir "$base"
}
trap finish EXIT
need_root
cp "$archive" "$WORK/image.tar"
mkdir "$WORK/layers" && tar -xf "$WORK/image.tar" -C "$WORK/layers"
find "$WORK/layers" -type f \( -name layer.tar -o -path '*/blobs/sha256/*' \) -size +512c | while read -r file; do
    ! tar -tf "$file" >/dev/null 2>&1 || echo "$file"
done >"$WORK/list"

fresh() { mkdir -p "$WORK/$1" && mount -t tmpfs -o size=60% tmpfs "$WORK/$1"; }
gone() { umount "$WORK/$1"; }
# timed NAME COMMAND... : wall seconds, CPU seconds, largest resident set (mapped pages of the archive included)
timed() {
    local name=$1 format
    shift
    format="{\"peer\":\"$name\",\"wall\":%e,\"user\":%U,\"system\":%S,\"max_rss_kb\":%M}"
    /usr/bin/time -f "$format" -a -o "$WORK/results" "$@" >/dev/null
    tail -n 1 "$WORK/results"
}
# One directory for each layer; attributes as layer-unpack sets them.
# shellcheck disable=SC2016
gnu_tar='n=0; while read -r layer; do n=$((n + 1)); mkdir "$1/$n"; tar -xf "$layer" -C "$1/$n" --xattrs --xattrs-include="*" --warning=none; done <"$2"'

for _ in $(seq "$runs"); do
    fresh ours
    timed layer-unpack "$unpack" "$WORK/image.tar" --root "$WORK/ours/root" -q
    timed layer-unpack-warm "$unpack" "$WORK/image.tar" --root "$WORK/ours/root" -q
    gone ours
    fresh ours
    timed layer-unpack-1-thread "$unpack" "$WORK/image.tar" --root "$WORK/ours/root" --threads 1 -q
    gone ours
    fresh tar
    timed gnu-tar bash -c "$gnu_tar" _ "$WORK/tar" "$WORK/list"
    gone tar
    start_daemon dockerd
    timed dockerd-load "$DOCKER_BIN" -H "unix://$WORK/dockerd/d.sock" load -q -i "$WORK/image.tar"
    stop_daemon dockerd
done

python3 - "$WORK/results" <<'PY'
import json, statistics, sys
rows = {}
for line in open(sys.argv[1]):
    row = json.loads(line)
    rows.setdefault(row["peer"], []).append(row)
median = {peer: statistics.median(row["wall"] for row in of) for peer, of in rows.items()}
for peer, of in rows.items():
    walls = sorted(row["wall"] for row in of)
    cpu = statistics.median(row["user"] + row["system"] for row in of)
    print(f"{peer:22} median {median[peer]:6.2f} s   {walls[0]:6.2f} to {walls[-1]:6.2f}   CPU {cpu:6.2f} s")
for peer in ("dockerd-load", "gnu-tar"):
    print(f"layer-unpack takes 1/{median[peer] / median['layer-unpack']:.2f} of the time of {peer}")
PY
