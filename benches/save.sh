#!/usr/bin/env bash
# Getting images out of a store, against docker and against tar: save, export, commit, diff and single files, in turn, on tmpfs.
# Usage: save.sh [RUNS] [SCALE] [ROW...]     SCALE is the corpus's: 1 is an image of 1.5 GB. Rows: save gzip export commit diff cat memory.
# Prints rows for BENCHMARKS.md: medians of seconds, and the median of the ratios of each turn.
set -euo pipefail
runs=${1:-7} scale=${2:-1}
shift $(($# < 2 ? $# : 2))
rows=${*:-save gzip export commit diff cat memory}
# shellcheck source=benches/lib.sh
. "$(dirname "$0")/lib.sh"
room 90
root=$t/root
layerfs="$bin/layerfs --root $root"
docker=$(docker_of docker)
start() { start_dockerd docker "$root"; }
nothing() { rm -rf "$t/out" "$t/out1" "$t/out2"; }

# wants ROW...: whether one of these rows is wanted.
wants() {
    local row
    for row in "$@"; do case " $rows " in *" $row "*) return 0 ;; esac; done
    return 1
}

"$bin/corpus" typical "$t/archive.tar" --scale "$scale"
"$bin/layer-unpack" --quiet --no-sync --root "$root" "$t/archive.tar" >/dev/null
image=$($layerfs image ls -q | head -n 1)
image=$($layerfs image inspect --format '{{index .RepoTags 0}}' "$image")
rm "$t/archive.tar"
echo "| work | against | ours | theirs | median of each turn's ratio |"
echo "|---|---|---:|---:|---:|"

if wants save gzip; then
    start
    # The layers' own directories, as paths below the root.
    dirs=$(cd "$root/overlay2" && ls -d [0-9a-f]*/diff | tr '\n' ' ')
    if wants save; then
        turns "$runs" "save to a file" nothing "docker save;tar cf of the layers' directories" \
            "$layerfs save -q -o $t/out $image" "$docker save -o $t/out $image" "tar -C $root/overlay2 -cf $t/out $dirs"
    fi
    if wants gzip; then
        turns "$runs" "save with gzip layers" nothing "docker save piped to pigz" \
            "$layerfs save -q --compress gzip -o $t/out $image" "$docker save $image | pigz >$t/out"
        $layerfs save -q --compress gzip -o "$t/out1" "$image"
        $docker save "$image" | pigz >"$t/out2"
        echo "sizes: ours $(stat -c %s "$t/out1"), pigz $(stat -c %s "$t/out2")"
    fi
    nothing
    stop docker
fi

if wants export; then
    start
    container=$($docker create "$image" sh)
    $layerfs export "$container" | tar -C "$(mkdir "$t/merged" && echo "$t/merged")" -xf -
    turns "$runs" "export" nothing "docker export;tar cf of the merged tree" \
        "$layerfs export -o $t/out $container" "$docker export -o $t/out $container" "tar -C $t/merged -cf $t/out ."
    $docker rm "$container" >/dev/null
    stop docker
    rm -rf "$t/merged"
fi

if wants diff commit; then
    mkdir -p "$t/app"
    # 20,000 files of 300 MB: each is a piece of a stream of bytes that do not repeat.
    openssl enc -aes-128-ctr -pass pass:layerfs -nosalt -in /dev/zero 2>/dev/null | head -c 300000000 >"$t/bytes" || true
    for dir in $(seq 200); do mkdir "$t/app/d$dir"; done
    (cd "$t/app" && split -b 15000 -a 5 -d "$t/bytes" f && for dir in $(seq 0 199); do
        printf -v from '%05d' $((dir * 100))
        mv $(seq -f 'f%05.0f' "$((10#$from))" "$((10#$from + 99))") "d$((dir + 1))/"
    done)
    rm "$t/bytes"
fi

if wants commit; then
    start
    container=$($docker create "$image" sh)
    $docker cp "$t/app" "$container:/app"
    stop docker
    for _ in $(seq "$runs"); do
        seconds "$layerfs commit --no-sync $container ours:1"
        $layerfs image rm -f ours:1 >/dev/null
        seconds "$layerfs commit $container ours:1"
        $layerfs image rm -f ours:1 >/dev/null
        start
        seconds "$docker commit $container theirs:1"
        $docker rmi theirs:1 >/dev/null
        stop docker
        echo
    done >"$base/turns"
    table "commit of 20,000 new files, 300 MB" "layerfs commit, which waits for the disk;docker commit" <"$base/turns"
    start
    $docker rm "$container" >/dev/null
    stop docker
fi

if wants diff; then
    start
    container=$($docker create "$image" sh)
    $docker cp "$t/app" "$container:/app"
    $docker commit "$container" app:1 >/dev/null
    $docker rm "$container" >/dev/null
    # Every tenth file changes, and some go.
    find "$t/app" -type f -name '*7' -exec sh -c 'for file; do echo changed >>"$file"; done' _ {} +
    find "$t/app" -type f -name '*33' -delete
    container=$($docker create "$image" sh)
    $docker cp "$t/app" "$container:/app"
    $docker commit "$container" app:2 >/dev/null
    $docker rm "$container" >/dev/null
    stop docker
    for n in 1 2; do $layerfs image export -o "$t/app$n.tar" app:$n; done
    turns "$runs" "diff of two images with a common base" nothing "tar x of both, diff -r" "$layerfs image diff app:1 app:2" \
        "mkdir $t/out1 $t/out2; tar -C $t/out1 -xf $t/app1.tar; tar -C $t/out2 -xf $t/app2.tar; diff -r --no-dereference $t/out1 $t/out2 || [ \$? -lt 3 ]"
    rm "$t"/app?.tar
    nothing
fi
rm -rf "$t/app"

if wants cat; then
    $layerfs save -q -o "$t/plain.tar" "$image"
    # A large file of the largest layer, near its end.
    layer=$(tar -tvf "$t/plain.tar" | sort -k3n | tail -n 1 | awk '{ print $6 }')
    file=$(tar -xOf "$t/plain.tar" "$layer" | tar -tvf - | awk '$1 ~ /^-/ && $3 > 10000' | tail -n 100 | head -n 1 | awk '{ print $6 }')
    turns "$runs" "cat of a file from a plain archive" nothing "tar xO of the layer, tar xO of the file" \
        "$layerfs image cat --archive $t/plain.tar $image $file" "tar -xOf $t/plain.tar $layer | tar -xOf - $file"
    cmp <($layerfs image cat --archive "$t/plain.tar" "$image" "$file") <(tar -xOf "$t/plain.tar" "$layer" | tar -xOf - "$file")
    rm "$t/plain.tar"
fi

if wants memory; then
    # peak LINE: the most anonymous memory of a process, in MB, as the kernel counts it at moments a hundredth of a second apart.
    peak() {
        $1 >/dev/null &
        local pid=$! most=0 now
        while [ -e "/proc/$pid" ]; do
            now=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
            [ "${now:-0}" -le "$most" ] || most=$now
            sleep 0.01
        done
        wait "$pid"
        echo "$((most / 1000)) MB"
    }
    nothing
    echo "peak memory: save $(peak "$layerfs save -q -o $t/out $image")," \
        "gzip $(peak "$layerfs save -q --compress gzip -o $t/out $image")," \
        "zstd $(peak "$layerfs save -q --compress zstd -o $t/out $image")," \
        "export $(peak "$layerfs image export -o $t/out $image")," \
        "flatten $(peak "$layerfs image flatten $image -t flat")," \
        "diff $(peak "$layerfs image diff $image flat")"
fi
