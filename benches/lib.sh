# shellcheck shell=bash
# What the benchmarks share: a room of their own, daemons, times, medians and tables. Sourced, not run.
#
# here       the project
# bin        the directory of the programs that are measured (LAYERFS_BIN, or those of a release build)
# base, t    after `room`: a directory of the benchmark's own, and a tmpfs in it

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${LAYERFS_BIN:-$here/target/release}

# die WORDS...: says what is wrong, and ends with status 2.
die() {
    echo "${0##*/}: $*" >&2
    exit 2
}

# room PERCENT: makes $base, and in it $t, a tmpfs of so much of the memory. At the end they go, with all that was started.
room() {
    [ "$(id -u)" = 0 ] || die "run as root: it mounts"
    base=$(mktemp -d)
    t=$base/t
    mkdir "$t"
    trap leave EXIT
    mount -t tmpfs -o "size=$1%,nr_inodes=0" tmpfs "$t"
}

leave() {
    stop "${!processes[@]}"
    # Stopped half way, what was running may still be in there: a mount goes with the last one that leaves.
    awk -v base="$base/" 'index($5, base) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mounted; do
        umount --lazy "$mounted"
    done
    rm -rf --one-file-system "$base"
}

# What was started, by name.
declare -A processes=()

# stop NAME...: ends what was started under these names, and waits for its end.
stop() {
    local name
    for name; do
        [ -n "${processes[$name]:-}" ] || continue
        kill "${processes[$name]}" 2>/dev/null || true
        wait "${processes[$name]}" || true
        unset "processes[$name]"
    done
}

# start_dockerd NAME ROOT [FLAG...]: a daemon with a socket and directories of its own, which knows nothing of the machine's settings.
# `docker_of NAME` are the words that ask it.
start_dockerd() {
    local name=$1 root=$2
    shift 2
    [ $# -gt 0 ] || set -- --storage-driver=overlay2
    mkdir -p "$t/dockertmp"
    echo '{}' >"$base/daemon.json"
    # What the daemon writes besides goes to the tmpfs, too.
    DOCKER_TMPDIR=$t/dockertmp dockerd --data-root "$root" --exec-root "$base/$name.exec" -H "unix://$base/$name.sock" \
        -p "$base/$name.pid" --config-file "$base/daemon.json" --bridge=none --iptables=false --ip6tables=false "$@" \
        >"$base/$name.log" 2>&1 &
    processes[$name]=$!
    for _ in $(seq 300); do
        $(docker_of "$name") version >/dev/null 2>&1 && return
        sleep 0.1
    done
    cat "$base/$name.log" >&2
    die "dockerd does not start"
}

# docker_of NAME: the client of the daemon of this name. A newer one that comes first on the PATH is not meant, but that of `dockerd`.
docker_of() { echo "$(dirname "$(command -v dockerd)" | sed 's/sbin$/bin/')/docker -H unix://$base/$1.sock"; }

# seconds LINE: runs a line of the shell; prints how long it took, and what it said only if it fails.
seconds() {
    local begin end
    begin=$(date +%s%N)
    bash -o pipefail -c "$1" >"$base/said" 2>&1 || { cat "$base/said" >&2; die "failed: $1"; }
    end=$(date +%s%N)
    awk -v took=$((end - begin)) 'BEGIN { printf "%.4f ", took / 1e9 }'
}

# timed FILE COMMAND...: adds the seconds and the most memory, in kB, of one run to a file.
timed() {
    local file=$1
    shift
    /usr/bin/time -q -a -o "$file" -f '%e %M' "$@" >/dev/null
}

# middle FILE: of lines as `timed` adds them, the median of the seconds and the most memory, in MB.
middle() { sort -n "$1" | awk '{ v[NR] = $1; if ($2 > most) most = $2 } END { printf "%s %d\n", v[int((NR + 1) / 2)], most / 1024 }'; }

# A function of awk.
median='function median(list, n,    i, j, x) {
    for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (list[j] < list[i]) { x = list[i]; list[i] = list[j]; list[j] = x }
    return list[int((n + 1) / 2)]
}'

# table TITLE NAMES: rows of a table. Standard input has a line a turn, and a column a program, ours the first one; NAMES are those of
# the others, with `;` between them. A row has the two medians, and the median of the ratios of each turn, both ways.
table() {
    awk -v title="$1" -v names="$2" "$median"'
        { columns = NF; for (c = 1; c <= NF; c++) { time[c, NR] = $c; ratio[c, NR] = $c / $1 } }
        END {
            split(names, name, ";")
            for (r = 1; r <= NR; r++) ours[r] = time[1, r]
            for (c = 2; c <= columns; c++) {
                for (r = 1; r <= NR; r++) { x[r] = time[c, r]; q[r] = ratio[c, r] }
                printf "| %s | %s | %.3f s | %.3f s | %.2f times as fast, %.2f of its time |\n", title, name[c - 1], median(ours, NR), median(x, NR), median(q, NR), 1 / median(q, NR)
            }
        }'
}

# turns RUNS TITLE PREPARE NAMES LINE...: runs each line in turn, ours first, each after PREPARE; prints the rows of their table.
turns() {
    local runs=$1 title=$2 prepare=$3 names=$4 line
    shift 4
    for _ in $(seq "$runs"); do
        for line in "$@"; do
            $prepare
            seconds "$line"
        done
        echo
    done >"$base/turns"
    table "$title" "$names" <"$base/turns"
}
