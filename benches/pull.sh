#!/usr/bin/env bash
# Pull and push against dockerd, on tmpfs with Debian's docker-registry on the loopback interface, in turn. Rows for BENCHMARKS.md:
# medians in seconds, and the most memory of ours in MB. Of ctr, podman, and umoci after skopeo, those that are installed take part.
# Usage: pull.sh [RUNS] [SCALE]     Needs root, dockerd, docker-registry, skopeo, python3, and before:
# cargo build --release -p tools -p benches --bin layerfs --bin layer-unpack --bin corpus
set -euo pipefail
runs=${1:-7} scale=${2:-1}
here=$(cd "$(dirname "$0")/.." && pwd)
bin=${LAYERFS_BIN:-$here/target/release}
[ "$(id -u)" = 0 ] || { echo "pull.sh: run as root: it mounts" >&2; exit 2; }

base=$(mktemp -d)
registry='' daemon='' uncut='' cut='' containerd=''
stop() {
    [ -z "$1" ] || { kill "$1" 2>/dev/null && wait "$1" || true; }
}
finish() {
    stop "$daemon"
    stop "$registry"
    stop "$uncut"
    stop "$cut"
    stop "$containerd"
    umount -R --lazy "$base" 2>/dev/null || true
    rmdir "$base"
}
trap finish EXIT
mount -t tmpfs -o size=85%,nr_inodes=0 tmpfs "$base"
export DOCKER_CONFIG=$base/no-config TMPDIR=$base

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
image=127.0.0.1:$port/bench/image:1
docker=(docker -H "unix://$base/d.sock")

start_registry() {
    printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$1" "$port" >"$base/config.yml"
    docker-registry serve "$base/config.yml" >"$base/registry.log" 2>&1 &
    registry=$!
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.05; done
}
start_daemon() {
    dockerd --data-root "$1" --exec-root "$base/exec" -H "unix://$base/d.sock" -p "$base/d.pid" --bridge=none \
        --iptables=false --ip6tables=false -s overlay2 >"$base/dockerd.log" 2>&1 &
    daemon=$!
    until "${docker[@]}" version >/dev/null 2>&1; do sleep 0.1; done
}
stop_daemon() {
    stop "$daemon"
    daemon=''
    umount -R "$base/dockers/overlay2" 2>/dev/null || true
}
# timed FILE COMMAND...: adds the seconds and the most memory in kB of one run.
timed() {
    local to=$1
    shift
    /usr/bin/time -a -o "$base/$to" -f '%e %M' "$@" >/dev/null
}
ours() { "$bin/layerfs" --root "$base/ours" "$@"; }
# The median of the first column, and the most of the second in MB.
median() { sort -n "$1" | awk '{ v[NR] = $1; if ($2 > most) most = $2 } END { printf "%s %d", v[int((NR + 1) / 2)], most / 1024 }'; }
row() { printf '| %s | %s |\n' "$1" "$(median "$base/$2" | sed 's/ / | /')"; }

"$bin/corpus" typical "$base/image.tar" --scale "$scale" 2>/dev/null
ours image load -q --no-sync -i "$base/image.tar" >/dev/null
loaded=$(ours image ls --format '{{.ID}}' | head -n 1)
ours tag "$loaded" "$image"

# Push: every time into an empty registry, from a store that remembers nothing.
start_daemon "$base/dockers"
"${docker[@]}" load -q -i "$base/image.tar" >/dev/null
"${docker[@]}" tag "$loaded" "$image"
rm "$base/image.tar"
for _ in $(seq "$runs"); do
    for who in fast default dockers; do
        rm -rf "$base/registry" "$base/ours/image/overlay2/distribution"
        start_registry "$base/registry"
        case $who in
        fast) timed push-fast "$bin/layerfs" --root "$base/ours" push -q --compress gzip=1 "$image" ;;
        default) timed push "$bin/layerfs" --root "$base/ours" push -q "$image" ;;
        dockers)
            # dockerd remembers as long as it runs, and what it remembers is not there.
            timed push-dockers "${docker[@]}" push -q "$image"
            ;;
        esac
        du -sb "$base/registry" | awk -v who="$who" '{ print who, $1 }' >>"$base/sizes"
        stop "$registry"
    done
