#!/bin/bash
# make-goldens.sh: make goldens/*.tar with real tools and record in goldens/EXPECTED.json and
# goldens/TREES.json what dockerd 20.10 makes of them. Image ids change with each run, because
# dockerd writes the time into them: commit archives and records together.
# Needs root, docker.io 20.10, skopeo, umoci, python3 and a Debian archive reachable through apt.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=golden-images.sh
. "$here/golden-images.sh"

newer_suite=${NEWER_SUITE:-trixie}  # a suite whose docker.io is 25 or later
need_root
need dockerd "$DOCKER_BIN" skopeo umoci python3 dpkg-deb
case $(dockerd --version) in *" 20.10."*) ;; *) die "dockerd 20.10 is needed, found $(dockerd --version)" ;; esac
out=$WORK/out
mkdir "$out"

fetch_debs "$WORK/debs" busybox-static
unpack_debs "$WORK/debs/tree" "$WORK/debs"/*.deb
busybox=$WORK/debs/tree/usr/bin/busybox

# 20.10: the layout with one directory per layer
start_daemon v20
{ build_busybox; build_layers; build_shared; } >"$WORK/build.log"
stop_daemon v20

# 25 and later: OCI layout plus manifest.json. The newer dockerd and containerd run on the C
# library of bookworm; the newer runc would not, so the machine's own is used.
fetch_debs_of "$newer_suite" "$WORK/newer" docker.io containerd
for deb in "$WORK/newer"/*.deb; do dpkg-deb -x "$deb" "$WORK/newer/root"; done
rm -f "$WORK/newer/root/usr/"*bin/runc
newer=("env" "PATH=$WORK/newer/root/usr/sbin:$WORK/newer/root/usr/bin:$PATH" dockerd)
start_daemon newer "${newer[@]}"
newer_version=$(dk newer version -f '{{.Server.Version}}')
dk newer load -q -i "$out/busybox-20.10.tar"
dk newer run --rm --network none layerfs-test/busybox:1 echo "runs on $newer_version"
dk newer save -o "$out/hybrid-${newer_version%%.*}.tar" layerfs-test/busybox:1
stop_daemon newer

# Pure OCI layouts, without any Docker
for format in gzip zstd; do
    skopeo --insecure-policy copy -q --dest-compress-format "$format" \
        "docker-archive:$out/busybox-20.10.tar" \
        "oci-archive:$out/oci-skopeo-$format.tar:layerfs-test/busybox:1"
done
oci=$WORK/oci
mkdir -p "$WORK/insert/dir/sub"
echo one >"$WORK/insert/dir/file"
echo two >"$WORK/insert/dir/sub/file"
find "$WORK/insert" -exec touch -d "@$stamp" {} +
created=$(date -u -d "@$stamp" +%FT%TZ)
umoci init --layout "$oci"
umoci new --image "$oci:first"
umoci insert --image "$oci:first" --history.created "$created" "$WORK/insert/dir" /dir
umoci insert --image "$oci:first" --tag second --history.created "$created" --whiteout /dir/file
umoci insert --image "$oci:second" --history.created "$created" --opaque "$WORK/insert/dir/sub" /dir/sub
for tag in first second; do
    umoci config --image "$oci:$tag" --created "$created" --history.created "$created" \
        --config.cmd /nothing --config.env LAYERFS=umoci --config.label layerfs.test=umoci
done
umoci gc --layout "$oci"
skopeo --insecure-policy copy -q "oci:$oci:second" \
    "docker-archive:$out/docker-archive-skopeo.tar:layerfs-test/umoci:second"
pack_tree "$oci" . >"$out/oci-umoci.tar"

# Load each archive dockerd 20.10 knows into an empty root and record the outcome.
for archive in "$out"/*-20.10.tar "$out"/hybrid-*.tar "$out"/docker-archive-*.tar; do
    start_daemon check
    started=$(date +%s)
    loaded=$(dk check load -i "$archive")
    python3 "$here/record_expected.py" "${archive##*/}" "$WORK/check/data" "$WORK/check/d.sock" \
        "$started" "$loaded" "$out"
    case ${archive##*/} in busybox* | hybrid*)
        [ "$(dk check run --rm --network none layerfs-test/busybox:1 echo hi)" = hi ] ||
            die "$archive does not run" ;;
    esac
    dk check images -q | sort -u | xargs "$DOCKER_BIN" -H "unix://$WORK/check/d.sock" save -o "$WORK/again.tar"
    stop_daemon check
done

rm -f "$here"/goldens/*
install -m 0644 "$out"/* "$here/goldens/"
ls -l "$here/goldens"
