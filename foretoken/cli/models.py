"""``foretoken models``: what is registered, and which version answers under which name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.filesize import decimal

from foretoken.cli.aliases import LARGEST, alias_of, show_moved, version_number
from foretoken.cli.aliases import app as aliases
from foretoken.cli.catalogue import open_catalogue
from foretoken.cli.output import progress, show, show_record, show_table, track
from foretoken.cli.registry import Actor, DataDir, Json, open_registry, readable
from foretoken.cli.remote import Server, here
from foretoken.cli.transfer import published
from foretoken.errors import DataLoss, InvalidInput
from foretoken.models.artefact import Artefact

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(aliases, name="alias")
app.callback(help="List, register, verify and roll out models.")(here("gc", "import", "export"))

Ref = Annotated[str, typer.Argument(metavar="REF", help="NAME, NAME:VERSION or ALIAS@NAME.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A registered model.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Rows of a page.")]
Pairs = Annotated[list[str] | None, typer.Option("--tag", "-t", help="KEY=VALUE, repeated.")]


@app.command("list")
def list_(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="List this model's versions instead.")
    ] = None,
    after: Annotated[
        str | None, typer.Option(help="Go on behind this name or version number.")
    ] = None,
    limit: Limit = 100,
    every: Annotated[
        bool, typer.Option("--all", help="Versions that are PENDING or FAILED, too.")
    ] = False,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List the models, or one model's versions, newest first."""
    with open_catalogue(server, data_dir) as registry:
        if name is None:
            models = [model.record() for model in registry.models(after, limit)]
            show_table(_shown(models, as_json), title="Models", as_json=as_json)
            return
        number = None if after is None else _number(after)
        versions = registry.versions(name, number, limit, unready=every)
        columns = [
            "number",
            "status",
            "aliases",
            "family",
            "precision",
            "size",
            "origin",
            "created",
        ]
        rows = _shown([version.record() for version in versions], as_json)
        columns += ["reason"] if every else []
        show_table(rows, title=f"Versions of {name}", as_json=as_json, columns=columns)


@app.command("show")
def show_(ref: Ref, data_dir: DataDir = None, server: Server = None, as_json: Json = False) -> None:
    """Show a version: its lineage, files with digests, signature, figures and options."""
    with open_catalogue(server, data_dir) as registry:
        version, record = registry.show(ref)
    if not as_json:
        record = {k: v for k, v in _readable_version(record).items() if v not in ("", None, {}, [])}
    show_record(record, title=version.ref, as_json=as_json)