done
start_registry "$base/registry"
skopeo --insecure-policy copy -q --src-tls-verify=false "docker://$image" "oci:$base/layout:1"
stop_daemon
rm -rf "$base/dockers" "$base/ours"

# start_proxy NAME BYTES: one that cuts each connection after so many; the name of the image there is left in the file NAME.image.
start_proxy() {
    python3 "$here/benches/cutting-proxy.py" "$port" "$2" >"$base/$1" &
    until [ -s "$base/$1" ]; do sleep 0.05; done
    echo "127.0.0.1:$(head -n 1 "$base/$1")/bench/image:1" >"$base/$1.image"
}
start_proxy uncut 0
uncut=$!
start_proxy cut 50000000
cut=$!
start_containerd() {
    printf 'version = 2\nroot = "%s"\nstate = "%s"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "%s"\n[ttrpc]\naddress = "%s"\n' \
        "$base/containerd" "$base/containerd-state" "$base/c.sock" "$base/c.sock.ttrpc" >"$base/containerd.toml"
    containerd -c "$base/containerd.toml" >"$base/containerd.log" 2>&1 &
    containerd=$!
    until ctr -a "$base/c.sock" version >/dev/null 2>&1; do sleep 0.1; done
}
has() { command -v "$1" >/dev/null; }

# Pull: every time into an empty store.
start_daemon "$base/dockers"
for _ in $(seq "$runs"); do
    rm -rf "$base/ours"
    timed pull "$bin/layerfs" --root "$base/ours" pull -q --no-sync "$image"
    timed present "$bin/layerfs" --root "$base/ours" pull -q "$image"
    rm -rf "$base/ours"
    timed unpack "$bin/layer-unpack" "$base/layout" --root "$base/ours" --no-sync -q
    for connection in uncut cut; do
        rm -rf "$base/ours"
        timed "pull-$connection" "$bin/layerfs" --root "$base/ours" pull -q --no-sync "$(cat "$base/$connection.image")"
    done
    rm -rf "$base/ours"
    timed pull-dockers "${docker[@]}" pull -q "$image"
    "${docker[@]}" rmi -f "$image" >/dev/null
    if has ctr && has containerd; then
        start_containerd
        timed pull-ctr ctr -a "$base/c.sock" image pull --plain-http "$image"
        stop "$containerd"
        containerd=''
        rm -rf "$base/containerd" "$base/containerd-state"
    fi
    if has podman; then
        podman=(env -u DOCKER_CONFIG podman --root "$base/podman" --runroot "$base/podman-run" --storage-driver overlay)
        timed pull-podman "${podman[@]}" pull -q --tls-verify=false "$image"
        "${podman[@]}" rmi -f "$image" >/dev/null
        umount "$base/podman/overlay" 2>/dev/null || true
        rm -rf "$base/podman" "$base/podman-run"
    fi
    if has umoci && has skopeo; then
        timed pull-umoci sh -c "skopeo --insecure-policy copy -q --src-tls-verify=false docker://$image oci:$base/umoci-layout:1 &&
            umoci unpack --image $base/umoci-layout:1 $base/umoci"
        rm -rf "$base/umoci-layout" "$base/umoci"
    fi
done
for connection in uncut cut; do
    kill "${!connection}" && wait "${!connection}" || true
    tail -n 1 "$base/$connection" | awk -v what="$connection" -v runs="$runs" '{ printf "through the proxy, %s: %d bytes and %d cuts a pull\n", what, $1 / runs, $2 / runs }' >>"$base/counts"
done
uncut='' cut=''
stop_daemon

echo "| work | seconds | MB |"
echo "|---|---|---|"
row "pull" pull
row "pull of a present image" present
row "layer-unpack of the same image as an OCI layout" unpack
row "pull through a proxy" pull-uncut
row "pull through a proxy that cuts each connection after 50 MB" pull-cut
row "docker pull (memory: the client's)" pull-dockers
for peer in ctr podman umoci; do
    [ ! -e "$base/pull-$peer" ] || row "$peer" "pull-$peer"
done
row "push" push
row "push --compress gzip=1" push-fast
row "docker push (memory: the client's)" push-dockers
awk '{ size[$1] = $2 } END { for (who in size) printf "registry after push, %s: %d bytes\n", who, size[who] }' "$base/sizes" | sort
cat "$base/counts"
