#!/usr/bin/env bash
# Installs the Debian packages that radstream needs and that are missing; does nothing when all are there.
set -euo pipefail

python=${PYTHON:-python3}
missing=()
need() { # PACKAGE CHECK...
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
program() { PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$1"; }

need python3 program "$python"
need python3-venv "$python" -c 'import ensurepip, venv'
need git program git
need default-jdk-headless program javac
need maven program mvn
need orthanc program Orthanc
need orthanc-dicomweb test -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so
need dcmtk program storescu
need docker-compose program docker-compose
need openssl program openssl

[ ${#missing[@]} -eq 0 ] && exit 0

echo "installing Debian packages: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
    echo "This is not a Debian system: install what corresponds to these packages, then try again." >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    root=()
elif command -v sudo >/dev/null; then
    root=(sudo)
else
    echo "Become root, or install sudo, or let somebody run: apt-get install ${missing[*]}" >&2
    exit 1
fi

# Debian starts a fresh Orthanc at once and at every boot, on the very port that ours takes: neither now nor later.
# An Orthanc that was here before is somebody's own and stays as it is.
policy=/usr/sbin/policy-rc.d
if [[ " ${missing[*]} " == *" orthanc "* ]] && [ ! -e "$policy" ]; then
    trap '"${root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
    "${root[@]}" chmod 755 "$policy"
fi

log=$(mktemp -t radstream-packages.XXXXXX)
apt() {
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@" </dev/null >>"$log" 2>&1 && return
    tail -n 20 "$log" >&2
    echo "apt-get $1 failed; all of its output: $log" >&2
    exit 1
}
apt update
apt install --yes --no-install-recommends "${missing[@]}"
rm -f "$log"

if [[ " ${missing[*]} " == *" orthanc "* ]]; then
    if command -v systemctl >/dev/null; then
        "${root[@]}" systemctl --quiet disable orthanc
    elif command -v update-rc.d >/dev/null; then
        "${root[@]}" update-rc.d orthanc disable
    fi
fi
