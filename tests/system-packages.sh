#!/usr/bin/env bash
# Installs the Debian packages that optional tests use: real registries, engines, databases, a browser. Needs root and
# apt; without them it says so, and those tests are skipped with their reason. Never fails.
set -uo pipefail
packages=(busybox-static chromium containernetworking-plugins docker.io docker-registry iproute2 nftables postgresql)
packages+=(prometheus redis-server skopeo)
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "no apt-get as root here: tests that use ${packages[*]} are skipped where those are missing"
    exit 0
fi
missing=()
for package in "${packages[@]}"; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ "${#missing[@]}" -eq 0 ] && exit 0
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# The tests start what they need themselves, on ports of their own: no package may start its service.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get -qq update >/dev/null 2>&1 || echo "warning: apt-get update failed" >&2
for package in "${missing[@]}"; do
    apt-get -qq install --no-install-recommends -y "$package" >/dev/null 2>&1 ||
        echo "warning: $package could not be installed; tests that use it are skipped" >&2
done
exit 0
