"""Runs one layer for many requests at once: their tokens are gathered, run, and given back.

Letters: N tokens of a batch, W width, B requests, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foretoken.models.generation import Layered
from foretoken.models.tasks import ScoreReply
from foretoken.server.engine.generation.decoding import Decoding
from foretoken.server.engine.generation.pool import Pool
from foretoken.server.engine.generation.spans import Spans

__all__ = ["SCORED", "Executor"]

SCORED = 256  # tokens whose logits are there at a time, each as long as the vocabulary


class Executor:
    """A module over a pool.

    Args:
        module: whose layers run.
        pool: of its keys and values.
    """

    def __init__(self, module: Layered, pool: Pool) -> None:
        self._module = module
        self._pool = pool
        # Of the batch that ran last: most run several layers in the same company.
        self._spans = Spans((), pool.size, pool.device)
        self._turned: object = None
        self._hidden_last = torch.empty(0)

    def run(self, layer: int, batch: Sequence[Decoding]) -> None:
        """Take the passes of a batch through a layer."""
        # One that lost its blocks in between begins again, perhaps at the same tokens.
        begun = all(one.hidden is not None for one in batch)
        if not (begun and self._spans.of(batch)):
            self._spans = Spans(batch, self._pool.size, self._pool.device)
            self._turned = self._module.turned(self._spans.positions)
            self._hidden_last = torch.cat([self._hidden(one) for one in batch])
        h = self._module.layer(
            layer, self._hidden_last, self._turned, self._pool.view(batch, self._spans)
        )
        for one, part in zip(batch, torch.split(h, self._spans.counts), strict=True):
            one.hidden = part
        self._hidden_last = h

    def logits(self, batch: Sequence[Decoding]) -> Tensor:
        """After the last token of each pass, float32 [B, V]."""
        last = torch.stack([self._hidden(one)[-1] for one in batch])
        return self._module.logits(last).float()

    def score(self, one: Decoding) -> ScoreReply:
        """How likely each token of a pass was but the first."""
        h = self._hidden(one)[:-1]
        ids = torch.tensor(one.tokens, device=h.device)
        own, likeliest = [], []
        parts = torch.split(h, SCORED), torch.split(ids[1:, None], SCORED)
        for part, chosen in zip(*parts, strict=True):
            spread = self._module.logits(part).float().log_softmax(-1)
            own.append(spread.gather(1, chosen)[:, 0])
            likeliest.append(spread.argmax(-1))
        logprobs, best = (torch.cat(each).cpu().numpy() for each in (own, likeliest))
        return ScoreReply(ids.cpu().numpy(), logprobs, best, one.work.chain)

    def _hidden(self, one: Decoding) -> Tensor:
        if one.hidden is None:
            ids = torch.tensor(one.tokens[one.begin : one.end], device=self._pool.device)
            one.hidden = self._module.embed(ids)
        return one.hidden
