"""``foretoken snapshots``: states of sessions that are kept, on this machine or by a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from rich.filesize import decimal

from foretoken.cli import files
from foretoken.cli.output import show, show_record, show_table
from foretoken.cli.registry import DataDir, Json
from foretoken.cli.remote import Server, client_of
from foretoken.cli.sessions import bytes_of
from foretoken.records import SnapshotRecord

if TYPE_CHECKING:
    from foretoken.cli.remote import Remote
    from foretoken.client import Client
    from foretoken.server.local import LocalPlane

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.callback(help="List, show, move and delete states that sessions can go on from.")(lambda: None)

PAGE = 100
HEADINGS = {"nbytes": "size", "used": "last used"}
Digest = Annotated[
    str, typer.Argument(metavar="DIGEST", help="Of a snapshot, as `snapshots list` shows it.")
]


class Kept(Protocol):
    """What commands do with snapshots; errors are those of ``foretoken.errors``."""

    def snapshots(self, model: str | None) -> Sequence[SnapshotRecord]: ...
    def describe(self, digest: str) -> SnapshotRecord: ...
    def read(self, digest: str) -> bytes: ...
    def restore(self, data: bytes) -> SnapshotRecord: ...
    def delete(self, digest: str) -> None: ...


@app.command("list")
def list_(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Only those that were taken of it.")
    ] = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List snapshots, the last used first."""
    with _open(server, data_dir) as kept:
        found = sorted(kept.snapshots(model), key=lambda each: each.used, reverse=True)
    rows = [_shown(each, as_json=as_json) for each in found]
    columns = ["id", "model", "version", "step", "size", "last used"]
    show_table(rows, title="Snapshots", as_json=as_json, columns=columns)


@app.command("show")
def show_(
    digest: Digest, data_dir: DataDir = None, server: Server = None, as_json: Json = False
) -> None:
    """Show a snapshot: what it was taken of, at which step, and when it expires."""
    with _open(server, data_dir) as kept:
        found = kept.describe(digest)
    show_record(_shown(found, as_json=as_json), title=found.id, as_json=as_json)


@app.command()
def delete(
    digest: Digest, data_dir: DataDir = None, server: Server = None, as_json: Json = False
) -> None:
    """Erase a snapshot."""
    with _open(server, data_dir) as kept:
        kept.delete(digest)
    show(f"Deleted {digest}.", as_json=as_json, deleted=digest)


@app.command()
def export(
    digest: Digest,
    out: Annotated[Path, typer.Option(help="File to write.")],
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Write a snapshot to a file, for another server of the same model."""
    files.expect_file(out)
    with _open(server, data_dir) as kept:
        data = kept.read(digest)
    with files.whole(out) as temporary:
        temporary.write_bytes(data)
    show(f"Wrote {out}.", as_json=as_json, snapshot=digest, out=str(out), nbytes=len(data))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A snapshot, as `snapshots export` writes it.")],
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Keep a snapshot that was written to a file."""
    data = bytes_of(file)
    with _open(server, data_dir) as kept:
        found = kept.restore(data)
    record = found.record() if as_json else {}
    show(f"Kept as {found.id}.", as_json=as_json, **record)


@contextmanager
def _open(server: Remote | None, data_dir: Path | None) -> Iterator[Kept]:
    """The snapshots of a server, or of the data dir."""
    client = client_of(server, data_dir)
    if client is not None:
        with client:
            yield _There(client)
        return
    from foretoken.server.app import open_plane  # noqa: PLC0415 - imports the engine
    from foretoken.server.settings import load_settings  # noqa: PLC0415

    with open_plane(load_settings(data_dir=data_dir)) as local:
        yield _Here(local)


class _There:
    def __init__(self, client: Client) -> None:
        self._client = client

    def snapshots(self, model: str | None) -> Sequence[SnapshotRecord]:
        return self._client.snapshots(model)

    def describe(self, digest: str) -> SnapshotRecord:
        record = self._client.snapshot(digest).record
        assert record is not None
        return record

    def read(self, digest: str) -> bytes:
        return self._client.snapshot(digest, include_bytes=True).data or b""

    def restore(self, data: bytes) -> SnapshotRecord:
        return self._client.restore(data)

    def delete(self, digest: str) -> None:
        self._client.delete_snapshot(digest)


class _Here:
    def __init__(self, local: LocalPlane) -> None:
        from foretoken.server.terms import Terms  # noqa: PLC0415

        self._local, self._terms = local, Terms()
        self._sessions = local.plane.sessions

    def snapshots(self, model: str | None) -> Sequence[SnapshotRecord]:
        found: list[SnapshotRecord] = []
        while True:
            after = found[-1].id if found else None
            page = self._local.run(self._sessions.snapshots(self._terms, model, after, PAGE))
            found += page
            if len(page) < PAGE:
                return found

    def describe(self, digest: str) -> SnapshotRecord:
        return self._local.run(self._sessions.describe(digest, self._terms))

    def read(self, digest: str) -> bytes:
        return self._local.run(self._sessions.read(digest, self._terms))

    def restore(self, data: bytes) -> SnapshotRecord:
        return self._local.run(self._sessions.restore(data, self._terms))

    def delete(self, digest: str) -> None:
        self._local.run(self._sessions.delete(digest, self._terms))


def _shown(snapshot: SnapshotRecord, *, as_json: bool) -> dict[str, Any]:
    record = snapshot.record()
    if as_json:
        return record
    for name in ("created", "used", "expires"):
        record[name] = record[name] and record[name][:19].replace("T", " ")
    record["nbytes"] = decimal(record["nbytes"])
    return {HEADINGS.get(name, name): value for name, value in record.items()}
