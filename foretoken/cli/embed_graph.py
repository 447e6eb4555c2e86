"""``foretoken embed-graph``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from foretoken.cli.graphs import Edges, Graphs, Made, expect_vectors, graphs_of, read, writing
from foretoken.cli.output import show, track, work
from foretoken.cli.registry import DataDir, Json
from foretoken.cli.remote import Server
from foretoken.errors import InvalidInput

__all__ = ["embed_graph"]

ROWS = 4096  # that are written at a time


def embed_graph(
    edges: Annotated[
        Path | None,
        typer.Argument(
            help="Columns source, target and perhaps weight; CSV or Parquet by suffix. Nodes are "
            "numbered from 0, or named by text."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the vectors: .parquet, .npy or .csv.")
    ] = None,
    model: Annotated[str, typer.Option(help="NAME, NAME:VERSION or ALIAS@NAME.")] = "fastrp",
    context: Annotated[
        str | None, typer.Option(help="Id of a graph that was embedded before, not EDGES.")
    ] = None,
    nodes: Annotated[
        str | None, typer.Option(help="Only these, numbers with commas between; default: all.")
    ] = None,
    directed: Annotated[
        bool, typer.Option("--directed", help="Edges lead from source to target alone.")
    ] = False,
    count: Annotated[
        int | None, typer.Option(min=1, help="Of nodes; default: the largest number, and one more.")
    ] = None,
    renumber: Annotated[
        bool, typer.Option("--renumber", help="Take the numbers in EDGES for mere names.")
    ] = False,
    self_loops: Annotated[
        str, typer.Option(help="Edges from a node to itself: refuse, keep or drop.")
    ] = "refuse",
    duplicates: Annotated[
        str, typer.Option(help="Edges that stand there more than once: refuse, or sum weights.")
    ] = "refuse",
    option: Annotated[
        list[str] | None,
        typer.Option("-o", "--option", help="NAME=VALUE of the model, such as dimensions=128."),
    ] = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Embed the nodes of a graph as vectors, and keep them for later; or look them up."""
    if (edges is None) == (context is None):
        raise InvalidInput("give EDGES to embed, or --context of a graph that was embedded before")
    if edges is None and out is None:
        raise InvalidInput("--out is missing: the file to write vectors to")
    if context is not None and option:
        raise InvalidInput("a context was made with its own options: leave out --option")
    if out is not None:
        expect_vectors(out)
    options, wanted = _options(option or []), _nodes(nodes)
    graph = None if edges is None else read(edges, renumber=renumber)
    if graph is not None and graph.names is not None and count is not None:
        raise InvalidInput(
            f"--count is for nodes that are numbered; {edges} names {len(graph.names)} of them, "
            "and others have no name"
        )
    said = {"directed": directed, "self_loops": self_loops, "duplicates": duplicates}
    with graphs_of(server, data_dir) as graphs:
        if graph is not None:
            made = _embedded(graphs, model, edges, graph, options, {**said, "count": count})
            context = made.context
            _say(f"Kept as {context}, which --context takes in the place of EDGES.")
        assert context is not None
        if out is None:
            show(
                f"Embedded {made.nodes} nodes in {made.dimensions} dimensions.",
                as_json=as_json,
                **_told(made),
            )
            return
        rows = _written(graphs, context, wanted, graph, out)
    show(
        f"Wrote {rows} vectors to {out}.", as_json=as_json, rows=rows, out=str(out), context=context
    )


def _embedded(
    graphs: Graphs,
    model: str,
    path: Path | None,
    graph: Edges,
    options: dict[str, float | str],
    said: dict[str, Any],
) -> Made:
    try:
        with work("walking the graph"):
            made = graphs.embed(model, graph, options, **said)
    except InvalidInput as e:
        raise InvalidInput(f"{path}: {e}") from e
    for note in made.notes:
        _say(f"note: {note}")
    return made


def _written(
    graphs: Graphs,
    context: str,
    wanted: np.ndarray[Any, Any] | None,
    graph: Edges | None,
    out: Path,
) -> int:
    vectors = graphs.vectors(context, wanted)
    numbers = np.arange(len(vectors)) if wanted is None else wanted
    names = numbers if graph is None or graph.names is None else graph.names[numbers]
    starts: Sequence[int] = range(0, len(vectors), ROWS)
    with writing(out, *vectors.shape) as write:
        for start in track(starts, "writing", math.ceil(len(vectors) / ROWS)):
            rows = slice(start, start + ROWS)
            write(names[rows], vectors[rows])
    return len(vectors)


def _told(made: Made) -> dict[str, Any]:
    return {
        "context": made.context,
        "nodes": made.nodes,
        "dimensions": made.dimensions,
        "cached": made.cached,
        "seconds": made.seconds,
        "notes": list(made.notes),
    }


def _options(given: Sequence[str]) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--option {text!r} is not NAME=VALUE")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = value
    return found


def _nodes(given: str | None) -> np.ndarray[Any, Any] | None:
    if given is None:
        return None
    try:
        return np.array([int(part) for part in given.split(",")], np.int64)
    except (ValueError, OverflowError) as e:
        raise InvalidInput(f"--nodes is numbers with commas between, not {given!r}") from e


def _say(line: str) -> None:
    typer.echo(line, err=True)
