"""The door of tables: ``foretoken.v1.Tabular``. Letters: M rows to classify, C classes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.tasks import TabularReply, TabularRequest
from foretoken.proto import tabular as wire
from foretoken.proto.loading import service
from foretoken.records import ContextRecord
from foretoken.server.contexts.identity import texts
from foretoken.server.doors.service import Bidirectional, Call, Service, Stream, Unary
from foretoken.server.doors.tables import Tables, unblocked
from foretoken.server.doors.turns import in_turns
from foretoken.server.plane import Answers, Plane
from foretoken.server.settings import Settings
from foretoken.server.terms import Terms

__all__ = ["tabular"]

PAGE = 1000  # contexts, by default and at most
_ENCODED = 1 << 17  # probabilities that the event loop may be held up for

Known: TypeAlias = wire.PredictRequest | wire.PredictOpen


def tabular(plane: Plane, settings: Settings) -> Service:
    """The service, answered by ``plane`` within the limits of ``settings``."""
    door = _Door(plane, settings)
    return Service(
        service("foretoken/v1/tabular.proto", "Tabular"),
        {
            "Fit": Unary(door.fit),
            "Predict": Unary(door.predict),
            "PredictStream": Bidirectional(door.predict_stream),
            "Describe": Unary(door.describe),
            "Contexts": Unary(door.contexts),
            "Delete": Unary(door.delete),
        },
    )


class _Opened(NamedTuple):
    """What the chunks of a stream are answered by."""

    model: str
    context: str
    uncertainty: bool
    terms: Terms
    fitted: bool | None  # whether the training set of the opening was kept already


class _Door:
    def __init__(self, plane: Plane, settings: Settings) -> None:
        self._plane = plane
        self._deadline = settings.deadline
        self._tables = Tables(settings)

    # -- contexts ---------------------------------------------------------------------------------

    async def fit(self, asked: wire.FitRequest, call: Call) -> wire.FitResponse:
        terms = _keyed(call.terms, asked.key)
        loaded = await self._plane.describe(asked.model, terms)
        request = await self._training(asked.training)
        if asked.plan_only:
            size = await self._plane.measure(asked.model, request, terms)
            rows = 0 if request.target is None else len(request.target)
            version = loaded.version
            planned = wire.Context(
                model=version.name, version=version.number, rows=rows, nbytes=size
            )
            planned.columns.extend(request.train)
            return wire.FitResponse(context=planned)
        self._plane.expect_time(loaded, terms)
        fitted = await self._plane.fit(asked.model, request, terms)
        call.answered(Answers([], fitted.version, fitted.seconds))
        return wire.FitResponse(
            context=_context(fitted.context),
            cache=_cache(fitted.cached),
            notes=fitted.notes,
            seconds=fitted.seconds,
        )

    async def describe(self, asked: wire.DescribeRequest, call: Call) -> wire.Context:
        return _context(await self._plane.context(asked.id, call.terms))

    async def contexts(self, asked: wire.ContextsRequest, call: Call) -> wire.ContextsResponse:
        if asked.limit < 0:
            raise InvalidInput(f"limit is {asked.limit}; give 1 or more, or 0 for the default")
        limit = min(asked.limit or PAGE, PAGE)
        found = await self._plane.contexts(call.terms, asked.model or None)
        behind = sorted((each for each in found if each.id > asked.after), key=lambda c: c.id)
        page = behind[:limit]
        following = page[-1].id if len(behind) > limit else ""
        return wire.ContextsResponse(contexts=map(_context, page), next=following)

    async def delete(
        self, asked: wire.DeleteContextRequest, call: Call
    ) -> wire.DeleteContextResponse:
        await self._plane.delete_context(asked.id, call.terms)
        return wire.DeleteContextResponse()

    # -- predictions ------------------------------------------------------------------------------

    async def predict(self, asked: wire.PredictRequest, call: Call) -> wire.PredictResponse:
        terms, context = _keyed(call.terms, asked.key), _context_id(asked)
        if context is None:
            loaded = await self._plane.describe(asked.model, terms)
            self._plane.expect_time(loaded, terms)
            known = await self._training(asked.training)
            told = frozenset(texts(known.train))
            request = replace(known, test=await self._test(asked.test, told))
        else:
            told = await self._texts(asked.test, context, terms)
            test = await self._test(asked.test, told)
            request = TabularRequest(test=test, context=context)
        answers = await self._plane.predict(asked.model, [request], terms)
        call.answered(answers)
        return await _response(answers, context or "", uncertainty=asked.uncertainty)

    async def predict_stream(self, stream: Stream, call: Call) -> None:
        """Answer chunk after chunk; the next is read while a few are worked on, then no more."""
        first = await stream.read()
        if first is None:
            return
        _expect(first, "open")
        opened = await self._open(first.open, call)
        fitted = iter((opened.fitted,))  # told with the first chunk

        async def answer(message: wire.PredictStreamRequest) -> wire.PredictResponse:
            _expect(message, "test")
            return await self._answer(
                message.test, opened._replace(fitted=next(fitted, None)), call
            )

        await in_turns(stream, answer)

    async def _open(self, opening: wire.PredictOpen, call: Call) -> _Opened:
        terms, context = _keyed(call.terms, opening.key), _context_id(opening)
        if context is not None:
            return _Opened(opening.model, context, opening.uncertainty, terms, None)
        within = self._timed(terms)
        await self._plane.describe(opening.model, within)
        request = await self._training(opening.training)
        fitted = await self._plane.fit(opening.model, request, within)
        call.answered(Answers([], fitted.version, fitted.seconds))
        return _Opened("", fitted.context.id, opening.uncertainty, terms, fitted.cached)

    async def _answer(self, said: wire.Table, opened: _Opened, call: Call) -> wire.PredictResponse:
        told = await self._texts(said, opened.context, opened.terms)
        test = await self._test(said, told)
        request = TabularRequest(test=test, context=opened.context)
        answers = await self._plane.predict(opened.model, [request], self._timed(opened.terms))
        call.answered(answers)
        made = await _response(answers, opened.context, uncertainty=opened.uncertainty)
        if opened.fitted is False:
            made.cache = wire.MISS  # they were read for this stream
        return made

    def _timed(self, terms: Terms) -> Terms:
        """Each message of a stream has the default deadline, unless the stream's is earlier."""
        return replace(terms, deadline=min(terms.deadline, time.monotonic() + self._deadline))

    async def _training(self, said: wire.Training) -> TabularRequest:
        return await unblocked(said.table.ByteSize(), lambda: self._tables.training(said))

    async def _texts(self, said: wire.Table, context: str, terms: Terms) -> frozenset[str]:
        """Columns that are text because the context's are; only CSV leaves that open."""
        csv = said.WhichOneof("form") == "csv"
        return await self._plane.texts(context, terms) if csv else frozenset()

    async def _test(self, said: wire.Table, told: frozenset[str]) -> dict[str, Array]:
        return await unblocked(
            said.ByteSize(), lambda: self._tables.columns(said, "the test table", told)
        )


