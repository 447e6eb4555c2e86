"""The generator: turns of one layer for many requests, from prompts to answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count

import torch

from foretoken.errors import InvalidInput, Overloaded
from foretoken.models.generation import Continuation, Layered, Sampling
from foretoken.models.layers.texts.reading import Unread
from foretoken.models.tasks import Token
from foretoken.server.engine.generation.admission import Admission
from foretoken.server.engine.generation.blocks import Blocks
from foretoken.server.engine.generation.decoding import Decoding
from foretoken.server.engine.generation.executor import Executor
from foretoken.server.engine.generation.pool import Pool
from foretoken.server.engine.generation.sampling import Row, sample
from foretoken.server.engine.generation.scheduler import Scheduler

__all__ = ["Generator", "Sizes"]


@dataclass(frozen=True)
class Sizes:
    """What a generator keeps within.

    Args:
        blocks: of keys and values, for all positions of all requests' chains.
        block: tokens of each.
        chunk: tokens of a prompt that pass the layers together, at most.
        tokens: of a batch, at most.
        active: requests at a time, at most.
        queue: requests that wait for blocks, at most.
        patience: turns that a request waits before it goes first.
    """

    blocks: int
    block: int = 16
    chunk: int = 64
    tokens: int = 256
    active: int = 64
    queue: int = 1024
    patience: int = 64

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 1:
            raise InvalidInput(f"sizes of a generator are at least 1: {self}")


class Generator:
    """Decodes requests in company. Not for several threads at once.

    Args:
        module: whose layers run.
        sizes: to keep within.
        dtype: of keys and values.
        device: where the module is.
        computing: what the module runs in.
    """

    def __init__(
        self,
        module: Layered,
        sizes: Sizes,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        computing: Callable[[], AbstractContextManager[object]] = torch.inference_mode,
    ) -> None:
        self._computing = computing
        self.sizes = sizes
        self.turns = 0
        self.blocks = Blocks(sizes.blocks)
        self.admission = Admission(self.blocks, sizes.block, sizes.active)
        self.pool = Pool(
            sizes.blocks, sizes.block, module.kv_heads, module.head_width, dtype, device
        )
        self._executor = Executor(module, self.pool)
        self._scheduler = Scheduler(module.layers, sizes.tokens, sizes.patience)
        self._number = count()

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.admission.active or self.admission.waiting)

    def add(self, work: Continuation, owner: str = "") -> Decoding:
        """Let a request take part.

        Args:
            work: of it.
            owner: prefixes are shared among the requests of one.

        Raises:
            Unsupported: the pool is too small for it.
            Overloaded: too many wait already.
        """
        if len(self.admission.waiting) >= self.sizes.queue:
            raise Overloaded(f"{self.sizes.queue} requests wait for this model already")
        one = Decoding(work, next(self._number), self.sizes.block, owner)
        self.admission.add(one)
        return one

    def warm(self) -> None:
        """Decode a token by all layers, so that the first request finds done what is slow once.

        Raises:
            Unsupported: the pool is too small for it.
            ForetokenError: whatever the module raises.
        """
        whole = tuple(range(self._scheduler.head))
        self.add(Continuation((0,), whole, 2, Sampling().over({}), frozenset(), Unread()))
        for _ in self.run():
            pass

    def cancel(self, one: Decoding) -> None:
        """Take a request out; its blocks are free at once."""
        self.admission.leave(one)

    def turn(self) -> list[tuple[Decoding, Token | None]]:
        """Run one layer for one batch.

        Returns:
            The requests that now have one token more, and it, or None for those whose tokens are
            now scored, and those that failed; of those that have ended, ``finish`` says why.
        """
        for one in self.admission.admit():
            one.pass_on(self.sizes.chunk)
        if not self.admission.active:
            return []
        self.turns += 1
        layer, batch = self._scheduler.choose(self.admission.active)
        if layer == self._scheduler.head:
            return self._headed(batch)
        with self._computing():
            self._executor.run(layer, batch)
        for one in batch:
            if not one.work.scored:
                self._publish(one)
            one.at += 1
            one.layers += one.count
        return []

    def run(self) -> Iterator[tuple[Decoding, Token | None]]:
        """Turns until nothing is left to do; tokens as they come."""
        while self.busy:
            yield from self.turn()

    def _publish(self, one: Decoding) -> None:
        """Let blocks be found that this layer has filled, at the position that it ran at."""
        size, at = self.sizes.block, one.at
        first, full = max(one.shared[at], one.begin // size), one.end // size
        digests = one.hash()
        for block in range(first, full):
            self.blocks.publish(one.tables[at][block], (one.roots[at], digests[block]))

    def _headed(self, batch: Sequence[Decoding]) -> list[tuple[Decoding, Token | None]]:
        """What follows the last layer: a token, or the next chunk of a prompt.

        Chunks come here, too, though nothing is asked of them, so that they and others' tokens
        begin their next pass together.
        """
        scored = [one for one in batch if one.work.scored]
        heard: list[tuple[Decoding, Token | None]] = [*self._scored(scored)]
        if whole := [one for one in batch if one.whole and not one.work.scored]:
            heard += self._sampled(whole)
        for one in sorted(batch, key=lambda one: one.number):
            if one in self.admission.active and self.admission.grow(one):
                one.pass_on(self.sizes.chunk)
        return heard

    def _sampled(self, batch: Sequence[Decoding]) -> list[tuple[Decoding, Token | None]]:
        rows = [Row(one.work.sampling, one.tokens, one.work.logprobs) for one in batch]
        with self._computing():
            found = sample(self._executor.logits(batch), rows)
        heard: list[tuple[Decoding, Token | None]] = []
        for one, drawn in zip(batch, found, strict=True):
            one.tokens.append(drawn.token)
            length, ended = len(one.answer) + 1 == one.work.most, drawn.token in one.work.ends
            said = None if ended else drawn.token
            try:
                text = one.work.reader.read(said, last=length or ended)
            except Exception as e:  # of the reader of one, which is no matter of the others'
                one.failed(e)
                self.admission.leave(one)
                heard.append((one, None))
                continue
            stopped = ended or one.work.reader.stopped
            one.finish = "stop" if stopped else "length" if length else ""
            token = Token(drawn.token, text, drawn.logprob, drawn.likeliest, one.finish)
            one.answer.append(token)
            heard.append((one, token))
            if one.finish:
                self.admission.leave(one)
        return heard

    def _scored(self, batch: Sequence[Decoding]) -> list[tuple[Decoding, None]]:
        for one in batch:
            with self._computing():
                one.score = self._executor.score(one)
            one.finish = "scored"
            self.admission.leave(one)
        return [(one, None) for one in batch]
