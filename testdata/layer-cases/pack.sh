#!/bin/bash
# pack.sh SOURCE-DIR: make cases.tar.zst and index.json here from a directory holding
# NNN-*.tar and index.json. Same input, same bytes (given the same tar and zstd versions).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# = 1 ] || { echo "usage: $0 SOURCE-DIR" >&2; exit 2; }
src=$(cd "$1" && pwd)
part=$(mktemp -d "$here/.pack-XXXXXX")
trap 'rm -rf "$part"' EXIT

# The checksums in index.json are the reference: a damaged archive must not be packed.
python3 - "$src" <<'PY'
import hashlib, json, os, sys
src = sys.argv[1]
cases = json.load(open(os.path.join(src, "index.json")))
on_disk = {f for f in os.listdir(src) if f[:3].isdigit() and f.endswith(".tar")}
listed = {c["file"] for c in cases}
if on_disk != listed or len(listed) != len(cases):
    sys.exit(f"index.json and archives differ: {sorted(on_disk ^ listed)}")
for c in cases:
    data = open(os.path.join(src, c["file"]), "rb").read()
    if len(data) != c["bytes"] or hashlib.sha256(data).hexdigest() != c["sha256"]:
        sys.exit(f"{c['file']}: size or SHA-256 differs from index.json")
print(len(cases), "cases checked")
PY

# The archives differ in few bytes each, so a window over all of them finds almost
# everything; 8 MiB is the most that every decoder accepts without a special option.
(cd "$src" && printf '%s\0' [0-9][0-9][0-9]-*.tar) |
    tar -C "$src" --null -T - --format=ustar --mode=0644 --owner=0 --group=0 --numeric-owner \
        --mtime=@0 -cf - | zstd -q -19 --zstd=wlog=23 -o "$part/cases.tar.zst"
install -m 0644 "$src/index.json" "$part/index.json"
chmod 0644 "$part/cases.tar.zst"
mv "$part/cases.tar.zst" "$part/index.json" "$here/"
ls -l "$here/cases.tar.zst" "$here/index.json"
