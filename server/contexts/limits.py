"""How large tables and contexts may be, said before anything is allocated for them."""

from __future__ import annotations

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.tasks import TabularRequest
from foretoken.server.settings import Settings

__all__ = ["expect_graph", "expect_state", "expect_table", "expect_training"]


def expect_table(rows: int, columns: int, settings: Settings) -> None:
    """Do nothing if a table of this shape may come in; doors ask as soon as a shape is announced.

    Raises:
        InvalidInput: if it is larger than the settings allow.
    """
    if columns > settings.table_columns:
        raise InvalidInput(
            f"a table of {columns} columns is more than this server takes, "
            f"{settings.table_columns} (table_columns); choose among them"
        )
    if rows * columns > settings.table_cells:
        raise InvalidInput(
            f"a table of {rows} rows by {columns} columns has {rows * columns} values; this server "
            f"takes {settings.table_cells} (table_cells): send fewer rows, or in parts"
        )


def expect_training(request: TabularRequest, settings: Settings) -> None:
    """Do nothing if the request is one to fit, of a size that may come in.

    Raises:
        InvalidInput: if it is not.
    """
    if request.context is not None:
        raise InvalidInput("a context stands for a fitted table already; to fit, give the table")
    if not request.train or request.target is None:
        raise InvalidInput("to fit needs columns to learn from and their target")
    if request.test:
        raise InvalidInput("to fit takes no rows to predict for; predict with the context")
    expect_table(len(next(iter(request.train.values()))), len(request.train), settings)


def expect_graph(edges: int, nodes: int, settings: Settings) -> None:
    """Do nothing if a graph of this size may come in; doors ask as soon as a size is announced.

    Raises:
        InvalidInput: if it is larger than the settings allow.
    """
    if nodes > settings.graph_nodes:
        raise InvalidInput(
            f"a graph of {nodes} nodes is more than this server takes, {settings.graph_nodes} "
            "(graph_nodes): number those that have edges from 0 on"
        )
    if edges > settings.graph_edges:
        raise InvalidInput(
            f"a graph of {edges} edges is more than this server takes, {settings.graph_edges} "
            "(graph_edges): send fewer, such as those of large weight"
        )


def expect_state(nbytes: int, settings: Settings) -> None:
    """Do nothing if a state of this size may be kept.

    Raises:
        Unsupported: if it is larger than all states together may be.
    """
    if nbytes > settings.context_bytes:
        raise Unsupported(
            f"the state of this context would take {nbytes} bytes; this server keeps "
            f"{settings.context_bytes} (context_bytes): fit fewer rows, ensemble members or "
            "dimensions, or predict with the training set inline"
        )
