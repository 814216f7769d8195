#!/bin/bash
# make-big-image.sh OUT.tar: build layerfs-test/big:1 with a private dockerd 20.10 and
# `docker save` it: over 1 GB and 60,000 files of Debian bookworm in seven layers, one of
# them deleting and replacing files of the others. For benchmarks and end-to-end tests.
# Needs root, docker.io, debootstrap and a Debian archive reachable through apt.
# shellcheck disable=SC2016,SC2034  # package lists are read through a nameref
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

[ $# = 1 ] || die "usage: $0 OUT.tar"
out=$(realpath -m "$1")
suite=bookworm
tag=layerfs-test/big:1
need_root
need dockerd "$DOCKER_BIN" debootstrap dpkg-deb apt-get

toolchain=(gcc-12 g++-12 cpp-12 binutils-x86-64-linux-gnu libc6-dev libstdc++-12-dev
    libboost1.74-dev)
languages=(golang-1.19-src perl-modules-5.36 libpython3.11-stdlib python3.11-minimal
    libpython3.11-testsuite python3-numpy python3-sympy node-typescript)
docs=(locales-all fonts-noto-core manpages-dev iso-codes vim-runtime)
libraries=(libllvm14 libclang-cpp14 libwebkit2gtk-4.0-37 libicu-dev)

apt-get -qq update
mirror=$(apt_mirror "$suite")
# Kernel headers carry their version in the name; follow the metapackage.
headers=$(apt-cache depends linux-headers-amd64 | awk '/Depends: linux-headers-/ { print $2; exit }')
toolchain+=("$headers" "${headers%-amd64}-common")

# Download while debootstrap runs: both mostly wait for the network.
for set in toolchain languages docs libraries; do
    declare -n packages=$set
    fetch_debs "$WORK/debs-$set" "${packages[@]}"
done &
fetching=$!
debootstrap --variant=minbase "$suite" "$WORK/base" "$mirror" >"$WORK/debootstrap.log" 2>&1 ||
    { tail -n 20 "$WORK/debootstrap.log" >&2; die "debootstrap failed"; }
rm -rf "$WORK/base/var/cache/apt/archives/"*.deb "$WORK/base/var/lib/apt/lists/"*
wait "$fetching" || die "download of packages failed"

start_daemon big
tar -C "$WORK/base" --numeric-owner --sort=name -c . | dk big import - layerfs-test/base:1 >/dev/null
rm -rf "$WORK/base"

# ADD unpacks a tar: quicker than COPY of a tree (which checksums each file) and keeps
# owners and hard links. One COPY remains, for the layers it writes.
ctx=$WORK/context
pack() { tar -C "$ctx/$1" --numeric-owner --sort=name -cf "$ctx/$1.tar" . && rm -rf "${ctx:?}/$1"; }
for set in toolchain languages docs libraries; do
    unpack_debs "$ctx/$set" "$WORK/debs-$set"/*.deb
    rm -rf "$WORK/debs-$set"
    [ "$set" = docs ] || pack "$set"
done
mkdir -p "$ctx/small/var/lib/sample"
for i in $(seq 2000); do echo "$i" >"$ctx/small/var/lib/sample/file-$i"; done
chown -R 1000:1000 "$ctx/small/var/lib/sample"
ln "$ctx/small/var/lib/sample/file-1" "$ctx/small/var/lib/sample/link-1"
pack small

# The RUN step makes file and directory whiteouts (rm), opaque directories (a directory
# deleted and made again) and copied-up files (append, chmod).
cat >"$ctx/Dockerfile" <<'DOCKERFILE'
FROM layerfs-test/base:1
ADD toolchain.tar /
ADD languages.tar /
COPY docs/ /
ADD libraries.tar /
ADD small.tar /
RUN rm -rf /usr/share/doc && mkdir /usr/share/doc && echo replaced > /usr/share/doc/README && \
    rm -rf /usr/share/vim/vim90/lang && mkdir -p /usr/share/vim/vim90/lang/new && \
    rm -rf /usr/share/go-1.19/test /usr/share/locale && \
    rm -f /usr/share/iso-codes/json/*.json /var/lib/sample/file-1?? && \
    for f in /var/lib/sample/file-2??; do echo changed >> "$f"; done && \
    chmod 0600 /var/lib/sample/file-30? && \
    rm /etc/issue && mkdir /etc/issue && echo dir > /etc/issue/was-a-file
ENV LAYERFS=big
LABEL layerfs.test=big
CMD ["/bin/bash"]
DOCKERFILE
dk big build -q --network none -t "$tag" "$ctx" >/dev/null
rm -rf "$ctx"

dk big run --rm --network none "$tag" /bin/sh -c 'test -d /etc/issue && echo "$LAYERFS"' >/dev/null ||
    die "the built image does not run"
mkdir -p "$(dirname "$out")"
dk big save -o "$out.part" "$tag"
mv "$out.part" "$out"
dk big inspect -f '{{.Id}} layers={{len .RootFS.Layers}} size={{.Size}}' "$tag"
