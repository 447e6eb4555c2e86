"""``foretoken tokens``: who may call a server over the data dir, and what they may do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foretoken.cli.output import show, show_record, show_table
from foretoken.cli.registry import Actor, DataDir, Json, actor_or_user, data_dir_of
from foretoken.errors import InvalidInput

if TYPE_CHECKING:
    from foretoken.server.registry.records import Token
    from foretoken.server.registry.tokens import Tokens

app = typer.Typer(
    help="Make, list and revoke the tokens that callers of a server show.",
    no_args_is_help=True,
    add_completion=False,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the token; it stands in histories.")]
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@app.command()
def create(
    name: Name,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="predict, which is the default, or admin; repeated for both."),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(help="Whose models it registers and sees, beside those of everybody."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Calls per second on the whole server; else any number.")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(help="Calls at once after a pause; else one second's worth.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="DURATION", help="As in 12h or 30d; else never.")
    ] = None,
    actor: Actor = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it; it is not kept and cannot be shown again."""
    from foretoken.server.security import tokens as security  # noqa: PLC0415

    wanted = security.Wanted(
        name=name,
        scopes=scope or ["predict"],
        tenant=tenant,
        rate=rate,
        burst=burst,
        lifetime=None if expires is None else _duration(expires),
    )
    with _tokens(data_dir) as tokens:
        secret, token = security.create(tokens, wanted, actor_or_user(actor))
    if as_json:
        show_record({"token": secret, **_record(token)}, title=name, as_json=True)
    else:
        show(secret)


@app.command("list")
def list_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List all tokens, also those that are no longer valid; none is shown itself."""
    with _tokens(data_dir) as tokens:
        records = [_record(token) for token in tokens.list()]
    rows = records if as_json else [_readable(record) for record in records]
    columns = ["name", "scopes", "tenant", "rate", "burst", "created", "actor", "expires", "status"]
    show_table(rows, title="Tokens", as_json=as_json, columns=columns)


@app.command()
def revoke(name: Name, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Revoke a token for good; running servers refuse it from then on."""
    with _tokens(data_dir) as tokens:
        record = _record(tokens.revoke(name))
    show(f"Revoked {name}.", as_json=as_json, **record)


@contextmanager
def _tokens(data_dir: Any) -> Iterator[Tokens]:
    from foretoken.server.registry.registry import Registry  # noqa: PLC0415

    with Registry.open(data_dir_of(data_dir)) as registry:
        yield registry.tokens


def _record(token: Token) -> dict[str, Any]:
    from foretoken.server.security.tokens import status  # noqa: PLC0415

    record = token.record()
    del record["id"]
    return {**record, "status": status(token)}


def _readable(record: dict[str, Any]) -> dict[str, Any]:
    times = {name: record[name] for name in ("created", "expires")}
    return {**record, **{name: at and at[:19].replace("T", " ") for name, at in times.items()}}


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if found is None:
        raise InvalidInput(f"--expires takes a duration such as 90m, 12h or 30d, not {text!r}")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
