#!/usr/bin/env bash
# What `image ls` costs on containerd's store of many images of 8 layers each, 5 of them shared, on tmpfs, warm: the median and the
# most of the time by the clock and of the processor's, and system calls for each image.
# Usage: containerd-list.sh [RUNS] [IMAGES]     Needs `cargo build --release -p tools --bins`, python3, strace, and root.
set -euo pipefail
runs=${1:-11} images=${2:-1000}
here=$(cd "$(dirname "$0")/.." && pwd)
bin=${LAYERFS_BIN:-$here/target/release}
[ "$(id -u)" = 0 ] || { echo "containerd-list.sh: run as root: it mounts" >&2; exit 2; }

base=$(mktemp -d)
finish() {
    umount "$base" 2>/dev/null || true
    rmdir "$base"
}
trap finish EXIT
mount -t tmpfs -o size=80%,nr_inodes=0 tmpfs "$base"

# An OCI layout in a tar, the same each time.
python3 - "$images" "$base/images.tar" <<'PYTHON'
import hashlib, io, json, sys, tarfile

count, out = int(sys.argv[1]), tarfile.open(sys.argv[2], "w")
seen = set()

def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))

def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()

def descriptor(kind, content):
    name = digest(content)
    if name not in seen:
        seen.add(name)
        add(out, "blobs/sha256/" + name[7:], content)
    return {"mediaType": "application/vnd.oci.image." + kind, "digest": name, "size": len(content)}

def layer(text):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        add(tar, "file-" + text, text.encode())
    return content.getvalue()

shared = [layer(f"shared-{number}") for number in range(5)]
manifests = []
for image in range(count):
    layers = shared + [layer(f"own-{image}-{number}") for number in range(3)]
    config = {
        "architecture": "amd64", "os": "linux", "created": f"2024-01-01T00:00:{image % 60:02}Z",
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"], "Labels": {"version": str(image)}},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": f"RUN step {step} of {image}"} for step in range(8)],
    }
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", json.dumps(config).encode()),
        "layers": [descriptor("layer.v1.tar", layer) for layer in layers],
    }
    entry = descriptor("manifest.v1+json", json.dumps(manifest).encode())
    entry["annotations"] = {"io.containerd.image.name": f"docker.io/many/app{image}:1"}
    manifests.append(entry)
add(out, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
add(out, "index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode())
out.close()
PYTHON

"$bin/layerfs" --root "$base/root" --store containerd image load -q --no-sync -i "$base/images.tar" >/dev/null
rm "$base/images.tar"
list=("$bin/layerfs" --root "$base/root" image ls)
[ "$("${list[@]}" -q | wc -l)" = "$images" ] || { echo "containerd-list.sh: not all images are listed" >&2; exit 1; }
for _ in $(seq "$runs"); do
    /usr/bin/time -f '%e %U %S %M' "${list[@]}" 2>&1 >/dev/null | tail -n 1
done | sort -n | awk '
    { clock[NR] = $1; cpu = $2 + $3; if (cpu > most) most = cpu; if ($4 > memory) memory = $4 }
    END { printf "by the clock %.2f s (median), %.2f s (most); processor %.2f s (most); %d MB\n", clock[int((NR + 1) / 2)], clock[NR], most, memory / 1024 }'
strace -f -c -U calls,name -o "$base/calls" "${list[@]}" >/dev/null
awk -v images="$images" '$2 == "total" { printf "%.1f system calls for each image\n", $1 / images }' "$base/calls"
