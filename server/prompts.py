"""Prompts and their tokens, by the tokenizer of a version that generates."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from foretoken.errors import InvalidInput
from foretoken.models.kinds import Generative
from foretoken.models.tasks import Task
from foretoken.server.registry.loaded import Loaded

__all__ = ["detokenized", "expect_generative", "tokenized"]


def expect_generative(loaded: Loaded) -> Generative:
    """The predictor of a version that generates.

    Raises:
        InvalidInput: it does not.
    """
    if (task := loaded.family.task) is not Task.GENERATION:
        raise InvalidInput(
            f"model {loaded.version.name!r} answers {task} requests, not {Task.GENERATION}"
        )
    return cast("Generative", loaded.predictor)


async def tokenized(loaded: Loaded, text: str) -> tuple[int, ...]:
    """The tokens of a text, found in a thread.

    Raises:
        InvalidInput: the version does not generate, has no tokenizer or no tokens for the text.
    """
    return await asyncio.to_thread(expect_generative(loaded).tokens, text)


async def detokenized(loaded: Loaded, tokens: Sequence[int]) -> str:
    """What tokens say together.

    Raises:
        InvalidInput: the version does not generate, has no tokenizer or not one of the tokens.
    """
    return await asyncio.to_thread(expect_generative(loaded).text, tokens)
