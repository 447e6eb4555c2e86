"""``foretoken generate``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from foretoken.cli.prompts import Asked, continued, integers_of, prompt_of
from foretoken.cli.registry import DataDir, Json
from foretoken.cli.remote import Server
from foretoken.generated import Answer, Token

SEARCH = "Options of the policy search"


def generate(
    model: Annotated[str, typer.Argument(help="NAME, NAME:VERSION or ALIAS@NAME.")],
    prompt: Annotated[str | None, typer.Argument(help="What to continue.")] = None,
    prompt_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Read the prompt from a file, or with - from standard input; a line end at its "
            "end is left out.",
        ),
    ] = None,
    ids: Annotated[
        str | None, typer.Option(help="The prompt's token ids, with commas between.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Of the answer.")] = 16,
    chain: Annotated[
        str | None,
        typer.Option(
            help="Layers to run, with commas between, such as 0,1,1,2; any may be left out or come "
            "again.",
        ),
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="Who says which layers: full, chain, menu or search.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 0.0,
    top_k: Annotated[int | None, typer.Option(help="So many of the likeliest tokens stay.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Tokens stay whose probabilities sum up to this.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Tokens stay with this share of the likeliest one's.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1 makes tokens less likely that have been seen.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of what is drawn.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="Text before which the answer ends; may be repeated.")
    ] = None,
    logprobs: Annotated[
        int | None, typer.Option(help="Tell each token's logprob, and so many of the likeliest.")
    ] = None,
    answer: Annotated[
        str | None, typer.Option(help="That is right.", rich_help_panel=SEARCH)
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(help="A regular expression that right answers match.", rich_help_panel=SEARCH),
    ] = None,
    confident: Annotated[
        bool,
        typer.Option("--confident", help="The surest answer is best.", rich_help_panel=SEARCH),
    ] = False,
    simulations: Annotated[
        int | None, typer.Option(help="Chains that are tried.", rich_help_panel=SEARCH)
    ] = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Continue a prompt, and tell the answer token by token.

    --json prints an object for each token, and one for the whole answer. Ctrl-C ends the work.
    """
    asked = Asked(
        model=model,
        prompt=prompt_of(prompt, prompt_file, ids),
        max_tokens=max_tokens,
        chain=None if chain is None else integers_of("--chain", chain),
        policy=policy,
        sampling={
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "seed": seed,
        },
        stop=tuple(stop or ()),
        logprobs=logprobs or 0,
        answer=answer,
        pattern=pattern,
        confident=confident,
        simulations=simulations,
    )
    with continued(asked, server, data_dir) as tokens:
        for token in tokens:
            _say(token, lines=logprobs is not None, as_json=as_json)
        reply = tokens.reply
    if as_json:
        _write(json.dumps(_record(reply), ensure_ascii=False) + "\n")
        return
    if logprobs is None:
        _write("\n")
    typer.echo(f"note: {_summary(reply)}", err=True)


def _say(token: Token, *, lines: bool, as_json: bool) -> None:
    if as_json:
        _write(json.dumps(asdict(token), ensure_ascii=False) + "\n")
    elif lines:
        beside = "  ".join(f"{i}: {logprob:.4f}" for i, logprob in token.likeliest)
        text = json.dumps(token.text, ensure_ascii=False)
        _write(f"{token.id:>8}  {token.logprob:>9.4f}  {text:<12}  {beside}".rstrip() + "\n")
    else:
        _write(token.text)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _record(reply: Answer) -> dict[str, object]:
    """All of an answer but its tokens, which were told."""
    said = {name: value for name, value in vars(reply).items() if name != "tokens"}
    return {"text": reply.text, "answer_tokens": len(reply.tokens), **said}


def _summary(reply: Answer) -> str:
    chain = ",".join(map(str, reply.chain))
    cached = f", {reply.cached_tokens} of them cached" if reply.cached_tokens else ""
    return (
        f"{len(reply.tokens)} tokens by {reply.ref} ({reply.finish}), after {reply.prompt_tokens} "
        f"of the prompt{cached}; {len(reply.chain)} layers: {chain}"
    )