@app.command()
def register(
    name: Annotated[str, typer.Argument(help="Name to register it under; it may be new.")],
    folder: Annotated[Path, typer.Argument(help="Artefact folder, as training leaves it.")],
    tag: Pairs = None,
    parent: Annotated[
        str | None, typer.Option(help="Version it was derived from, as NAME:VERSION.")
    ] = None,
    relation: Annotated[
        str | None, typer.Option(help="How: exported-from, quantised-from, fine-tuned-from, ...")
    ] = None,
    actor: Actor = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Register an artefact folder as a new version; the first of a name becomes champion.

    A folder without ONNX graphs, as training leaves it, is exported first and its parity checked.
    """
    tags = _pairs("--tag", tag or [])
    with (
        published(Artefact.read(folder)) as artefact,
        open_catalogue(server, data_dir, actor) as registry,
        progress(f"Registering {name}") as bar,
    ):
        version = registry.register(name, artefact, tags, parent, relation, bar)
    record = version.record()
    shown = record if as_json else readable(record)
    show_record(shown, title=f"Registered {version.ref}", as_json=as_json)


@app.command()
def history(
    name: Name,
    alias: Annotated[str | None, typer.Option(help="Only this alias.")] = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show every move of a model's aliases: who, when, from where to where."""
    with open_catalogue(server, data_dir) as registry:
        rows = [event.record() for event in registry.history(name, alias)]
    columns = ["at", "actor", "alias", "action", "before", "after", "generation"]
    title = f"History of {name}"
    show_table(_shown(rows, as_json), title=title, as_json=as_json, columns=columns)


@app.command()
def rollback(
    ref: Annotated[str, typer.Argument(metavar="[ALIAS@]NAME", help="The champion by default.")],
    actor: Actor = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Undo the last move of an alias; again, the one before it."""
    name, alias = alias_of(ref)
    with open_catalogue(server, data_dir, actor) as registry:
        moved = registry.rollback(name, alias)
    show_moved(moved.record(), as_json=as_json)


@app.command()
def delete(
    ref: Ref,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also erase what needs it: contexts, sessions, snapshots."),
    ] = False,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Delete a version, given as NAME:VERSION, that no alias points at and no context needs."""
    with open_catalogue(server, data_dir) as registry:
        version = registry.delete(ref, force=force)
    text = f"Deleted {version.ref}; `foretoken models gc` frees its bytes."
    show(text, as_json=as_json, deleted=version.ref)


@app.command()
def verify(
    ref: Annotated[str | None, typer.Argument(metavar="[REF]", help="Only this version.")] = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Hash every stored file again; the exit status is 1 if one is not what was registered."""
    with open_catalogue(server, data_dir) as registry:
        reports = list(track(registry.verify(ref), "Hashing"))
    rows = _shown([{**report.record(), "ok": report.ok} for report in reports], as_json)
    columns = ["version", "file", "size", "ok", "problem"]
    show_table(rows, title="Verified", as_json=as_json, columns=columns)
    if bad := [report for report in reports if not report.ok]:
        raise DataLoss(f"{len(bad)} of {len(reports)} files are damaged or gone")


@app.command()
def gc(
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds; what is younger may be on its way in and stays.")
    ] = 3600.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remove nothing, say what would be.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Free the bytes of deleted versions, of failed ones and of registrations cut short."""
    with open_registry(data_dir) as registry:
        collected = registry.gc(grace, dry_run=dry_run)
    title = "Would be collected" if dry_run else "Collected"
    record = collected.record()
    show_record(record if as_json else readable(record), title=title, as_json=as_json)


@app.command()
def options(
    name: Name,
    setting: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OPTION=VALUE]...", help="Set these; OPTION= takes one back."),
    ] = None,
    actor: Actor = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show or set the serving options that apply to all versions of a model, over their own."""
    from foretoken.server.registry.options import ServingOptions  # noqa: PLC0415

    known = tuple(ServingOptions.model_fields)
    with open_catalogue(server, data_dir, actor) as registry:
        said = registry.options(name)
        for option, value in _pairs("OPTION=VALUE", setting or []).items():
            if option not in known:
                raise InvalidInput(f"no serving option {option!r}; options are {', '.join(known)}")
            said[option] = _value(value)
        if setting:
            registry.set_options(name, {k: v for k, v in said.items() if v != ""})
        current = dict.fromkeys(known) | registry.options(name)
    show_record(current, title=f"Serving options of {name}", as_json=as_json)


@app.command()
def load(
    name: Name, data_dir: DataDir = None, server: Server = None, as_json: Json = False
) -> None:
    """Have a model served again, by every worker and across restarts."""
    with open_catalogue(server, data_dir) as registry:
        registry.load(name)
    show(f"{name} is served.", as_json=as_json, loaded=name)


@app.command()
def unload(
    name: Name, data_dir: DataDir = None, server: Server = None, as_json: Json = False
) -> None:
    """Have a model served no longer, until it is loaded again."""
    with open_catalogue(server, data_dir) as registry:
        registry.unload(name)
    show(f"{name} is not served.", as_json=as_json, unloaded=name)


def _shown(records: list[dict[str, Any]], as_json: bool) -> list[dict[str, Any]]:
    return records if as_json else [readable(record) for record in records]


def _readable_version(record: dict[str, Any]) -> dict[str, Any]:
    said = readable(record)
    if said["parent"]:
        said["parent"] = "{relation} {name}:{number} ({digest})".format(**said["parent"])
    if "files" in said:
        for name, entry in said["files"].items():
            said["files"][name] = f"{entry['digest']}, {decimal(entry['size'])}"
        graphs = said["signature"].items()
        said["signature"] = {
            name: f"{_tensors(graph['inputs'])} -> {_tensors(graph['outputs'])}"
            for name, graph in graphs
        }
        said["export"] = {name: _exported(entry) for name, entry in said["export"].items()}
    return said


def _exported(said: dict[str, Any]) -> str:
    """What was measured at export, in a line; JSON holds every example."""
    measured = [
        f"{what} {min(found['largest'], found['relative']):.2g} of the scale "
        f"over {len(found['examples'])} examples"
        for what, found in (("parity", said.get("parity")), ("loss", said.get("loss")))
        if found is not None
    ]
    return ", ".join([f"opset {said['opset']}", *measured])


def _tensors(tensors: list[dict[str, Any]]) -> str:
    return ", ".join(f"{t['name']} {t['dtype']}{t['dims']}".replace("'", "") for t in tensors)


def _value(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > len(str(LARGEST)):
        raise InvalidInput(f"--after takes a version number with a NAME, not {text!r}")
    return version_number(int(text))


def _pairs(what: str, given: list[str]) -> dict[str, str]:
    if bad := [pair for pair in given if "=" not in pair]:
        raise InvalidInput(f"{what} takes KEY=VALUE, not {', '.join(bad)}")
    return dict(pair.split("=", 1) for pair in given)
