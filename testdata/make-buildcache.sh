#!/bin/bash
# make-buildcache.sh: make buildkit/ with a real dockerd 20.10: BuildKit's databases after a few builds, before and after
# `docker system df` has measured the cache, and what the daemon said of it. Ids and times change with each run, because
# they are random and now: commit everything together.
# Needs root, docker.io 20.10, curl, python3 and xz.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

need_root
need dockerd "$DOCKER_BIN" curl python3 xz
case $(dockerd --version) in *" 20.10."*) ;; *) die "dockerd 20.10 is needed, found $(dockerd --version)" ;; esac
out=$WORK/out
root=$WORK/v20/data/buildkit
mkdir -p "$out" "$WORK/context"

# keep NAME : the databases as they are now; the daemon has nothing to do meanwhile.
keep() {
    install -m 644 "$root/snapshots.db" "$out/snapshots-$1.db"
    xz -9 -c "$root/metadata_v2.db" >"$out/metadata_v2-$1.db.xz"
}

build() { DOCKER_BUILDKIT=1 "$DOCKER_BIN" -H "unix://$WORK/v20/d.sock" build -q --network none -t "$1" "$WORK/context"; }

start_daemon v20
dk v20 load -q -i "$here/goldens/busybox-20.10.tar"

# A stage that ends up in no image, a cache mount, a copied file, and layers of an image.
head -c 5000 /dev/zero >"$WORK/context/data"
cat >"$WORK/context/Dockerfile" <<'END'
FROM layerfs-test/busybox:1 AS one
RUN echo one >/one && head -c 100000 /dev/zero >/zeros
RUN --mount=type=cache,target=/cache echo cached >/cache/file && echo two >/two
FROM layerfs-test/busybox:1
COPY --from=one /one /copied
COPY data /data
RUN echo "three <>&\"" >/three
END
build layerfs-test/built:1

# Layers of an image that is gone: its cache stays.
cat >"$WORK/context/Dockerfile" <<'END'
FROM layerfs-test/busybox:1
RUN echo gone >/gone
END
build layerfs-test/gone:1
dk v20 rmi layerfs-test/gone:1

keep fresh
api() { curl -sS --fail --unix-socket "$WORK/v20/d.sock" "http://docker/$1"; }
# The first one measures what has no size yet, and counts that as a use.
api system/df >"$WORK/first.json"
keep measured
api system/df >"$WORK/df.json"
dk v20 system df >"$out/df.txt"
dk v20 system df -v >"$out/df-v.txt"
dk v20 image inspect layerfs-test/busybox:1 layerfs-test/built:1 >"$WORK/images.json"
python3 - "$WORK" "$out/RECORDED.json" <<'END'
import json, sys
work, out = sys.argv[1:]
load = lambda name: json.load(open(f"{work}/{name}.json"))
records = lambda name: sorted(load(name)["BuildCache"], key=lambda record: record["ID"])
json.dump({
    "BuildCache": records("df"),
    "BuilderSize": load("df")["BuilderSize"],
    "FirstBuildCache": records("first"),
    "ImageLayers": [image["RootFS"]["Layers"] for image in load("images")],
}, open(out, "w"), indent=1)
END
stop_daemon v20

mkdir -p "$here/buildkit"
cp "$out"/* "$here/buildkit/"
ls -l "$here/buildkit"
