"""Text from tokens as they come: whole characters only, and nothing of a text to stop before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["StopTexts", "TextReader", "Unread", "piece"]

BROKEN = "\ufffd"  # what decoders make of bytes that are no character, or none yet
HELD = 16  # tokens after which broken text is let go: no character has so many
CONTEXT = 4  # tokens of the prompt that the first ones of an answer are decoded with


def piece(decode: Callable[[list[int]], str], token: int) -> str | None:
    """A token's own text; None if that is only part of a character.

    It is what a second one adds to a first, for at the beginning of a text decoders drop spaces.

    Args:
        decode: tokens to text, special ones included.
        token: whose text.
    """
    own = decode([token, token])[len(decode([token])) :]
    return None if BROKEN in own else own


class StopTexts:
    """Lets text through up to the first of some texts.

    Args:
        stop: to stop before; none of them empty.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = stop
        self._held = ""
        self.stopped = False

    def passed(self, text: str, *, last: bool) -> str:
        """What is certain not to belong to a text to stop before, once ``text`` has come, too."""
        if self.stopped:
            return ""
        text, self._held = self._held + text, ""
        found = [at for at in (text.find(each) for each in self._stop) if at >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        if last:
            return text
        begun = max((_begun(text, each) for each in self._stop), default=0)
        self._held = text[len(text) - begun :]
        return text[: len(text) - begun]


def _begun(text: str, stop: str) -> int:
    """Characters at the end of ``text`` with which ``stop`` begins."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if stop.startswith(text[-n:])), 0)


class TextReader:
    """See ``foretoken.models.generation.Reader``.

    Args:
        decode: tokens to text, special ones left out.
        prompt: tokens before the answer, which may decide whether that begins with a space.
        stop: texts before which the answer ends.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], prompt: Sequence[int], stop: Sequence[str] = ()
    ) -> None:
        self._decode = decode
        # Tokens up to `_certain` have been read; those before are there for what depends on them.
        self._tokens = list(prompt[-CONTEXT:])
        self._certain = len(self._tokens)
        self._before = self._decode(self._tokens)
        self._stop = StopTexts(stop)

    @property
    def stopped(self) -> bool:
        """See ``Reader.stopped``."""
        return self._stop.stopped

    def read(self, token: int | None, *, last: bool) -> str:
        """See ``Reader.read``."""
        if token is not None:
            self._tokens.append(token)
        return self._stop.passed(self._whole(last=last), last=last)

    def _whole(self, *, last: bool) -> str:
        """Text of tokens that are not read yet, if it ends with a character."""
        text = self._decode(self._tokens)
        waiting = len(self._tokens) - self._certain
        nothing = text.endswith(BROKEN) or len(text) <= len(self._before)
        if nothing and waiting < HELD and not last:
            return ""
        new = text[len(self._before) :]
        del self._tokens[: self._certain]
        self._certain = len(self._tokens)
        self._before = self._decode(self._tokens)
        return new


class Unread:
    """See ``foretoken.models.generation.Reader``: of models without a tokenizer, no text."""

    stopped = False

    def read(self, token: int | None, *, last: bool) -> str:
        """See ``Reader.read``."""
        del token, last
        return ""
