"""``foretoken models alias``: names that point at versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from foretoken.cli.catalogue import open_catalogue
from foretoken.cli.output import show, show_record, show_table
from foretoken.cli.registry import Actor, DataDir, Json, readable
from foretoken.cli.remote import Server
from foretoken.errors import InvalidInput

app = typer.Typer(
    help="Point names such as champion at versions.", no_args_is_help=True, add_completion=False
)

LARGEST = 10**18 - 1  # of 18 digits, as references take them

Alias = Annotated[str, typer.Argument(metavar="ALIAS@NAME", help="For example champion@lcpfn.")]
Generation = Annotated[
    int | None,
    typer.Option(help="Refuse unless the alias has this generation; 0: unless there is none."),
]


@app.command("set")
def set_(
    alias: Alias,
    version: Annotated[int, typer.Argument(min=1, help="Number of a READY version.")],
    canary: Annotated[
        str | None, typer.Option(metavar="PERCENT", help="Send this share there only, as in 10%.")
    ] = None,
    expect_generation: Generation = None,
    actor: Actor = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Point an alias at a version, or send it a share of the traffic by a stable hash."""
    name, named = alias_of(alias)
    with open_catalogue(server, data_dir, actor) as registry:
        moved = registry.set_alias(
            name,
            named,
            version_number(version),
            expect_generation=expect_generation,
            canary=None if canary is None else _percent(canary),
        )
    show_moved(moved.record(), as_json=as_json)


@app.command()
def delete(
    alias: Alias,
    expect_generation: Generation = None,
    actor: Actor = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Remove an alias; its history stays, and rollback brings it back."""
    name, named = alias_of(alias)
    with open_catalogue(server, data_dir, actor) as registry:
        registry.delete_alias(name, named, expect_generation=expect_generation)
    show(f"Deleted {named}@{name}.", as_json=as_json, deleted=f"{named}@{name}")


@app.command("list")
def list_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A registered model.")],
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List a model's aliases with their generations and canaries."""
    with open_catalogue(server, data_dir) as registry:
        rows = [alias.record() for alias in registry.aliases(name)]
    columns = ["alias", "target", "generation"]
    shown = rows if as_json else [readable(row) for row in rows]
    show_table(shown, title=f"Aliases of {name}", as_json=as_json, columns=columns)


def show_moved(alias: Mapping[str, Any], *, as_json: bool) -> None:
    """Print an alias as it stands."""
    title = f"{alias['alias']}@{alias['name']}"
    show_record(alias if as_json else readable(alias), title=title, as_json=as_json)


def version_number(number: int) -> int:
    """Return ``number`` if a version may have it, as in ``NAME:VERSION``.

    Raises:
        InvalidInput: if it is longer than any version's.
    """
    if number > LARGEST:
        raise InvalidInput(f"no version has so large a number; the largest is {LARGEST}")
    return number


def alias_of(text: str) -> tuple[str, str]:
    """Model and alias of ``ALIAS@NAME`` or, for the champion, ``NAME``.

    Raises:
        InvalidInput: if a version is named, or nothing of that form.
    """
    from foretoken.server.registry.names import Ref  # noqa: PLC0415

    ref = Ref.parse(text)
    if ref.alias is None:
        raise InvalidInput(f"{text!r} is a version; an alias is written ALIAS@NAME")
    return ref.name, ref.alias


def _percent(text: str) -> float:
    try:
        return float(text.removesuffix("%"))
    except ValueError as e:
        raise InvalidInput(f"--canary takes a percentage such as 10%, not {text!r}") from e
