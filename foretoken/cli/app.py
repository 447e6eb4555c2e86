"""All commands in one place."""

from __future__ import annotations

import typer

from foretoken.cli import (
    backup,
    contexts,
    early_stop,
    embed,
    embed_graph,
    extrapolate,
    generate,
    models,
    predict,
    search,
    serve,
    snapshots,
    stream,
    tokens,
    train,
    transfer,
    watch,
)
from foretoken.cli.output import guarded
from foretoken.cli.remote import remember

app = typer.Typer(
    name="foretoken",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.callback(help="Serve models that predict from what they have just seen.")(remember)
app.add_typer(models.app, name="models")
models.app.command("import")(transfer.import_model)
models.app.command("export")(transfer.export_model)
app.add_typer(contexts.app, name="contexts")
app.add_typer(snapshots.app, name="snapshots")
app.add_typer(tokens.app, name="tokens")
app.command("predict")(predict.predict)
app.command("embed-graph")(embed_graph.embed_graph)
app.command("extrapolate")(extrapolate.extrapolate)
app.command("early-stop")(early_stop.early_stop)
app.command("watch")(watch.watch)
app.command("stream")(stream.stream)
app.command("generate")(generate.generate)
app.command("embed")(embed.embed)
app.command("search")(search.search)
app.command("train")(train.train)
app.command("serve")(serve.serve)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)


def run() -> None:
    """Run the command line; an error of ours is one line on stderr and an exit status."""
    with guarded():
        app()
