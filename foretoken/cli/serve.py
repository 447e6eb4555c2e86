"""``foretoken serve``."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foretoken.cli.registry import DataDir

if TYPE_CHECKING:
    from foretoken.server.settings import Settings

PROGRAM = "foretoken"
READY = "foretoken is ready"  # how the line begins that says so
CURVE = (0.31, 0.45, 0.53, 0.59, 0.63, 0.66, 0.68, 0.70, 0.71, 0.72)  # accuracy by epoch
TABLE = ("size,colour,kind", "1,red,a", "2,blue,b", "3,red,a", "4,blue,b")
DEMO_MODEL, TABLES_MODEL = "lcpfn", "tabpfn"
DEMO_SECONDS = 10  # meanwhile the supervisor does nothing else


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="0 takes a free one.")] = None,
    http_port: Annotated[int | None, typer.Option(help="0 takes a free one.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the ports and the cores.")
    ] = None,
    data_dir: DataDir = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings; read again on SIGHUP.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM file; with --tls-key.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file; with --tls-cert.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="PEM file; clients must show what it signed.")
    ] = None,
    require_tokens: Annotated[
        bool | None,
        typer.Option("--require-tokens", help="Refuse calls without a token.", show_default=False),
    ] = None,
    drain: Annotated[
        float | None, typer.Option(help="Seconds that calls have to end after SIGTERM.")
    ] = None,
    log: Annotated[str | None, typer.Option(help="Calls to log: all or errors.")] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="When ready, extrapolate a curve over gRPC and show it.")
    ] = False,
) -> None:
    """Serve the registry's models over gRPC and HTTP, until SIGTERM or Ctrl-C.

    Every setting is also a variable FORETOKEN_... and a line in the configuration file.
    """
    began = time.monotonic()
    given = {
        "host": host,
        "grpc_port": grpc_port,
        "http_port": http_port,
        "workers": workers,
        "data_dir": data_dir,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "require_tokens": require_tokens,
        "drain": drain,
        "log": log,
    }
    # Imported late: other commands have no need of it.
    from foretoken.server.processes.server import serve as run  # noqa: PLC0415
    from foretoken.server.settings import load_settings  # noqa: PLC0415

    def again() -> Settings:
        return load_settings(config, **given)

    def announce(settings: Settings, models: Sequence[Mapping[str, Any]]) -> None:
        _say(ready_text(settings, models, time.monotonic() - began))
        if demo:
            _demonstrate(settings, models)

    run(again(), again, announce)


def ready_text(settings: Settings, models: Sequence[Mapping[str, Any]], seconds: float) -> str:
    """What is printed once the server answers.

    Args:
        settings: with the ports taken.
        models: those served, each with ``name``, ``version`` and ``task``.
        seconds: that the start took.
    """
    address = address_of(settings, settings.grpc_port)
    scheme = "https" if settings.tls_cert else "http"
    lines = [
        f"{READY}: gRPC {address}, HTTP {scheme}://{address_of(settings, settings.http_port)}, "
        f"workers {settings.workers}, started in {seconds:.1f} s",
        f"data dir  {settings.data_dir}",
        *(f"model     {m['name']}:{m['version']}  ({m['task']})" for m in models),
    ]
    served = {model["name"] for model in models}
    if served & {DEMO_MODEL, TABLES_MODEL}:
        curves, tables = DEMO_MODEL in served, TABLES_MODEL in served
        lines += ["", *_examples(settings, curves=curves, tables=tables)]
    return "\n".join(lines)


def address_of(settings: Settings, port: int) -> str:
    """An address under which this machine reaches the port."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _examples(settings: Settings, *, curves: bool, tables: bool) -> list[str]:
    address = address_of(settings, settings.grpc_port)
    command, options, token, client = _command(), "", [], ""
    if settings.tls_cert:
        options, client = " --ca ca.pem", ', ca="ca.pem"'
    if settings.tls_client_ca:
        options += " --cert cert.pem --key key.pem"
        client += ', cert="cert.pem", key="key.pem"'
    if settings.require_tokens:
        make = f"{command} tokens create NAME --data-dir {shlex.quote(str(settings.data_dir))}"
        token = [f"  export FORETOKEN_TOKEN=$({make})"]
        client += ', token="ftk_..."'
    server = f'Client("{address}"{client})' if client else f'"{address}"'
    names = ["Client"] * bool(client) + ["CurveExtrapolator"] * curves
    lines = ["Try it in a shell:", *token]
    if curves:
        lines += _curve_command(f"{command}{options}", address)
    if tables:
        lines += _table_command(f"{command}{options}", address)
    lines += [
        "or in Python:",
        f"  from foretoken import {', '.join([*names, *['TabularClassifier'] * tables])}",
    ]
    if curves:
        lines += [
            f'  extrapolator = CurveExtrapolator("{DEMO_MODEL}", server={server})',
            f"  print(extrapolator.extrapolate({list(CURVE[:5])}, at=[50, 100]).mean)",
        ]
    if tables:
        lines += [
            f'  classifier = TabularClassifier("{TABLES_MODEL}", server={server})',
            '  classifier.fit([[1], [2], [8], [9]], ["a", "a", "b", "b"])',
            "  print(classifier.predict([[3], [7]]))",
        ]
    return lines


def _curve_command(command: str, address: str) -> list[str]:
    values = " ".join(map(str, CURVE))
    return [
        f"  printf '%s\\n' {values} > curve.csv",
        f"  {command} extrapolate {DEMO_MODEL} --server {address} --curve curve.csv --horizon 100",
    ]


def _table_command(command: str, address: str) -> list[str]:
    return [
        f"  printf '%s\\n' {' '.join(TABLE)} > table.csv",
        f"  {command} predict {TABLES_MODEL} --server {address} --train table.csv --target kind "
        "--test table.csv",
    ]


def _command() -> str:
    """How another shell calls this program: by its path where it is not found by name."""
    script = Path(sys.argv[0])
    if shutil.which(PROGRAM) or script.name != PROGRAM or not script.is_file():
        return PROGRAM
    return shlex.quote(str(script.absolute()))


def _demonstrate(settings: Settings, models: Sequence[Mapping[str, Any]]) -> None:
    """Run the command that was just shown, in a process of its own as any caller would."""
    if settings.require_tokens or settings.tls_cert:
        _say("no demonstration: it has neither a token nor the certificate's authority")
        return
    if not any(model["name"] == DEMO_MODEL for model in models):
        _say(f"no demonstration: {DEMO_MODEL} is not served")
        return
    with tempfile.TemporaryDirectory() as folder:
        curve = Path(folder) / "curve.csv"
        curve.write_text("".join(f"{value}\n" for value in CURVE), "utf-8")
        address = address_of(settings, settings.grpc_port)
        command = ["extrapolate", DEMO_MODEL, "--server", address, "--curve", str(curve)]
        command += ["--horizon", "100", "--rows", "6"]
        _say(f"\n$ foretoken {' '.join(command)}")
        started = [sys.executable, "-P", "-c", "from foretoken.cli import main; main()", *command]
        try:
            subprocess.run(started, check=False, timeout=DEMO_SECONDS)  # noqa: S603 - our own
        except subprocess.TimeoutExpired:
            _say(f"no answer within {DEMO_SECONDS} s")


def _say(text: str) -> None:
    """Print for people; nobody may be reading any more."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:
        pass
