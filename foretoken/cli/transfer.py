"""``foretoken models import`` and ``foretoken models export``."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from foretoken.cli.output import show_record, work
from foretoken.errors import AlreadyExists, InvalidInput, NotFound
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import families
from foretoken.models.recipes import Importer, parse

DataDir = Annotated[Path | None, typer.Option(help="Where the catalogue and the blobs lie.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="NAME=VALUE, repeated; the format's own.")
]


def import_model(
    format_: Annotated[str, typer.Argument(metavar="FORMAT", help="A family's import format.")],
    source: Annotated[Path, typer.Argument(help="File or folder in that format.")],
    name: Annotated[str, typer.Option(help="Register it under this name.")],
    option: Options = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Import a model in a foreign format: convert, export, check parity, register."""
    from foretoken.server.publish import publish  # noqa: PLC0415
    from foretoken.server.registry.registry import Registry  # noqa: PLC0415
    from foretoken.server.settings import load_settings  # noqa: PLC0415

    importer = _importer(format_)
    options = parse(importer.options, options_of(option or []))
    if not source.exists():
        raise NotFound(f"no file or folder {source}")
    data = load_settings(data_dir=data_dir).data_dir
    with tempfile.TemporaryDirectory() as scratch, Registry.open(data) as registry:
        converted, published = Path(scratch) / "converted", Path(scratch) / "published"
        with work(f"Importing {source.name}"):
            importer.run(source, options, converted)
            artefact = publish(Artefact.read(converted), published)
            version = registry.register(name, artefact, actor="import")
        show_record(version.record(), title=f"{version.name}:{version.number}", as_json=as_json)


def export_model(
    model: Annotated[str, typer.Argument(help="NAME, NAME:VERSION or ALIAS@NAME.")],
    out: Annotated[Path, typer.Option(help="Folder to write; it must not exist.")],
    precision: Annotated[
        str | None,
        typer.Option(help="Quantise to int8 and register the result as a child version."),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write a version as a folder: safetensors, ONNX graphs, description and card."""
    from foretoken.server.publish import quantised, written  # noqa: PLC0415
    from foretoken.server.registry.registry import Registry  # noqa: PLC0415
    from foretoken.server.settings import load_settings  # noqa: PLC0415

    if out.exists():
        raise AlreadyExists(f"{out} exists; name a new folder")
    if precision not in (None, "int8"):
        raise InvalidInput(f"--precision is int8 or left out, not {precision!r}")
    data = load_settings(data_dir=data_dir).data_dir
    with Registry.open(data) as registry:
        version = registry.resolve(model)
        artefact = registry.artefact(version)
        with work(f"Exporting {version.name}:{version.number}"):
            if precision is None:
                written(artefact, out)
            else:
                child = quantised(artefact, out)
                version = registry.register(
                    version.name, child, parent=version, relation="quantised-from", actor="export"
                )
        show_record(version.record(), title=str(out), as_json=as_json)


def options_of(pairs: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` pairs as a mapping.

    Raises:
        InvalidInput: if one has no ``=``.
    """
    if bad := [pair for pair in pairs if "=" not in pair]:
        raise InvalidInput(f"options are NAME=VALUE, not {', '.join(bad)}")
    return dict(pair.split("=", 1) for pair in pairs)


def _importer(name: str) -> Importer:
    found = {key: importer for f in families().values() for key, importer in f.importers.items()}
    if name not in found:
        listed = "; ".join(f"{key}: {importer.summary}" for key, importer in found.items())
        raise NotFound(f"no import format {name!r}; there are {listed or 'none'}")
    return found[name]
