"""Texts as doors take them: how many and how long, and from bytes to text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from foretoken.errors import InvalidInput
from foretoken.server.settings import Settings

__all__ = ["TextLimits", "decoded"]


@dataclass(frozen=True)
class TextLimits:
    """Of one message.

    Args:
        texts: most of them.
        nbytes: of all of them in UTF-8, a prompt counted with each.
    """

    texts: int = 2048
    nbytes: int = 4 << 20

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As they are set."""
        return cls(settings.texts, settings.text_bytes)

    @property
    def advice(self) -> str:
        """What to do with more texts."""
        return (
            f"send at most {self.texts} texts in a message; EmbedStream takes any number of "
            "messages"
        )

    def expect_few(self, count: int) -> None:
        """Refuse too many texts.

        Raises:
            InvalidInput: then.
        """
        if count > self.texts:
            raise InvalidInput(
                f"{count} texts are more than this server takes, {self.texts} (texts): "
                f"{self.advice}"
            )

    def expect_short(self, sizes: Sequence[int], prompt: int) -> None:
        """Refuse texts that are too long together.

        Args:
            sizes: bytes of each text.
            prompt: bytes of what is put before each.

        Raises:
            InvalidInput: naming the limit.
        """
        if (nbytes := sum(sizes) + len(sizes) * prompt) > self.nbytes:
            raise InvalidInput(
                f"{nbytes} bytes of text, the prompt counted with each of {len(sizes)} texts, are "
                f"more than this server takes, {self.nbytes} (text_bytes): send fewer texts in a "
                "message, or shorter ones"
            )


def decoded(texts: Sequence[bytes]) -> tuple[str, ...]:
    """Texts of their bytes.

    Raises:
        InvalidInput: naming the first that is not UTF-8.
    """
    made = []
    for i, data in enumerate(texts):
        try:
            made.append(data.decode())
        except UnicodeDecodeError as e:
            raise InvalidInput(
                f"text {i} is not UTF-8: {e.reason} at byte {e.start}; send texts in UTF-8"
            ) from e
    return tuple(made)
