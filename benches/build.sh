#!/usr/bin/env bash
# Builds against docker's BuildKit and its classic builder, in turn, on tmpfs: a rebuild in which nothing changes, a COPY of many files,
# ten commands, and an image with what apt and pip install. Usage: build.sh [RUNS] [FILES] [WORK]
# FILES is how many the context has, of 20 KB each; WORK is one of these alone: again, copy, commands, python.
# Prints rows for BENCHMARKS.md: medians of seconds, and the median of the ratios of each turn. Needs root and docker.io.
set -euo pipefail
runs=${1:-7} files=${2:-50000} work=${3:-all}
does() { [ "$work" = all ] || [ "$work" = "$1" ]; }
# shellcheck source=benches/lib.sh
. "$(dirname "$0")/lib.sh"
room 90
image=$here/testdata/goldens/busybox-20.10.tar
mkdir "$t/docker" "$t/ours" "$t/tmp" "$t/context" "$t/empty"
export TMPDIR=$t/tmp
start_dockerd docker "$t/docker"
docker=$(docker_of docker)
$docker load -q -i "$image" >/dev/null
"$bin/layer-unpack" --root "$t/ours" -q "$image" >/dev/null

# Twenty steps over a context of many files.
does again || does copy || files=1
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
# What the builders know of earlier files and steps goes.
forget() {
    $docker builder prune -af >/dev/null
    "$bin/layerfs" --root "$t/ours" image prune -f >/dev/null
}
if does again; then
    seconds "$ours -f $t/twenty $t/context" >/dev/null
    seconds "$kit -f $t/twenty $t/context" >/dev/null
    turns "$runs" "20 steps again, nothing changed, context of $files files" true BuildKit "$ours -f $t/twenty $t/context" "$kit -f $t/twenty $t/context"
fi
if does copy; then
    turns "$runs" "\`COPY\` of $files files" forget BuildKit "$ours --no-cache -f $t/copy $t/context" "$kit --no-cache -f $t/copy $t/context"
fi
if does commands; then
    turns "$runs" "ten times \`RUN true\`" true "BuildKit;classic builder" "$ours --no-cache -f $t/ten $t/empty" "$kit --no-cache -f $t/ten $t/empty" "$classic --no-cache -f $t/ten $t/empty"
    turns "$runs" "ten times \`RUN true\`, \`--classic\`" true "classic builder" "$ours --classic --no-cache -f $t/ten $t/empty" "$classic --no-cache -f $t/ten $t/empty"
fi
if does python; then
    sh "$here/testdata/dockerfiles/systems.sh" "$t/system.tar" "$t/projects"
    awk '/^#### / { on = $2 == "python"; next } on' "$here/testdata/dockerfiles/systems.txt" >"$t/python"
    "$bin/layerfs" --root "$t/ours" image import "$t/system.tar" layerfs-test/system:1 >/dev/null
    "$bin/layerfs" --root "$t/ours" image save -o "$t/system-image.tar" layerfs-test/system:1
    $docker load -q -i "$t/system-image.tar" >/dev/null
    turns "$runs" "a Python image with apt and pip" true BuildKit "$ours --no-cache -f $t/python $t/projects/python" "$kit --no-cache -f $t/python $t/projects/python"
fi
