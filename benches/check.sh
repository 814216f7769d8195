#!/usr/bin/env bash
# `system check` on tmpfs, warm: deep, of an image of 1 GB, in turn with `sha256sum` over the same tars with a process for each
# processor; and quick, of 100 images. Medians in seconds, their ratio, and the most memory.
# Usage: check.sh [RUNS]     Needs root, and before:
# cargo build --release -p tools -p benches -p snapshot --bin layerfs --bin corpus --example big-store
set -euo pipefail
runs=${1:-7}
here=$(cd "$(dirname "$0")/.." && pwd)
bin=${LAYERFS_BIN:-$here/target/release}
[ "$(id -u)" = 0 ] || { echo "check.sh: run as root: it mounts" >&2; exit 2; }

base=$(mktemp -d)
finish() {
    umount "$base" 2>/dev/null || true
    rmdir "$base"
}
trap finish EXIT
mount -t tmpfs -o size=80%,nr_inodes=0 tmpfs "$base"

"$bin/corpus" typical "$base/image.tar" --scale 0.7 2>/dev/null
mkdir "$base/tars"
tar -C "$base/tars" -xf "$base/image.tar"
rm "$base/image.tar"
tar -C "$base/tars" -cf - . | "$bin/layerfs" --root "$base/store" image load -q --no-sync >/dev/null 2>&1
find "$base/tars" -name '*.tar' -type f -printf '%s %p\n' | sort -rn | cut -d' ' -f2- >"$base/layers"

deep() {
    /usr/bin/time -f '%e %M' "$bin/layerfs" --root "$base/store" system check --deep --quiet 2>&1 >"$base/said" | tail -n 1
}
sums() {
    /usr/bin/time -f '%e %M' xargs -a "$base/layers" -P "$(nproc)" -n 1 sha256sum 2>&1 >/dev/null | tail -n 1
}
deep >/dev/null
for _ in $(seq "$runs"); do
    deep >>"$base/deep"
    sums >>"$base/sums"
done
grep -q '^no damage' "$base/said" || { cat "$base/said" >&2; exit 1; }
# The median of the first column of a file, and the most of the second in MB.
median() { sort -n "$1" | awk '{ v[NR] = $1; if ($2 > most) most = $2 } END { printf "%s %d\n", v[int((NR + 1) / 2)], most / 1024 }'; }
read -r ours memory < <(median "$base/deep")
read -r theirs _ < <(median "$base/sums")
echo "deep: $ours s, $memory MB; sha256sum: $theirs s; ratio $(awk "BEGIN { printf \"%.2f\", $ours / $theirs }")"
rm -rf "$base/store" "$base/tars"

if [ -x "$bin/examples/big-store" ]; then
    "$bin/examples/big-store" "$base/many" 100 20 >/dev/null
    for _ in $(seq "$runs"); do
        # Three digits: it is quick.
        python3 - "$bin/layerfs" "$base/many" >>"$base/quick" <<'END'
import subprocess, sys, time
began = time.perf_counter()
subprocess.run([sys.argv[1], "--root", sys.argv[2], "system", "check"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(f"{time.perf_counter() - began:.3f} 0")
END
    done
    read -r quick _ < <(median "$base/quick")
    echo "quick, 100 images: $quick s"
fi
