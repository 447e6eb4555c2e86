"""Which server a command asks, if any: its option, else the program's, else a variable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foretoken.errors import InvalidInput

if TYPE_CHECKING:
    from foretoken.client import Client

__all__ = ["Remote", "Server", "client_of", "here", "remember"]

HERE = ("serve", "train", "backup", "restore", "tokens")  # work on this machine's data dir only


@dataclass(frozen=True)
class Remote:
    """A server to ask.

    Args:
        server: address; None: this process answers.
        chosen: whether an option said so, rather than a variable.
        token: bearer token.
        tls: encrypt, trusting the system's authorities.
        ca: encrypt, trusting those of this PEM file.
        cert, key: PEM files of the certificate that is shown to the server; both or neither.
    """

    server: str | None = None
    chosen: bool = False
    token: str | None = None
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


def remember(
    context: typer.Context,
    server: Annotated[
        str | None,
        typer.Option(
            envvar="FORETOKEN_SERVER",
            metavar="HOST:PORT",
            help="Ask this server rather than work on this machine's data dir.",
        ),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt what goes to the server.")] = False,
    ca: Annotated[
        Path | None,
        typer.Option(
            envvar="FORETOKEN_CA",
            help="Encrypt, and trust the authorities of this PEM file only. A token for the server "
            "is taken from the variable FORETOKEN_TOKEN.",
        ),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option(
            envvar="FORETOKEN_CERT",
            help="PEM file of your own certificate, for a server that asks for one; with --key.",
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(envvar="FORETOKEN_KEY", help="PEM file; with --cert.")
    ] = None,
    token: Annotated[str | None, typer.Option(envvar="FORETOKEN_TOKEN", hidden=True)] = None,
) -> None:
    """Keep what was said of servers before the command.

    Raises:
        InvalidInput: if an option names a server for a command that asks none.
    """
    source = context.get_parameter_source("server")
    chosen = source is not None and source.name == "COMMANDLINE"
    context.obj = Remote(server, chosen, token, tls, ca, cert, key)
    _expect_here(context, HERE)


def here(*commands: str) -> Callable[[typer.Context], None]:
    """A callback that refuses ``--server`` before one of ``commands``."""

    def refuse(context: typer.Context) -> None:
        _expect_here(context, commands)

    return refuse


def client_of(server: Remote | None, data_dir: Path | None) -> Client | None:
    """The server that a command is to ask, or None where this process answers.

    Args:
        server: of the command's option; None where the command was called as a function.
        data_dir: if given, this process answers, unless an option names a server.

    Raises:
        InvalidInput: if options name a server and a data dir both.
    """
    if server is None or server.server is None:
        return None
    if data_dir is not None:
        if server.chosen:
            raise InvalidInput("a server has its own data dir; give --server or --data-dir")
        return None
    from foretoken.client import Client  # noqa: PLC0415 - gRPC takes a while to import

    return Client(
        server.server,
        token=server.token,
        tls=server.tls,
        ca=server.ca,
        cert=server.cert,
        key=server.key,
    )


def _said(context: typer.Context) -> Remote:
    return context.find_object(Remote) or Remote()


def _expect_here(context: typer.Context, commands: tuple[str, ...]) -> None:
    command = context.invoked_subcommand
    if command in commands and _said(context).chosen:
        raise InvalidInput(f"{command} works on this machine; leave --server out")


def _named(text: str) -> Remote:
    return Remote(text, chosen=True)


def _resolved(context: typer.Context, given: Remote | None) -> Remote:
    said = _said(context)
    return said if given is None else replace(said, server=given.server, chosen=True)


Server = Annotated[
    Remote | None,
    typer.Option(
        parser=_named,
        callback=_resolved,
        metavar="HOST:PORT",
        help="Ask this server; the default is FORETOKEN_SERVER, else this machine's data dir.",
        show_default=False,
    ),
]
