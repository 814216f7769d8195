#!/usr/bin/env bash
# `system check` on tmpfs, warm: deep, of an image of 1 GB, in turn with `sha256sum` over the same tars with a process for each
# processor; and quick, of 100 images. Medians in seconds, their ratio, and the most memory.
# Usage: check.sh [RUNS]     Needs root, and before:
# cargo build --release -p tools -p benches -p snapshot --bin layerfs --bin corpus --example big-store
set -euo pipefail
runs=${1:-7}
# shellcheck source=benches/lib.sh
. "$(dirname "$0")/lib.sh"
room 80

"$bin/corpus" typical "$t/image.tar" --scale 0.7 2>/dev/null
mkdir "$t/tars"
tar -C "$t/tars" -xf "$t/image.tar"
rm "$t/image.tar"
tar -C "$t/tars" -cf - . | "$bin/layerfs" --root "$t/store" image load -q --no-sync >/dev/null 2>&1
find "$t/tars" -name '*.tar' -type f -printf '%s %p\n' | sort -rn | cut -d' ' -f2- >"$t/layers"

deep() { timed "$1" "$bin/layerfs" --root "$t/store" system check --deep --quiet; }
sums() { timed "$1" xargs -a "$t/layers" -P "$(nproc)" -n 1 sha256sum; }
deep /dev/null
for _ in $(seq "$runs"); do
    deep "$base/deep"
    sums "$base/sums"
done
read -r ours memory < <(middle "$base/deep")
read -r theirs _ < <(middle "$base/sums")
echo "deep: $ours s, $memory MB; sha256sum: $theirs s; ratio $(awk "BEGIN { printf \"%.2f\", $ours / $theirs }")"
rm -rf "$t/store" "$t/tars"

if [ -x "$bin/examples/big-store" ]; then
    "$bin/examples/big-store" "$t/many" 100 20 >/dev/null
    for _ in $(seq "$runs"); do
        # Three digits: it is quick.
        python3 - "$bin/layerfs" "$t/many" >>"$base/quick" <<'END'
import subprocess, sys, time
began = time.perf_counter()
subprocess.run([sys.argv[1], "--root", sys.argv[2], "system", "check"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(f"{time.perf_counter() - began:.3f} 0")
END
    done
    read -r quick _ < <(middle "$base/quick")
    echo "quick, 100 images: $quick s"
fi
