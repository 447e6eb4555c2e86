"""Hashes stored files again and says of each whether it still is what was registered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from foretoken.errors import DataLoss
from foretoken.records import FileReport, Version
from foretoken.server.registry.blobs import BlobStore
from foretoken.server.registry.manifest import Manifest

__all__ = ["FileReport", "verify"]

MANIFEST = "manifest"  # what reports and errors call the manifest's own blob


def verify(blobs: BlobStore, versions: Iterable[Version]) -> Iterator[FileReport]:
    """Report on every file of every version; a blob that several share is read once."""
    known: dict[str, str] = {}
    for version in versions:
        manifest, report = _manifest(blobs, version)
        yield report
        for name, entry in manifest.files.items() if manifest else ():
            if entry.digest not in known:
                known[entry.digest] = _problem(blobs, entry.digest, f"{version.ref}: {name}")
            yield FileReport(version.ref, name, entry.digest, entry.size, known[entry.digest])


def _manifest(blobs: BlobStore, version: Version) -> tuple[Manifest | None, FileReport]:
    digest = version.manifest_digest
    try:
        data = blobs.read(digest, f"{version.ref}: {MANIFEST}")
        return Manifest.from_bytes(data), FileReport(version.ref, MANIFEST, digest, len(data), "")
    except DataLoss as e:
        return None, FileReport(version.ref, MANIFEST, digest, 0, str(e))


def _problem(blobs: BlobStore, digest: str, label: str) -> str:
    try:
        blobs.verify(digest, label)
    except DataLoss as e:
        return str(e)
    return ""
