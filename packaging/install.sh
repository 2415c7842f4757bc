#!/bin/sh
# Installs hfget from a folder of releases: install.sh [URL]
#
# URL (or HFGET_RELEASES) is a folder that has SHA256SUMS and the archives, as packaging/build makes them.
# HFGET_INSTALL_DIR is the folder for the command, ~/.local/bin if it is not set. Nothing is moved there before the
# checksum of the archive matches and the command runs. With HFGET_MINISIGN_PUB (a key's file) the signature of
# SHA256SUMS is checked first. Needs curl or wget, tar, and sha256sum or shasum.
set -eu

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

main() {
    url=${1:-${HFGET_RELEASES:-}}
    url=${url%/}
    [ -n "$url" ] || fail "name the folder of releases: install.sh URL"
    case $url in
        https://* | http://127.0.0.1:* | http://localhost:*) ;;
        *) fail "$url is not an https:// URL" ;;
    esac
    [ "$(uname -s)" = Linux ] || fail "there are archives for Linux only; on $(uname -s) use: cargo install --locked hfget"
    arch=$(uname -m)
    case $arch in
        x86_64 | aarch64) ;;
        *) fail "there is no archive for the processor $arch" ;;
    esac
    folder=${HFGET_INSTALL_DIR:-$HOME/.local/bin}
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM

    fetch SHA256SUMS
    if [ -n "${HFGET_MINISIGN_PUB:-}" ]; then
        fetch SHA256SUMS.sig
        minisign -V -q -p "$HFGET_MINISIGN_PUB" -m "$work/SHA256SUMS" -x "$work/SHA256SUMS.sig" ||
            fail "the signature of $url/SHA256SUMS was not made with the key"
    fi
    # The static binary runs on every Linux; the other one needs this system's C library.
    line=
    for system in musl gnu; do
        line=$(grep -E "^[0-9a-f]{64}  hfget-$arch-unknown-linux-$system-v[0-9A-Za-z.+-]+\.tgz\$" "$work/SHA256SUMS" | tail -n 1) || line=
        [ -z "$line" ] || break
    done
    [ -n "$line" ] || fail "$url/SHA256SUMS names no archive for $arch"
    name=${line#*  }
    fetch "$name"
    (cd "$work" && printf '%s\n' "$line" | check) || fail "$url/$name does not have the checksum in SHA256SUMS; nothing was installed"
    tar -xzf "$work/$name" -C "$work"
    new=$work/${name%.tgz}/hfget
    version=$("$new" --version) || fail "the command in $name does not run on this machine; nothing was installed"
    mkdir -p "$folder"
    # Replaces the old command in one step, even while it runs.
    cp "$new" "$folder/.hfget.new"
    chmod 755 "$folder/.hfget.new"
    mv -f "$folder/.hfget.new" "$folder/hfget"
    printf 'installed %s as %s\n' "$version" "$folder/hfget"
    case :$PATH: in
        *":$folder:"*) ;;
        *) printf 'note: %s is not in PATH\n' "$folder" ;;
    esac
}

fetch() {
    if command -v curl >/dev/null 2>&1; then
        curl -fsSL --retry 3 -o "$work/$1" "$url/$1" || fail "$url/$1 cannot be downloaded"
    elif command -v wget >/dev/null 2>&1; then
        wget -q -O "$work/$1" "$url/$1" || fail "$url/$1 cannot be downloaded"
    else
        fail "curl or wget is needed"
    fi
}

check() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum -c - >/dev/null 2>&1
    else
        shasum -a 256 -c - >/dev/null 2>&1
    fi
}

# The shell has the whole script before it runs any of it, even from a pipe.
main "$@"
