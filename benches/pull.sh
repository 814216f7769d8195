#!/usr/bin/env bash
# Pull and push against dockerd, on tmpfs with Debian's docker-registry on the loopback interface, in turn. Rows for BENCHMARKS.md:
# medians in seconds, and the most memory of ours in MB. Of ctr, podman, and umoci after skopeo, those that are installed take part.
# Usage: pull.sh [RUNS] [SCALE]     Needs root, dockerd, docker-registry, skopeo, python3, and before:
# cargo build --release -p tools -p benches --bin layerfs --bin layer-unpack --bin corpus
set -euo pipefail
runs=${1:-7} scale=${2:-1}
# shellcheck source=benches/lib.sh
. "$(dirname "$0")/lib.sh"
room 85
export DOCKER_CONFIG=$base/no-config TMPDIR=$t

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
image=127.0.0.1:$port/bench/image:1
docker="$(docker_of docker)"

start_registry() {
    printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$1" "$port" >"$base/config.yml"
    docker-registry serve "$base/config.yml" >"$base/registry.log" 2>&1 &
    processes[registry]=$!
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.05; done
}
ours() { "$bin/layerfs" --root "$t/ours" "$@"; }
row() { printf '| %s | %s |\n' "$1" "$(middle "$base/$2" | sed 's/ / | /')"; }

"$bin/corpus" typical "$t/image.tar" --scale "$scale" 2>/dev/null
ours image load -q --no-sync -i "$t/image.tar" >/dev/null
loaded=$(ours image ls --format '{{.ID}}' | head -n 1)
ours tag "$loaded" "$image"

# Push: every time into an empty registry, from a store that remembers nothing.
start_dockerd docker "$t/dockers"
$docker load -q -i "$t/image.tar" >/dev/null
$docker tag "$loaded" "$image"
rm "$t/image.tar"
for _ in $(seq "$runs"); do
    for who in fast default dockers; do
        rm -rf "$t/registry" "$t/ours/image/overlay2/distribution"
        start_registry "$t/registry"
        case $who in
        fast) timed "$base/push-fast" "$bin/layerfs" --root "$t/ours" push -q --compress gzip=1 "$image" ;;
        default) timed "$base/push" "$bin/layerfs" --root "$t/ours" push -q "$image" ;;
        dockers)
            # dockerd remembers as long as it runs, and what it remembers is not there.
            timed "$base/push-dockers" $docker push -q "$image"
            ;;
        esac
        du -sb "$t/registry" | awk -v who="$who" '{ print who, $1 }' >>"$base/sizes"
        stop registry
    done
done
start_registry "$t/registry"
skopeo --insecure-policy copy -q --src-tls-verify=false "docker://$image" "oci:$t/layout:1"
stop docker
rm -rf "$t/dockers" "$t/ours"

# start_proxy NAME BYTES: one that cuts each connection after so many; the name of the image there is left in the file NAME.image.
start_proxy() {
    python3 "$here/benches/cutting-proxy.py" "$port" "$2" >"$base/$1" &
    processes[$1]=$!
    until [ -s "$base/$1" ]; do sleep 0.05; done
    echo "127.0.0.1:$(head -n 1 "$base/$1")/bench/image:1" >"$base/$1.image"
}
start_proxy uncut 0
start_proxy cut 50000000
start_containerd() {
    printf 'version = 2\nroot = "%s"\nstate = "%s"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "%s"\n[ttrpc]\naddress = "%s"\n' \
        "$t/containerd" "$t/containerd-state" "$base/c.sock" "$base/c.sock.ttrpc" >"$base/containerd.toml"
    containerd -c "$base/containerd.toml" >"$base/containerd.log" 2>&1 &
    processes[containerd]=$!
    until ctr -a "$base/c.sock" version >/dev/null 2>&1; do sleep 0.1; done
}
has() { command -v "$1" >/dev/null; }

# Pull: every time into an empty store.
start_dockerd docker "$t/dockers"
for _ in $(seq "$runs"); do
    rm -rf "$t/ours"
    timed "$base/pull" "$bin/layerfs" --root "$t/ours" pull -q --no-sync "$image"
    timed "$base/present" "$bin/layerfs" --root "$t/ours" pull -q "$image"
    rm -rf "$t/ours"
    timed "$base/unpack" "$bin/layer-unpack" "$t/layout" --root "$t/ours" --no-sync -q
    for connection in uncut cut; do
        rm -rf "$t/ours"
        timed "$base/pull-$connection" "$bin/layerfs" --root "$t/ours" pull -q --no-sync "$(cat "$base/$connection.image")"
    done
    rm -rf "$t/ours"
    timed "$base/pull-dockers" $docker pull -q "$image"
    $docker rmi -f "$image" >/dev/null
    if has ctr && has containerd; then
        start_containerd
        timed "$base/pull-ctr" ctr -a "$base/c.sock" image pull --plain-http "$image"
        stop containerd
        rm -rf "$t/containerd" "$t/containerd-state"
    fi
    if has podman; then
        podman=(env -u DOCKER_CONFIG podman --root "$t/podman" --runroot "$t/podman-run" --storage-driver overlay)
        timed "$base/pull-podman" "${podman[@]}" pull -q --tls-verify=false "$image"
        "${podman[@]}" rmi -f "$image" >/dev/null
        umount "$t/podman/overlay" 2>/dev/null || true
        rm -rf "$t/podman" "$t/podman-run"
    fi
    if has umoci && has skopeo; then
        timed "$base/pull-umoci" sh -c "skopeo --insecure-policy copy -q --src-tls-verify=false docker://$image oci:$t/umoci-layout:1 &&
            umoci unpack --image $t/umoci-layout:1 $t/umoci"
        rm -rf "$t/umoci-layout" "$t/umoci"
    fi
done
for connection in uncut cut; do
    stop "$connection"
    tail -n 1 "$base/$connection" | awk -v what="$connection" -v runs="$runs" '{ printf "through the proxy, %s: %d bytes and %d cuts a pull\n", what, $1 / runs, $2 / runs }' >>"$base/counts"
done
stop docker

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
