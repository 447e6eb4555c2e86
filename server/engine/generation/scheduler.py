"""Which layer runs next, and for whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from foretoken.server.engine.generation.decoding import Decoding

__all__ = ["Scheduler"]


class Scheduler:
    """Chooses a batch for every turn: the layer that most requests need next, and those requests.

    The head counts as the layer behind the last. Whoever has waited for ``patience`` turns comes
    before the rule, the longest first: where n requests are active at most, none waits as many as
    ``patience`` + n turns.

    Args:
        layers: of the model.
        tokens: of a batch, at most; a longer pass goes alone.
        patience: turns.
    """

    def __init__(self, layers: int, tokens: int, patience: int) -> None:
        self.head = layers
        self._tokens = tokens
        self._patience = patience

    def needs(self, one: Decoding) -> int:
        """The layer that a request needs next."""
        return one.work.chain[one.at] if one.at < len(one.work.chain) else self.head

    def rule(self, by_layer: Mapping[int, Sequence[Decoding]]) -> int:
        """Which of the layers that requests need is next, unless one of them has lost patience.

        The one that most need; of those that as many do, the lowest: whoever waits behind it is met
        there.
        """
        return max(by_layer, key=lambda each: (len(by_layer[each]), -each))

    def choose(self, active: Iterable[Decoding]) -> tuple[int, list[Decoding]]:
        """A layer and the batch that it runs for, of active requests, at least one."""
        by_layer: dict[int, list[Decoding]] = {}
        everyone = list(active)
        for one in everyone:
            by_layer.setdefault(self.needs(one), []).append(one)
        longest = max(everyone, key=lambda one: one.waited)
        layer = self.rule(by_layer)
        if longest.waited >= self._patience:
            layer = self.needs(longest)
        batch: list[Decoding] = []
        tokens = 0
        for one in sorted(by_layer[layer], key=lambda one: -one.waited):
            if batch and tokens + one.count > self._tokens:
                break
            batch.append(one)
            tokens += one.count
        for one in everyone:
            one.waited += 1
        for one in batch:
            one.waited = 0
        return layer, batch
