"""``foretoken search``: texts among vectors, or chains of layers for labelled prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foretoken.cli import files
from foretoken.cli.chains import search_chains
from foretoken.cli.nearest import nearest
from foretoken.cli.prompts import Rows
from foretoken.cli.registry import DataDir, Json
from foretoken.cli.remote import Server
from foretoken.cli.texts import JSON_LINES
from foretoken.errors import InvalidInput

TEXTS, CHAINS = "Options of a search among texts", "Options of a search for chains"
TOP, SIZE, HELD_OUT, MAX_TOKENS, SIMULATIONS = 5, 10, 0.5, 16, 200


def search(
    file: Annotated[
        Path,
        typer.Argument(
            help="Parquet that `foretoken embed` wrote; or JSON lines, each an object of prompt "
            "and answer, or of prompt and pattern."
        ),
    ],
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY|MODEL", help="What to look for among texts; or the model that generates."
        ),
    ],
    top: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"How many texts to show, {TOP} by default.", rich_help_panel=TEXTS
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            help="Put before the query, if the model expects one there.", rich_help_panel=TEXTS
        ),
    ] = None,
    chains: Annotated[
        int | None,
        typer.Option(help=f"Of the menu, at most; {SIZE} by default.", rich_help_panel=CHAINS),
    ] = None,
    held_out: Annotated[
        float | None,
        typer.Option(
            help="Share of the prompts that the menu is measured on and not chosen by; "
            f"{HELD_OUT} by default.",
            rich_help_panel=CHAINS,
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(help=f"Of an answer; {MAX_TOKENS} by default.", rich_help_panel=CHAINS),
    ] = None,
    simulations: Annotated[
        int | None,
        typer.Option(
            help=f"Chains that are tried for a prompt; {SIMULATIONS} by default.",
            rich_help_panel=CHAINS,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw lengths and layers of the chains found: PNG, SVG or PDF.",
            rich_help_panel=CHAINS,
        ),
    ] = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Find texts that are most like a query; or chains of layers for labelled prompts.

    Of a Parquet file: the texts whose vectors have the largest cosines with the query's, which is
    embedded by the version that has made the file. Of JSON lines: each prompt's chains are
    searched, a menu is made of them and stored as a child version, and told with what it is worth
    on prompts that were held out; the policy menu of `foretoken generate` goes by it.
    """
    about_chains = (chains, held_out, max_tokens, simulations, plot)
    if file.suffix.lower() not in JSON_LINES:
        if any(each is not None for each in about_chains):
            raise InvalidInput(
                "--chains, --held-out, --max-tokens, --simulations and --plot are for labelled "
                f"prompts, files that end in {' or '.join(JSON_LINES)}"
            )
        nearest(file, query, top or TOP, prompt, data_dir, server, as_json=as_json)
        return
    if top is not None or prompt is not None:
        raise InvalidInput("--top and --prompt are for texts, Parquet that `foretoken embed` wrote")
    if plot is not None:
        files.expect_file(plot, files.PICTURES)
    rows = Rows(
        query,
        file,
        SIZE if chains is None else chains,
        HELD_OUT if held_out is None else held_out,
        MAX_TOKENS if max_tokens is None else max_tokens,
        SIMULATIONS if simulations is None else simulations,
    )
    search_chains(rows, server, data_dir, plot, as_json=as_json)
