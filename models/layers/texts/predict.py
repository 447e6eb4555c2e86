"""The request logic of text encoders: prompts, tokens, calls, vectors as asked for.

Letters: n texts, B texts of a call, T tokens of the longest of them, W width of the vectors, d of
their dimensions that are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array, Call, Host, Steps
from foretoken.models.layers.texts.options import Texts
from foretoken.models.layers.texts.tokens import Encoded, Tokens
from foretoken.models.tasks import TextReply, TextRequest

__all__ = ["TextPredictor"]

INLINE = 2048  # characters: what has more is encoded in a thread, as it takes milliseconds
PIECE = 1 << 16  # characters, roughly, that are encoded at a time: others get their turn between
ROUND = 512  # calls made at a time, so that a large request is not all in the queue at once


class TextPredictor:
    """Answers ``TextRequest``s; equal texts of a request are computed once.

    A prompt is the name of one that the model has, or else a text itself; an empty one is none.

    Args:
        tokens: the tokenizer.
        texts: how texts reach the model.
        together: tokens, padding included, up to which texts of much the same length share a call;
            a text that has more has a call of its own. 0: all have. What an encoder computes for a
            text costs far more than a call; a table's sum costs less, so calls are to be few.
    """

    def __init__(self, tokens: Tokens, texts: Texts, together: int = 0) -> None:
        self._tokens, self._texts, self._together = tokens, texts, together

    def predict(self, request: TextRequest, state: None = None) -> Steps:
        """Calls of ``forward``; each different text is in one.

        Raises:
            InvalidInput: for dimensions that the model does not support, or a text that is too long
                where that is to be an error.
        """
        del state
        d, prompt = self._dimensions(request.dimensions), self._prompt(request.prompt)
        places = dict.fromkeys(request.texts)
        different = [prompt + text for text in places]
        encoded = yield from self._encode(different)
        if request.truncate == "error" and encoded.cut.any():
            self._refuse(request.texts, list(places), encoded)
        vectors = np.zeros((len(different), self._texts.width), np.float32)
        # Texts of much the same length follow each other, so batches need little padding.
        order = sorted(range(len(different)), key=lambda i: len(encoded.ids[i]))
        order = [i for i in order if len(encoded.ids[i])]  # no tokens: no direction
        groups = list(self._groups(order, encoded.ids))
        for start in range(0, len(groups), ROUND):
            mine = groups[start : start + ROUND]
            made = yield [_call([encoded.ids[i] for i in group]) for group in mine]
            for group, outputs in zip(mine, made, strict=True):
                vectors[group] = outputs["embedding"]
        used = np.array([len(ids) for ids in encoded.ids], np.int64)
        if len(different) == len(request.texts):
            return TextReply(_shortened(vectors, d), used, encoded.cut)
        index = {text: i for i, text in enumerate(places)}
        back = np.array([index[text] for text in request.texts])
        return TextReply(_shortened(vectors, d)[back], used[back], encoded.cut[back])

    def _encode(self, texts: Sequence[str]) -> Steps:
        """Steps whose reply is the ``Encoded`` of all of them."""
        if sum(map(len, texts)) <= INLINE:
            return self._tokens.encode(texts)
        ids: list[Array] = []
        cut: list[Array] = []
        for piece in _pieces(texts):
            part: Encoded = yield Host(partial(self._tokens.encode, piece))
            ids += part.ids
            cut.append(part.cut)
        return Encoded(ids, np.concatenate(cut))

    def _groups(self, order: Sequence[int], ids: Sequence[Array]) -> Iterator[list[int]]:
        """Texts of each call, from texts by increasing length."""
        group: list[int] = []
        for i in order:
            if group and (len(group) + 1) * len(ids[i]) > self._together:
                yield group
                group = []
            group.append(i)
        if group:
            yield group

    def _dimensions(self, asked: int | None) -> int:
        accepted = self._texts.dimensions
        if asked is None or asked in accepted:
            return self._texts.width if asked is None else asked
        if len(accepted) == 1:
            raise InvalidInput(
                f"dimensions {asked} are not supported: this model's vectors have {accepted[0]}, "
                "and it was not trained so that their beginnings can stand for them"
            )
        raise InvalidInput(
            f"dimensions {asked} are not supported; this model's vectors have one of "
            f"{', '.join(map(str, accepted))}"
        )

    def _prompt(self, asked: str | None) -> str:
        name = self._texts.default_prompt if asked is None else asked
        return "" if name is None else self._texts.prompts.get(name, name)

    def _refuse(self, given: Sequence[str], different: Sequence[str], encoded: Encoded) -> None:
        first = int(np.flatnonzero(encoded.cut)[0])
        at, cut = given.index(different[first]), int(encoded.cut[first])
        raise InvalidInput(
            f"text {at} has {len(encoded.ids[first]) + cut} tokens; this model reads at most "
            f"{self._texts.max_tokens}: shorten it, or ask for truncate='end' to leave out the "
            f"last {cut}"
        )


def _call(texts: Sequence[Array]) -> Call:
    """Of texts by increasing length: ids [B, T], lengths [B]."""
    length = np.array([len(own) for own in texts], np.int64)
    if len(texts) == 1:
        return Call("forward", {"ids": texts[0][None], "length": length})
    ids = np.zeros((len(texts), len(texts[-1])), np.int64)
    for row, own in zip(ids, texts, strict=True):
        row[: len(own)] = own
    return Call("forward", {"ids": ids, "length": length})


def _pieces(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Runs of texts that have ``PIECE`` characters together, or that are one."""
    start = size = 0
    for i, text in enumerate(texts):
        if i > start and size + len(text) > PIECE:
            yield texts[start:i]
            start, size = i, 0
        size += len(text) + 1
    yield texts[start:]


def _shortened(vectors: Array, d: int) -> Array:
    """The first d dimensions of unit vectors [n, W], as unit vectors [n, d]."""
    if d == vectors.shape[1]:
        return vectors
    short = vectors[:, :d]
    norms = np.linalg.norm(short, axis=1, keepdims=True)
    made: Array = short / np.maximum(norms, np.finfo(np.float32).tiny)
    return made
