"""``foretoken models import`` and ``foretoken models export``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foretoken.cli.output import show_record, work
from foretoken.cli.registry import Actor, DataDir, Json, actor_or_user, open_registry, readable
from foretoken.errors import AlreadyExists, InvalidInput, NotFound
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import families
from foretoken.models.recipes import Importer, parse
from foretoken.models.tasks import Task

if TYPE_CHECKING:
    from foretoken.server.registry.registry import Version

Options = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="NAME=VALUE, repeated; the format's own.")
]

# What people call a task, and what we do; text is embedded.
TASKS = {"embedding" if task is Task.TEXT else str(task): task for task in Task}

HALVES = ("bfloat16", "float16")


def import_model(
    format_: Annotated[str, typer.Argument(metavar="FORMAT", help="A family's import format.")],
    source: Annotated[Path, typer.Argument(help="File or folder in that format.")],
    name: Annotated[str, typer.Option(help="Register it under this name.")],
    task: Annotated[
        str | None,
        typer.Option(
            help="What it is to do, where a format serves several: embedding, generation, ...",
            show_default=False,
        ),
    ] = None,
    option: Options = None,
    actor: Actor = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Import a model in a foreign format: convert, export, compare, register."""
    importer = _importer(format_, task)
    options = parse(importer.options, options_of(option or []))
    if not source.exists():
        raise NotFound(f"no file or folder {source}")
    with tempfile.TemporaryDirectory() as scratch:
        converted = Path(scratch) / "converted"
        with work(f"Reading {source.name}"):
            importer.run(source, options, converted)
        with published(Artefact.read(converted)) as artefact, open_registry(data_dir) as registry:
            version = registry.register(name, artefact, actor=actor_or_user(actor))
    _show(version, f"Imported {version.ref}", as_json)


def export_model(
    model: Annotated[str, typer.Argument(help="NAME, NAME:VERSION or ALIAS@NAME.")],
    out: Annotated[Path, typer.Option(help="Folder to write; it must not exist.")],
    precision: Annotated[
        str | None,
        typer.Option(
            help="int8, bfloat16 or float16: convert, and register the result as a child."
        ),
    ] = None,
    actor: Actor = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write a version as a folder: safetensors, ONNX graphs, description, and card if any.

    A version without graphs is exported, and one with --precision int8 quantised, or bfloat16
    halved, for torch to serve: the folder is then a new version, registered as the child of the one
    it came from. float16 is for models whose layers run one by one; their int8 is stored so, and
    widened when it is loaded.
    """
    from foretoken.server.publish import halved, publish, quantised, written  # noqa: PLC0415

    if out.exists():
        raise AlreadyExists(f"{out} exists; name a new folder")
    if precision not in (None, "int8", *HALVES):
        raise InvalidInput(
            f"--precision is int8, {', '.join(HALVES)} or left out, not {precision!r}"
        )
    with open_registry(data_dir) as registry:
        version = registry.resolve(model)
        artefact = registry.artefact(version)
        child, relation = None, None
        with work(f"Exporting {version.ref}"):
            if precision == "int8":
                child, relation = quantised(artefact, out), "quantised-from"
            elif precision is not None:
                child, relation = halved(artefact, out, precision=precision), "quantised-from"
            elif not artefact.export:
                child, relation = publish(artefact, out), "exported-from"
            else:
                written(artefact, out)
        if child is not None:
            by = actor_or_user(actor)
            version = registry.register(
                version.name, child, parent=version, relation=relation, actor=by
            )
    _show(version, f"{version.ref} in {out}", as_json)


def _show(version: Version, title: str, as_json: bool) -> None:
    record = version.record()
    show_record(record if as_json else readable(record), title=title, as_json=as_json)


@contextmanager
def published(artefact: Artefact) -> Iterator[Artefact]:
    """``artefact`` with its graphs: as it is if it has them, else from a folder for the while."""
    if artefact.export or artefact.precision != "float32":
        yield artefact
        return
    from foretoken.server.publish import publish  # noqa: PLC0415  (imports onnxruntime)

    with tempfile.TemporaryDirectory() as scratch:
        with work("Exporting, and comparing with the module"):
            exported = publish(artefact, Path(scratch) / "published")
        yield exported


def options_of(pairs: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` pairs as a mapping.

    Raises:
        InvalidInput: if one has no ``=``.
    """
    if bad := [pair for pair in pairs if "=" not in pair]:
        raise InvalidInput(f"options are NAME=VALUE, not {', '.join(bad)}")
    return dict(pair.split("=", 1) for pair in pairs)


def _importer(name: str, task: str | None) -> Importer:
    found = [(f, f.importers[name]) for f in families().values() if name in f.importers]
    if not found:
        known = {k: one.summary for f in families().values() for k, one in f.importers.items()}
        listed = "; ".join(f"{key}: {summary}" for key, summary in known.items())
        raise NotFound(f"no import format {name!r}; there are {listed or 'none'}")
    if task is not None and task not in TASKS:
        raise InvalidInput(f"--task is one of {', '.join(TASKS)}, not {task!r}")
    fitting = [one for f, one in found if task is None or f.task is TASKS[task]]
    if len(fitting) != 1:
        listed = ", ".join(f"{_called(f.task)} ({f.name})" for f, _ in found)
        raise InvalidInput(f"say by --task what a model in format {name!r} is to do: {listed}")
    return fitting[0]


def _called(task: Task) -> str:
    """What a task is called on the command line."""
    return next(name for name, each in TASKS.items() if each is task)
