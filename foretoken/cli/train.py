"""``foretoken train``: runs a family's own recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from foretoken.cli.transfer import options_of
from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.catalog import family
from foretoken.models.recipes import Recipe, parse


def train(
    name: Annotated[str, typer.Argument(metavar="FAMILY", help="A family under models/.")],
    preset: Annotated[
        str, typer.Option(help="How large and how long; the family lists its own.")
    ] = "",
    csv: Annotated[
        Path | None, typer.Option(help="Learn from this file: short for -o csv=FILE.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Its column to predict: short for -o target=COL.")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Learn from this model: short for -o teacher=DIR.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; it is resumed if it holds one.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="NAME=VALUE, repeated; the family's own."),
    ] = None,
) -> None:
    """Train a family, resumably, and leave a folder to register.

    It learns from the family's own data source, or from a file of yours if the family takes one.

    Ctrl-C ends at a checkpoint; the same command goes on from there.
    """
    name = name.replace("-", "_")  # as commands are written
    recipe = family(name).recipe
    if recipe is None:
        raise Unsupported(f"family {name!r} is not trained here; import a model instead")
    preset = preset or recipe.default
    _expect_preset(name, recipe, preset)
    options = parse(recipe.options, {**_short(csv, target, teacher), **options_of(option or [])})
    folder = out or Path("runs") / f"{name}-{preset}"
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.fields[name]}"),
        BarColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=1.0, name=f"{name} {preset}", figures="")

        def progress(done: float, figures: Mapping[str, float], /) -> None:
            text = "  ".join(f"{k} {v:.3f}" for k, v in figures.items())
            bar.update(task, completed=done, figures=text)

        recipe.run(preset, options, folder, progress)
    if (log := folder / "log.csv").exists():  # not every recipe takes steps
        from foretoken.cli.plot import plot_losses  # noqa: PLC0415 - matplotlib is slow to import

        plot_losses(folder / "loss.png", log)
    console.print(f"Trained. Register it: foretoken models register NAME {folder / 'artefact'}")


def _short(csv: Path | None, target: str | None, teacher: Path | None) -> dict[str, str]:
    """Options of their own name, as families that learn from files or models call them."""
    given = {"csv": csv, "target": target, "teacher": teacher}
    return {name: str(value) for name, value in given.items() if value is not None}


def _expect_preset(name: str, recipe: Recipe, preset: str) -> None:
    if preset not in recipe.presets:
        listed = "; ".join(f"{key}: {text}" for key, text in recipe.presets.items())
        said = f"{name} has no preset {preset!r}" if preset else "give a --preset"
        raise InvalidInput(f"{said}; there are {listed}")
