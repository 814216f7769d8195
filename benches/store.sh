#!/usr/bin/env bash
# What listings cost on stores of many images, on tmpfs, warm: a table of medians in seconds, and the memory of the largest.
# Usage: store.sh [RUNS] [IMAGES...]     Needs `cargo build --release -p tools -p snapshot --bins --example big-store` before, and root.
set -euo pipefail
runs=${1:-5}
shift || true
sizes=("${@:-100 1000 5000}")
# shellcheck disable=SC2206 # the default is a list in one word
sizes=(${sizes[*]})
# shellcheck source=benches/lib.sh
. "$(dirname "$0")/lib.sh"
room 80

for size in "${sizes[@]}"; do
    "$bin/examples/big-store" "$t/$size" "$size" 200
done

# measure COMMAND...: the median of RUNS, and the most memory.
measure() {
    rm -f "$base/times"
    for _ in $(seq "$runs"); do timed "$base/times" "$@" || true; done
    middle "$base/times" | sed 's/ / s, /; s/$/ MB/'
}

printf '| command |'
printf ' %s images |' "${sizes[@]}"
printf '\n|---|'
printf -- '---|%.0s' "${sizes[@]}"
printf '\n'
row() {
    printf '| `%s` |' "$1"
    shift
    for size in "${sizes[@]}"; do
        printf ' %s |' "$(measure "${@//ROOT/$t/$size}")"
    done
    printf '\n'
}
row "image ls" "$bin/layerfs" --root ROOT image ls
row "image tree" "$bin/layerfs" --root ROOT image tree
row "container ls -a" "$bin/layerfs" --root ROOT container ls -a
row "system df" "$bin/layerfs" --root ROOT system df
row "system owner" "$bin/layerfs" --root ROOT system owner big/app3:1
row "image inspect" "$bin/layerfs" --root ROOT image inspect big/app3:1
row "image history" "$bin/layerfs" --root ROOT image history big/app3:1
row "image-gc" "$bin/image-gc" --root ROOT
row "system check" "$bin/layerfs" --root ROOT system check
row "image-du --threads 1" "$bin/image-du" --root ROOT --threads 1
row "image-du --threads 2" "$bin/image-du" --root ROOT --threads 2
row "du -s" du -s ROOT
