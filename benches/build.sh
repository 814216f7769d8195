#!/usr/bin/env bash
# Builds against docker's BuildKit and its classic builder, in turn, on tmpfs: a rebuild in which nothing changes, a COPY of many files, and
# ten commands. Usage: build.sh [RUNS] [FILES]     FILES is how many the context has, of 20 KB each.
# Prints rows for BENCHMARKS.md: medians of seconds, and the median of the ratios of each turn. Needs root and docker.io.
set -euo pipefail
runs=${1:-7} files=${2:-50000}
here=$(cd "$(dirname "$0")/.." && pwd)
bin=${LAYERFS_BIN:-$here/target/release}
[ "$(id -u)" = 0 ] || { echo "build.sh: run as root: it mounts, and starts a daemon" >&2; exit 2; }

base=$(mktemp -d)
daemon=
finish() {
    [ -z "$daemon" ] || { kill "$daemon" 2>/dev/null && wait "$daemon" || true; }
    umount "$base/exec/netns/default" 2>/dev/null || true
    umount -R --lazy "$base/t" 2>/dev/null || true
    rm -rf --one-file-system "$base"
}
trap finish EXIT
mkdir "$base/t"
mount -t tmpfs -o size=90%,nr_inodes=0 tmpfs "$base/t"
t=$base/t image=$here/testdata/goldens/busybox-20.10.tar
mkdir "$t/docker" "$t/ours" "$t/tmp" "$t/context" "$t/empty"
export TMPDIR=$t/tmp
DOCKER_TMPDIR=$t/tmp dockerd --data-root "$t/docker" --exec-root "$base/exec" -H "unix://$base/docker.sock" -p "$base/docker.pid" \
    --bridge=none --iptables=false --ip6tables=false -s overlay2 >"$base/dockerd.log" 2>&1 &
daemon=$!
docker="/usr/bin/docker -H unix://$base/docker.sock"
for _ in $(seq 300); do
    $docker version >/dev/null 2>&1 && break
    sleep 0.1
done
$docker load -q -i "$image" >/dev/null
"$bin/layer-unpack" --root "$t/ours" -q "$image" >/dev/null

# Twenty steps over a context of many files.
perl -e '
    my ($dir, $files) = @ARGV;
    my $text = join "", map { chr(32 + $_ % 90) } 1 .. 20000;
    for my $number (1 .. $files) {
        my $at = "$dir/" . int($number / 200);
        mkdir $at if $number % 200 == 0 || $number == 1;
        open my $file, ">", "$at/$number" or die "$at/$number: $!";
        print $file "$number\n$text";
    }
' "$t/context" "$files"
{ echo "FROM layerfs-test/busybox:1"; echo "COPY . /all"; for step in $(seq 9); do echo "RUN echo $step"; echo "ENV E$step=$step"; done; } >"$t/twenty"
printf 'FROM layerfs-test/busybox:1\nCOPY . /all\n' >"$t/copy"
{ echo "FROM layerfs-test/busybox:1"; for step in $(seq 10); do echo "RUN true $step"; done; } >"$t/ten"

ours="$bin/layerfs --root $t/ours build --network host"
kit="env DOCKER_BUILDKIT=1 $docker build --network host"
classic="env DOCKER_BUILDKIT=0 $docker build --network host"
seconds() {
    local begin end
    begin=$(date +%s%N)
    bash -c "$1" >"$base/said" 2>&1 || { cat "$base/said" >&2; exit 1; }
    end=$(date +%s%N)
    awk -v took=$((end - begin)) 'BEGIN { printf "%.3f ", took / 1e9 }'
}
# What the builders know of earlier files and steps goes.
forget() {
    $docker builder prune -af >/dev/null
    "$bin/layerfs" --root "$t/ours" image prune -f >/dev/null
}
# turns TITLE PREPARE NAMES LINE...: each line in turn, ours first.
turns() {
    local title=$1 prepare=$2 names=$3 line
    shift 3
    for _ in $(seq "$runs"); do
        for line in "$@"; do
            $prepare
            seconds "$line"
        done
        echo
    done | awk -v title="$title" -v names="$names" '
        function median(list, n,    i, j, x) {
            for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (list[j] < list[i]) { x = list[i]; list[i] = list[j]; list[j] = x }
            return list[int((n + 1) / 2)]
        }
        { for (c = 1; c <= NF; c++) { time[c, NR] = $c; ratio[c, NR] = $c / $1 } columns = NF }
        END {
            split(names, name, ";")
            for (r = 1; r <= NR; r++) ours[r] = time[1, r]
            for (c = 2; c <= columns; c++) {
                for (r = 1; r <= NR; r++) { x[r] = time[c, r]; q[r] = ratio[c, r] }
                printf "| %s | %s | %.2f s | %.2f s | %.1f times |\n", title, name[c - 1], median(ours, NR), median(x, NR), median(q, NR)
            }
        }'
}
seconds "$ours -f $t/twenty $t/context" >/dev/null
seconds "$kit -f $t/twenty $t/context" >/dev/null
turns "20 steps again, nothing changed, context of $files files" true BuildKit "$ours -f $t/twenty $t/context" "$kit -f $t/twenty $t/context"
turns "\`COPY\` of $files files" forget BuildKit "$ours --no-cache -f $t/copy $t/context" "$kit --no-cache -f $t/copy $t/context"
turns "ten times \`RUN true\`" true "BuildKit;classic builder" "$ours --no-cache -f $t/ten $t/empty" "$kit --no-cache -f $t/ten $t/empty" "$classic --no-cache -f $t/ten $t/empty"
turns "ten times \`RUN true\`, \`--classic\`" true "classic builder" "$ours --classic --no-cache -f $t/ten $t/empty" "$classic --no-cache -f $t/ten $t/empty"
