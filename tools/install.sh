#!/bin/sh
# install.sh DIR PREFIX: installs the programs in DIR, and the manual pages and completions that they print.
set -eu
dir=$1 prefix=$2
generated=$(mktemp -d)
trap 'rm -rf "$generated"' EXIT
for program in layer-unpack layerfs image-du image-gc layer-run; do
    install -D -m 755 "$dir/$program" "$prefix/bin/$program"
    for kind in man bash zsh fish; do
        "$dir/$program" --generate "$kind" > "$generated/$kind"
    done
    install -D -m 644 "$generated/man" "$prefix/share/man/man1/$program.1"
    install -D -m 644 "$generated/bash" "$prefix/share/bash-completion/completions/$program"
    install -D -m 644 "$generated/zsh" "$prefix/share/zsh/site-functions/_$program"
    install -D -m 644 "$generated/fish" "$prefix/share/fish/vendor_completions.d/$program.fish"
done
