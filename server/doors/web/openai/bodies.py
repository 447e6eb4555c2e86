"""Bodies of requests: one JSON object each, whose fields are checked by their names."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from foretoken.errors import InvalidInput
from foretoken.server.doors.parts import LARGE, MOST
from foretoken.server.doors.web.openai.errors import BadField

__all__ = ["expect_known", "flag", "integer", "model_of", "object_of", "supported"]

Body = Mapping[str, Any]
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def object_of(body: bytes) -> dict[str, Any]:
    """The object that a body is.

    Raises:
        InvalidInput: it is none, or has too many values.
    """
    if len(body) > LARGE:
        _expect_few(body)
    try:
        said = json.loads(body)
    except UnicodeDecodeError as e:
        raise InvalidInput(f"the body is not UTF-8: {e.reason} at byte {e.start}") from e
    except (ValueError, RecursionError) as e:
        raise InvalidInput(f"the body is not JSON: {e}") from e
    if not isinstance(said, dict):
        raise InvalidInput("the body is a JSON object, with a model and what it is to answer")
    return said


def _expect_few(body: bytes) -> None:
    """Refuse JSON of many small values, which take many times its bytes, before it is parsed."""
    bare = _STRING.sub(b"", body)
    if sum(map(bare.count, (b",", b"[", b"{"))) > MOST:
        raise InvalidInput(f"the body has more than {MOST} values; send less at once")


def expect_known(said: Body, theirs: Collection[str], ours: Collection[str]) -> None:
    """Refuse fields that there are not.

    Args:
        said: the fields.
        theirs: names of OpenAI's fields.
        ours: names of fields that are not OpenAI's.

    Raises:
        BadField: naming the first.
    """
    if unknown := sorted(set(said) - set(theirs) - set(ours)):
        raise BadField(
            unknown[0],
            f"there is no field {unknown[0]!r}; there are {', '.join(sorted(theirs))}, and of this "
            f"server {', '.join(sorted(ours))}",
        )


def supported(said: Body, neutral: Mapping[str, Collection[Any]]) -> dict[str, Any]:
    """The fields without those of OpenAI's that are not supported, if they ask for nothing.

    Args:
        said: the fields.
        neutral: by name, values that are as good as none, beside null.

    Raises:
        BadField: naming the first that asks for something.
    """
    for name in sorted(set(said) & set(neutral)):
        given = said[name]
        if given is not None and given not in neutral[name]:
            raise BadField(name, f"{name} is not supported; leave it out")
    return {name: value for name, value in said.items() if name not in neutral}


def model_of(said: Body) -> str:
    """The model that is to answer."""
    model = said.get("model")
    if not isinstance(model, str) or not model:
        raise BadField("model", "model is the name of a registered model")
    return model


def integer(said: Body, name: str, least: int, most: int) -> int | None:
    """A field that is an integer, if it is there."""
    value = said.get(name)
    if value is not None and (type(value) is not int or not least <= value <= most):
        raise BadField(name, f"{name} is an integer of {least} to {most}")
    return value


def flag(said: Body, name: str) -> bool:
    """A field that is true or false; false where it is not there."""
    value = said.get(name)
    if not isinstance(value, bool | None):
        raise BadField(name, f"{name} is true or false")
    return bool(value)
