"""Tables to learn from, as contexts know them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Arrays
from foretoken.models.tasks import TabularRequest
from foretoken.records import ContextRecord
from foretoken.server.contexts import identity, tables
from foretoken.server.contexts.identity import Fitter
from foretoken.server.contexts.limits import expect_training
from foretoken.server.settings import Settings

__all__ = ["TabularForm"]

CELLS = 1 << 15  # of a table that are hashed on the event loop; more take a thread
TEXT = 16  # cells of numbers that one of text counts as, besides its characters


class TabularForm:
    """See ``forms.Form``."""

    name = "tabular"

    def expect_training(self, request: TabularRequest, settings: Settings) -> None:
        expect_training(request, settings)

    def brings(self, request: TabularRequest) -> bool:
        return bool(request.train) and request.target is not None

    def large(self, request: TabularRequest) -> bool:
        columns = [np.asarray(column) for column in (request.train or request.test).values()]
        numbers = [column for column in columns if column.dtype.kind not in "OU"]
        texts = [column for column in columns if column.dtype.kind in "OU"]
        cells = sum(map(len, numbers)) + TEXT * sum(map(len, texts))
        if cells > CELLS:
            return True
        return cells + sum(len(v) for text in texts for v in text if isinstance(v, str)) > CELLS

    def canonical(self, request: TabularRequest) -> TabularRequest:
        return identity.canonical(request)

    def asked(self, request: TabularRequest, record: ContextRecord) -> TabularRequest:
        _expect_columns(record, request)
        return identity.canonical(request, record.columns)

    def context_id(self, key: bytes, fitter: Fitter, request: TabularRequest) -> str:
        return identity.context_id(key, fitter, request)

    def nbytes(self, request: TabularRequest) -> int:
        return sum(column.nbytes for column in request.train.values())

    def told(self, request: TabularRequest) -> dict[str, Any]:
        assert request.target is not None
        return {
            "rows": len(request.target),
            "columns": tuple(request.train),
            "classes": tuple(str(label) for label in sorted(set(request.target.tolist()))),
            "texts": tuple(identity.texts(request.train)),
        }

    def to_bytes(self, context: str, request: TabularRequest) -> bytes:
        return tables.to_bytes(context, request)

    def read(self, about: Mapping[str, Any], tensors: Arrays) -> TabularRequest:
        return tables.read(about, tensors)


def _expect_columns(record: ContextRecord, request: TabularRequest) -> None:
    fitted, given = set(record.columns), request.test.keys()
    if fitted == given:
        return
    missing, unknown = sorted(fitted - given), sorted(given - fitted)
    said = [f"missing are {missing}"] if missing else []
    said += [f"unknown are {unknown}"] if unknown else []
    raise InvalidInput(
        f"the columns to predict for are not those that context {record.id} was fitted with: "
        + ", ".join(said)
    )
