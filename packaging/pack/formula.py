"""The formula for Homebrew on Linux: the archives in dist/, with their sums."""

from __future__ import annotations

import hashlib
from pathlib import Path

from . import common
from .common import SUMMARY, Lacking, put, version

_SYSTEMS = {"x86_64": "on_intel", "aarch64": "on_arm"}


def archives() -> dict[str, Path]:
    """For each processor, the archive of the static binary, otherwise the other one."""
    found = {}
    for arch in _SYSTEMS:
        for system in ("gnu", "musl"):
            path = common.DIST / f"hfget-{arch}-unknown-linux-{system}-v{version()}.tgz"
            if path.is_file():
                found[arch] = path
    return found


def build(releases: str | None) -> Path:
    """`hfget.rb`, for archives that will be at `releases/NAME`."""
    found = archives()
    if not found:
        raise Lacking("the formula needs an archive in dist/: name the kind `archive` too")
    if not releases or not releases.startswith("https://") or '"' in releases:
        raise Lacking("the formula needs HFGET_RELEASES, the https:// URL that the archives will be at")
    blocks = ""
    for arch, path in sorted(found.items()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        url = f"{releases.rstrip('/')}/{path.name}"
        blocks += f'    {_SYSTEMS[arch]} do\n      url "{url}"\n      sha256 "{digest}"\n    end\n'
    text = f"""class Hfget < Formula
  desc "{SUMMARY}"
  version "{version()}"
  license "Apache-2.0"

  on_linux do
{blocks}  end

  def install
    bin.install "hfget"
    man1.install Dir["share/man/man1/*"]
    bash_completion.install "share/bash-completion/completions/hfget"
    zsh_completion.install "share/zsh/vendor-completions/_hfget"
    fish_completion.install "share/fish/vendor_completions.d/hfget.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{{bin}}/hfget --version")
  end
end
"""
    return put("hfget.rb", text.encode())
