"""``foretoken contexts``: fitted tables that are kept, on this machine or by a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from rich.filesize import decimal

from foretoken.cli.output import show, show_record, show_table
from foretoken.cli.registry import DataDir, Json
from foretoken.cli.remote import Server, client_of
from foretoken.records import ContextRecord

if TYPE_CHECKING:
    from foretoken.cli.remote import Remote
    from foretoken.server.local import LocalPlane

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.callback(help="List, show and delete the tables that models have been fitted to.")(lambda: None)

HEADINGS = {"nbytes": "in memory", "kept_nbytes": "on disk", "used": "last used"}
Id = Annotated[str, typer.Argument(metavar="ID", help="Of a context, as `contexts list` shows it.")]


class Kept(Protocol):
    """What commands do with contexts; errors are those of ``foretoken.errors``."""

    def context(self, id: str) -> ContextRecord: ...  # noqa: A002
    def contexts(self, model: str | None) -> Sequence[ContextRecord]: ...
    def delete_context(self, id: str) -> None: ...  # noqa: A002


@app.command("list")
def list_(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Only those that it has made.")
    ] = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List contexts, the last used first."""
    with _open(server, data_dir) as kept:
        found = sorted(kept.contexts(model), key=lambda each: each.used, reverse=True)
    rows = [_shown(each, as_json=as_json) for each in found]
    columns = ["id", "model", "version", "rows", "columns", "in memory", "on disk", "last used"]
    for row in rows if not as_json else []:
        row["columns"] = len(row["columns"])
    show_table(rows, title="Contexts", as_json=as_json, columns=columns)


@app.command("show")
def show_(
    context: Id, data_dir: DataDir = None, server: Server = None, as_json: Json = False
) -> None:
    """Show a context: what it was fitted to, how large it is and when it expires."""
    with _open(server, data_dir) as kept:
        found = kept.context(context)
    show_record(_shown(found, as_json=as_json), title=found.id, as_json=as_json)


@app.command()
def delete(
    context: Id, data_dir: DataDir = None, server: Server = None, as_json: Json = False
) -> None:
    """Erase a context: the table, and all that was computed from it."""
    with _open(server, data_dir) as kept:
        kept.delete_context(context)
    show(f"Deleted {context}.", as_json=as_json, deleted=context)


@contextmanager
def _open(server: Remote | None, data_dir: Path | None) -> Iterator[Kept]:
    """The contexts of a server, or of the data dir."""
    client = client_of(server, data_dir)
    if client is not None:
        with client:
            yield client
        return
    from foretoken.server.app import open_plane  # noqa: PLC0415 - imports the engine
    from foretoken.server.settings import load_settings  # noqa: PLC0415

    with open_plane(load_settings(data_dir=data_dir)) as local:
        yield _Local(local)


class _Local:
    def __init__(self, local: LocalPlane) -> None:
        self._local = local

    def context(self, id: str) -> ContextRecord:  # noqa: A002
        return self._local.run(self._local.plane.context(id))

    def contexts(self, model: str | None) -> Sequence[ContextRecord]:
        return self._local.run(self._local.plane.contexts(model=model))

    def delete_context(self, id: str) -> None:  # noqa: A002
        self._local.run(self._local.plane.delete_context(id))


def _shown(context: ContextRecord, *, as_json: bool) -> dict[str, Any]:
    record = context.record()
    if as_json:
        return record
    for name in ("created", "used", "expires"):
        record[name] = record[name] and record[name][:19].replace("T", " ")
    for name in ("nbytes", "kept_nbytes"):
        record[name] = decimal(record[name])
    return {HEADINGS.get(name, name): value for name, value in record.items()}
