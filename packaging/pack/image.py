"""The container image as an OCI layout in a tar file, without a base image and without a daemon."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from pathlib import Path

from .common import EPOCH, SUMMARY, Binary, File, Lacking, gz, put, tar, version, with_folders

#: A user ID that no system names: nothing in the image needs rights.
USER = 65532
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_TYPE = "application/vnd.oci.image."


def build(binaries: list[Binary]) -> Path:
    """Makes one image for all processors that have a binary."""
    number = version()
    blobs: dict[str, bytes] = {}
    manifests = []
    for binary in sorted(binaries, key=lambda one: _ARCHITECTURES[one.arch]):
        manifests.append({**_manifest(binary, blobs), "platform": _platform(binary)})
    index = _json({"schemaVersion": 2, "mediaType": _TYPE + "index.v1+json", "manifests": manifests})
    named = [
        _named({key: value for key, value in one.items()}, f"{number}-{one['platform']['architecture']}")
        for one in manifests
    ]
    if len(manifests) == 1:
        named.append(_named(manifests[0], number))
    else:
        named.append(_named(_blob(index, "index.v1+json", blobs), number))
    top = {"schemaVersion": 2, "mediaType": _TYPE + "index.v1+json", "manifests": named}
    files = [File("index.json", _json(top)), File("oci-layout", _json({"imageLayoutVersion": "1.0.0"}))]
    files += [File(f"blobs/sha256/{digest}", data) for digest, data in blobs.items()]
    return put(f"hfget-{number}.oci.tar", tar(with_folders(files)))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _platform(binary: Binary) -> dict[str, str]:
    return {"os": "linux", "architecture": _ARCHITECTURES[binary.arch]}


def _blob(data: bytes, kind: str, blobs: dict[str, bytes]) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    blobs[digest] = data
    return {"mediaType": _TYPE + kind, "digest": f"sha256:{digest}", "size": len(data)}


def _named(descriptor: dict[str, object], name: str) -> dict[str, object]:
    return {**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}}


def _manifest(binary: Binary, blobs: dict[str, bytes]) -> dict[str, object]:
    files = [
        File("usr/bin/hfget", binary.content(), 0o755),
        File("etc/ssl/certs/ca-certificates.crt", certificates()),
        File("cache/", mode=0o755, owner=USER),
        File("tmp/", mode=0o1777),
        *_libraries(binary),
    ]
    layer = tar(with_folders(files))
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH))
    config = {
        **_platform(binary),
        "created": created,
        "config": {
            "User": f"{USER}:{USER}",
            "Entrypoint": ["/usr/bin/hfget"],
            "Cmd": ["--help"],
            "WorkingDir": "/cache",
            "Env": ["PATH=/usr/bin", "HOME=/cache", "HF_HOME=/cache", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
            "Labels": {
                "org.opencontainers.image.title": "hfget",
                "org.opencontainers.image.description": SUMMARY,
                "org.opencontainers.image.version": version(),
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        "history": [{"created": created, "created_by": "packaging/build image"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _TYPE + "manifest.v1+json",
        "config": _blob(_json(config), "config.v1+json", blobs),
        "layers": [_blob(gz(layer), "layer.v1.tar+gzip", blobs)],
    }
    return _blob(_json(manifest), "manifest.v1+json", blobs)


def certificates() -> bytes:
    """The certificate authorities that this machine trusts."""
    for place in _CERTIFICATES:
        if Path(place).is_file():
            return Path(place).read_bytes()
    raise Lacking("a bundle of certificates is needed (Debian: ca-certificates); none of these exists: "
                  + ", ".join(_CERTIFICATES))  # fmt: skip


def _libraries(binary: Binary) -> list[File]:
    """The libraries of this machine for a binary that is not static. The released image has a static one."""
    if binary.static:
        return []
    if not binary.runs_here:
        raise Lacking(f"{binary.path} is not static, and its libraries for {binary.arch} are not here")
    listed = subprocess.run(["ldd", str(binary.path)], capture_output=True, text=True, check=True).stdout
    places = re.findall(r"(?:=> )?(/\S+) \(0x", listed)
    return [File(place.lstrip("/"), Path(place).read_bytes(), 0o755) for place in places]


