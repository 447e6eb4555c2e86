"""Posteriors as messages of ``foretoken.v1``.

Letters: Q steps, K quantile levels, J bars.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from foretoken.normalise import Normaliser
from foretoken.posterior import Floats, Posterior
from foretoken.proto import curves as wire

__all__ = ["Encoded", "encode", "encoded"]

# Work of about 2 ms goes to a thread, so that other calls need not wait for it.
SUMMARISED, COPIED = 1 << 17, 1 << 22  # logits


@dataclass
class Encoded:
    """Posteriors, and the borders that they share."""

    posteriors: list[wire.Posterior] = field(default_factory=list)
    borders: list[bytes] = field(default_factory=list)


async def encoded(replies: Sequence[Posterior], detail: int) -> Encoded:
    """See ``encode``; does not keep the event loop for long."""
    most = COPIED if detail == wire.DISTRIBUTION else SUMMARISED
    if sum(reply.logits.size for reply in replies) > most:
        return await asyncio.to_thread(encode, replies, detail)
    return encode(replies, detail)


def encode(replies: Sequence[Posterior], detail: int) -> Encoded:
    """Posteriors with what ``detail`` asks for."""
    made = Encoded()
    known: dict[int, int] = {}
    for reply in replies:
        said = wire.Posterior(steps=reply.steps.tolist(), levels=reply.levels.tolist())
        if detail != wire.DISTRIBUTION:
            said.mean.extend(reply.mean.tolist())
            said.quantiles.extend(reply.quantiles.ravel().tolist())
        if detail != wire.SUMMARY:
            index = known.setdefault(id(reply.borders), len(known))
            if index == len(made.borders):
                made.borders.append(_bytes(reply.borders))
            logits = reply.logits.astype("<f4", copy=False).tobytes()
            said.bars.logits = logits
            said.bars.borders = index
            said.bars.scale.CopyFrom(_metric(reply.scale))
        made.posteriors.append(said)
    return made


def _metric(scale: Normaliser) -> wire.Metric:
    soft = scale.soft_bounds
    return wire.Metric(
        minimize=scale.minimize,
        bounds=wire.Interval(low=scale.bounds[0], high=scale.bounds[1]),
        soft_bounds=None if soft is None else wire.Interval(low=soft[0], high=soft[1]),
    )


def _bytes(array: Floats) -> bytes:
    return array.astype("<f8", copy=False).tobytes()