def _expect(message: wire.PredictStreamRequest, kind: str) -> None:
    """Refuse a message that is not the one that is due."""
    said = message.WhichOneof("message")
    if said != kind:
        raise InvalidInput(f"expected `{kind}` here, not `{said}`: `open` once, then `test`")


def _keyed(terms: Terms, key: str) -> Terms:
    return replace(terms, key=key) if key else terms


def _context_id(asked: Known) -> str | None:
    """The id of a context, or None if labelled rows came along."""
    kind = asked.WhichOneof("known")
    if kind == "training":
        return None
    if not asked.context_id:
        raise InvalidInput("give context_id, as Fit returns it, or a model and training rows")
    return asked.context_id


async def _response(answers: Answers, context: str, *, uncertainty: bool) -> wire.PredictResponse:
    reply: TabularReply = answers.replies[0]
    made = wire.PredictResponse(
        classes=_classes(reply.classes),
        cache=_cache(answers.hits[0] if answers.hits else None),
        context_id=context,
        model=answers.version.name,
        version=answers.version.number,
        notes=reply.notes,
    )
    if reply.probabilities.size > _ENCODED:
        await asyncio.to_thread(_fill, made, reply, uncertainty=uncertainty)
    else:
        _fill(made, reply, uncertainty=uncertainty)
    return made


def _fill(made: wire.PredictResponse, reply: TabularReply, *, uncertainty: bool) -> None:
    made.probabilities.extend(reply.probabilities.ravel().tolist())
    if uncertainty:
        made.uncertainty.extend(reply.uncertainty.tolist())


def _classes(classes: Array) -> wire.Classes:
    names: list[Any] = classes.tolist()
    if classes.dtype.kind == "b":
        return wire.Classes(booleans=wire.Booleans(values=names))
    if np.issubdtype(classes.dtype, np.integer):
        return wire.Classes(integers=wire.Integers(values=names))
    return wire.Classes(texts=wire.Texts(values=map(str, names)))


def _cache(hit: bool | None) -> wire.Cache:
    return wire.NO_CACHE if hit is None else wire.HIT if hit else wire.MISS


def _context(kept: ContextRecord) -> wire.Context:
    return wire.Context(
        id=kept.id,
        model=kept.model,
        version=kept.version,
        rows=kept.rows,
        columns=kept.columns,
        classes=kept.classes,
        members=kept.members,
        nbytes=kept.nbytes,
        kept_nbytes=kept.kept_nbytes,
        created=kept.created.timestamp(),
        used=kept.used.timestamp(),
        expires=None if kept.expires is None else kept.expires.timestamp(),
        texts=kept.texts,
    )
