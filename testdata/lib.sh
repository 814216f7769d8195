# Sourced by the scripts here: scratch directory, private dockerd, apt helpers.
# shellcheck shell=bash disable=SC2016

# The distribution's client: other installations may put a newer one first in PATH.
DOCKER_BIN=${DOCKER_BIN:-/usr/bin/docker}
# Data roots need a filesystem overlayfs accepts as upper layer (ext4, xfs, tmpfs).
umask 022
export PYTHONDONTWRITEBYTECODE=1
WORK=$(mktemp -d "${TMPDIR:-/tmp}/golden-XXXXXX")
DAEMONS=()

die() { echo "${0##*/}: $*" >&2; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "must run as root (dockerd, mknod, chown)"; }

need() { local c; for c; do command -v "$c" >/dev/null || die "$c is not installed"; done; }

# start_daemon NAME [DOCKERD-COMMAND...] : private daemon with its root in $WORK/NAME.
# Without bridge and iptables it needs no network and does not disturb another daemon.
start_daemon() {
    local dir=$WORK/$1 i; shift
    local cmd=("${@:-dockerd}")
    mkdir -p "$dir"
    "${cmd[@]}" --data-root "$dir/data" --exec-root "$dir/exec" -H "unix://$dir/d.sock" \
        -p "$dir/d.pid" --bridge=none --iptables=false --ip6tables=false \
        -s overlay2 >>"$dir/d.log" 2>&1 </dev/null &
    DAEMONS+=("$dir")
    for i in $(seq 150); do
        "$DOCKER_BIN" -H "unix://$dir/d.sock" version >/dev/null 2>&1 && return
        sleep 0.2
    done
    tail -n 20 "$dir/d.log" >&2
    die "dockerd did not come up in $dir (waited $((i / 5)) s)"
}

# dk NAME ARGS... : docker client talking to that daemon.
dk() { local name=$1; shift; DOCKER_BUILDKIT=0 "$DOCKER_BIN" -H "unix://$WORK/$name/d.sock" "$@"; }

# stop_daemon NAME : end it by its own pid file, undo its mounts, drop its root.
stop_daemon() {
    local dir=$WORK/$1 pid m
    if [ -s "$dir/d.pid" ]; then
        pid=$(cat "$dir/d.pid")
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
        ! kill -0 "$pid" 2>/dev/null || die "dockerd $pid does not end"
    fi
    # dockerd bind-mounts its root on itself and may leave that mount behind.
    while read -r m; do
        umount -R "$m" 2>/dev/null || true
    done < <(awk -v p="$dir/" 'index($2, p) == 1 { print $2 }' /proc/self/mounts | sort -r)
    rm -rf "$dir"
}

cleanup() {
    local rc=$? dir
    trap - EXIT
    for dir in "${DAEMONS[@]}"; do
        [ ! -d "$dir" ] || (stop_daemon "${dir##*/}") || true
    done
    rm -rf "$WORK"
    exit "$rc"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The Debian archive this machine's apt uses (main component), read at run time.
apt_mirror() {
    local suite=$1 uri
    uri=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)' \
        'Created-By: Packages' | awk -v s="$suite" \
        '$2 == s && $3 == "main" && $4 == "Debian" { print $1; exit }')
    [ -n "$uri" ] || die "apt has no index of Debian $suite main; run apt-get update"
    echo "${uri%/}"
}

# fetch_debs DIR PACKAGE... : download (not install) packages.
fetch_debs() {
    local dir=$1; shift
    mkdir -p "$dir"
    (cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download "$@")
}

# unpack_debs TREE DEB... : unpack packages below TREE, then apply the merged /usr of
# Debian, because COPY refuses to put a directory over the symlink /lib of the base image.
unpack_debs() {
    local tree=$1 deb d; shift
    mkdir -p "$tree"
    for deb; do dpkg-deb -x "$deb" "$tree"; done
    for d in bin sbin lib lib32 lib64 libx32; do
        if [ ! -d "$tree/$d" ] || [ -L "$tree/$d" ]; then continue; fi
        mkdir -p "$tree/usr/$d"
        cp -a --link "$tree/$d/." "$tree/usr/$d/"
        rm -rf "${tree:?}/$d"
    done
}

# fetch_debs_of SUITE DIR PACKAGE... : the same from another suite of the same archive,
# with apt state of its own so that the machine's lists and packages stay as they are.
fetch_debs_of() {
    local suite=$1 dir=$2 apt=$WORK/apt-$1; shift 2
    mkdir -p "$dir" "$apt/state/lists/partial" "$apt/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "$(apt_mirror "$(. /etc/os-release && echo "$VERSION_CODENAME")") $suite main" >"$apt/list"
    local options=(-qq -o Dir::Etc::sourcelist="$apt/list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State="$apt/state" -o Dir::State::status=/dev/null -o Dir::Cache="$apt/cache"
        -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update
    (cd "$dir" && apt-get "${options[@]}" download "$@")
}
