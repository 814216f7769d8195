#!/usr/bin/env bash
# Newer Docker engines beside the system's: Debian's packages of later releases, unpacked into DIR/<release>, never installed.
#
#     tools/engines.sh DIR
#
# The mirror is the one that the system's own apt uses, with a configuration, lists and a cache in DIR alone. Programs that need a
# newer C library than the system's (runc) are left out: the system's do.
set -euo pipefail

dir=${1:?a directory to put them in}
releases=(trixie sid)
packages=(docker.io docker-cli containerd)
# The client's plugin buildx, of the newest release only.
plugin=usr/libexec/docker/cli-plugins/docker-buildx
more() { [ "$1" != sid ] || echo docker-buildx; }

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
missing=()
for release in "${releases[@]}"; do
    [ -x "$dir/$release/usr/sbin/dockerd" ] && { [ -z "$(more "$release")" ] || [ -x "$dir/$release/$plugin" ]; } || missing+=("$release")
done
[ ${#missing[@]} -gt 0 ] || exit 0

# shellcheck source=/dev/null
. /etc/os-release
mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $VERSION_CODENAME" 'Component: main' | head -n 1
}
# Where apt's lists were cleaned away it does not know its own mirror.
[ -n "$(mirror)" ] || apt-get -qq update
mirror=$(mirror)
[ -n "$mirror" ] || { echo "engines.sh: apt has no source for Debian $VERSION_CODENAME" >&2; exit 1; }
keys=/usr/share/keyrings/debian-archive-keyring.gpg

apt=$dir/apt
rm -rf "$apt"
mkdir -p "$apt"/{lists,cache/archives}/partial
printf "deb [signed-by=$keys] %s %s main\n" $(for release in "${missing[@]}"; do echo "$mirror $release"; done) >"$apt/sources"
cat >"$apt/conf" <<CONF
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "/dev/null";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources";
Dir::Etc::sourceparts "-";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
CONF
export APT_CONFIG=$apt/conf
apt-get -qq update
for release in "${missing[@]}"; do
    new=$dir/.new-$release
    rm -rf "$new"
    mkdir -p "$new/debs"
    mapfile -t names < <(printf '%s\n' "${packages[@]}"; more "$release")
    (cd "$new/debs" && apt-get -qq download "${names[@]/%//$release}")
    for package in "$new"/debs/*.deb; do
        dpkg-deb -x "$package" "$new"
    done
    # What no test runs.
    rm -rf "$new"/{debs,etc,lib,usr/share,usr/lib/containerd,usr/bin/ctr,usr/bin/containerd-shim-runc-v1}
    rm -rf "${dir:?}/$release"
    mv "$new" "$dir/$release"
done
rm -rf "$apt"
