# shellcheck shell=bash
# Sourced by tools/demo and tools/test: what a fresh Debian machine needs before Sluice builds and
# runs there. Every step looks first, says what it does when it does something, and is silent else.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=$ROOT/.cache
VENV=$CACHE/venv
PYTHON=$VENV/bin/python

# One file that runs on every distribution and in an empty image: the release is linked statically. All
# tests of a release build run on what is shipped.
RELEASE=(-c release --static-swift-stdlib -Xswiftc -static-executable)

# Package and one file that proves it is there.
PACKAGES=(
    iproute2:/usr/sbin/ip:/sbin/ip
    netcat-openbsd:/usr/bin/nc.openbsd:/bin/nc.openbsd
    iputils-ping:/usr/bin/ping:/bin/ping
    iperf3:/usr/bin/iperf3
    curl:/usr/bin/curl
    tcpdump:/usr/bin/tcpdump:/usr/sbin/tcpdump
    tshark:/usr/bin/tshark
    prometheus:/usr/bin/promtool
    libnuma-dev:/usr/include/numa.h
    pkg-config:/usr/bin/pkg-config
    ethtool:/usr/sbin/ethtool:/sbin/ethtool
    nftables:/usr/sbin/nft
    jq:/usr/bin/jq
    procps:/usr/bin/pgrep
    openssl:/usr/bin/openssl
    shellcheck:/usr/bin/shellcheck
    binutils:/usr/bin/objdump
    valgrind:/usr/bin/valgrind
    python3:/usr/bin/python3
)

say() { printf '%s\n' "$*"; }

# die CODE MESSAGE: one line on standard error.
die() {
    local code=$1
    shift
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit "$code"
}

need_root() {
    [[ $EUID -eq 0 ]] || die 77 "needs root (network namespaces, raw sockets): run it with sudo"
}

any_exists() {
    local path
    for path in "$@"; do [[ -e $path ]] && return 0; done
    return 1
}

missing_packages() {
    local entry files
    for entry in "${PACKAGES[@]}"; do
        IFS=: read -r -a files <<<"${entry#*:}"
        any_exists "${files[@]}" || printf '%s\n' "${entry%%:*}"
    done
    if [[ -x /usr/bin/python3 ]] && ! /usr/bin/python3 -c 'import ensurepip' 2>/dev/null; then
        say python3-venv
    fi
}

apt_install() {
    # Services must not start only because a tool was wanted from their package.
    local policy=/usr/sbin/policy-rc.d made_policy=false status=0
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made_policy=true
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" \
        </dev/null >"$CACHE/apt.log" 2>&1 || status=$?
    if $made_policy; then rm -f "$policy"; fi
    return $status
}

setup_packages() {
    need_root
    mkdir -p "$CACHE"
    local missing
    mapfile -t missing < <(missing_packages)
    if ((${#missing[@]} == 0)); then return 0; fi
    command -v apt-get >/dev/null ||
        die 71 "needs these packages, and apt-get is not here: ${missing[*]}"
    # A machine without Python has no python3-venv either.
    [[ " ${missing[*]} " == *" python3 "* ]] && missing+=(python3-venv)
    say "installing ${missing[*]}"
    apt_install "${missing[@]}" && return 0
    apt-get update -q </dev/null >"$CACHE/apt.log" 2>&1 || true
    apt_install "${missing[@]}" || {
        tail -n 20 "$CACHE/apt.log" >&2
        die 71 "apt-get could not install: ${missing[*]}"
    }
}

setup_swift() {
    local version
    version=$(swift --version 2>/dev/null |
        sed -nE 's/.*Swift version ([0-9]+\.[0-9]+).*/\1/p' | head -n 1) || true
    if [[ -z $version ]] || [[ $(printf '%s\n' 6.2 "$version" | sort -V | head -n 1) != 6.2 ]]; then
        die 71 "needs Swift 6.2 or newer, found ${version:-none}: install it from https://swift.org/install"
    fi
}

setup_python() {
    local wanted=$ROOT/tools/requirements.txt
    cmp -s "$wanted" "$VENV/installed.txt" && return 0
    say "making the Python environment for the tests"
    rm -rf "$VENV"
    {
        /usr/bin/python3 -m venv "$VENV" &&
            "$PYTHON" -m pip install -q --disable-pip-version-check -r "$wanted"
    } </dev/null >"$CACHE/pip.log" 2>&1 || {
        tail -n 20 "$CACHE/pip.log" >&2
        die 71 "could not make the Python environment"
    }
    cp "$wanted" "$VENV/installed.txt"
}

# The modules that others compile into themselves.
HOT=(CSluice Wire PacketIO Dataplane RuleEngine)

hot_sources() {
    local module folders=()
    for module in "${HOT[@]}"; do
        [[ -d $ROOT/Sources/$module ]] && folders+=("Sources/$module")
    done
    (cd "$ROOT" && find "${folders[@]}" -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum
}

# drop_stale_objects FOLDER, before a build whose objects go to FOLDER (such as .build/debug):
# SwiftPM may keep objects that know the old layout of a hot module's type, and such a program
# crashes. So the product's own objects go, unless the last build there had the same hot modules.
# note_hot_sources FOLDER, after a build that succeeded, says which they were.
drop_stale_objects() {
    local folder=$1 module
    HOT_SOURCES=$(hot_sources)
    [[ -d $folder ]] || return 0
    [[ $(cat "$folder/hot-sources" 2>/dev/null) != "$HOT_SOURCES" ]] || return 0
    say "the hot modules have changed: building the product's own modules in ${folder#"$ROOT/"} anew"
    rm -f "$folder/hot-sources"
    for module in "$ROOT"/Sources/*/ "$ROOT"/Tests/*/; do
        module=$(basename "$module")
        # Not the whole folder: SwiftPM does not plan anew, and misses what it once put there.
        rm -rf "$folder/Modules/$module".*
        find "$folder/$module.build" -name '*.o' -delete -o -name '*.swiftdeps' -delete 2>/dev/null || true
    done
}

note_hot_sources() {
    printf '%s\n' "$HOT_SOURCES" >"$1/hot-sources"
}

# build_release: all programs, and $BIN, the directory that holds them.
build_release() {
    mkdir -p "$CACHE"
    if [[ -x $ROOT/.build/release/sluice ]]; then
        say "building (release)"
    else
        say "building (release); a first build takes a few minutes"
    fi
    drop_stale_objects "$ROOT/.build/release"
    swift build --package-path "$ROOT" "${RELEASE[@]}" </dev/null >"$CACHE/build.log" 2>&1 || {
        cat "$CACHE/build.log" >&2
        die 71 "the build failed: its log is above"
    }
    note_hot_sources "$ROOT/.build/release"
    # shellcheck disable=SC2034 # used by whoever sources this
    BIN=$(swift build --package-path "$ROOT" "${RELEASE[@]}" --show-bin-path)
}
