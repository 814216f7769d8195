#!/usr/bin/env bash
# image-du against `du -s` on a store of 200,000 files, warm, in turn: on tmpfs, and on ext4 in a loop device.
# Usage: du.sh [RUNS] [FILES]     Prints hyperfine's tables; then the memory of image-du with a million inodes.
set -euo pipefail
runs=${1:-10} files=${2:-200000}
# shellcheck source=benches/lib.sh
. "$(dirname "$0")/lib.sh"
image_du=$bin/image-du
room 70
mkdir "$base/ext4"

# store DIR FILES: a data-root with twelve layers whose directories have twelve files on average.
store() {
    python3 - "$1" "$2" <<'PYTHON'
import os, random, sys
root, files = sys.argv[1], int(sys.argv[2])
random.seed(1)
for sub in ("image/overlay2/layerdb/sha256", "containers", "volumes"):
    os.makedirs(f"{root}/{sub}")
for layer in range(12):
    diff = f"{root}/overlay2/{layer:064x}/diff"
    os.makedirs(diff)
    directories = [diff]
    for number in range(files // 12 // 12):
        parent = random.choice(directories[-200:])
        if parent.count("/") - root.count("/") > 14:
            parent = diff
        directories.append(f"{parent}/dir{number}")
        os.mkdir(directories[-1])
    for number in range(files // 12):
        with open(f"{random.choice(directories)}/file{number}.py", "wb") as file:
            file.write(b"x" * random.choice((0, 10, 100, 3000)))
PYTHON
}

compare() {
    [ "$(du -x -s -B1 "$1" | cut -f1)" = "$("$image_du" --root "$1" --json | sed 's/.*"total_allocated":\([0-9]*\).*/\1/')" ] ||
        die "the totals differ"
    hyperfine -N --warmup 2 --runs "$runs" "du -x -s $1" "$image_du --root $1 --threads 1" "$image_du --root $1 --threads 2"
}

echo "tmpfs, $files files"
store "$t/root" "$files"
compare "$t/root"

echo "ext4, $files files"
truncate -s $((files * 12 * 1024 + (1 << 28))) "$t/disk"
mkfs.ext4 -q -i 4096 "$t/disk"
mount -o loop "$t/disk" "$base/ext4"
store "$base/ext4/root" "$files"
compare "$base/ext4/root"
umount "$base/ext4"
rm -rf "$t/root" "$t/disk"

echo "memory, a million inodes, a fifth of them with two links"
store "$t/root" 1000000
python3 - "$t/root" <<'PYTHON'
import os, sys
count = 0
for top, _, names in list(os.walk(sys.argv[1])):
    for name in names:
        count += 1
        if count % 5 == 0:
            os.link(f"{top}/{name}", f"{top}/{name}.link")
PYTHON
/usr/bin/time -f "%M kB, %e s" "$image_du" --root "$t/root" | tail -1
