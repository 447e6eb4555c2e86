"""Chat templates: from conversations to the texts of prompts, in Jinja's sandbox.

What templates find is what transformers' ``apply_chat_template`` gives them: trimmed blocks, loops
that may break, ``raise_exception``, ``strftime_now``, ``tojson`` that leaves HTML alone, and the
tag ``generation``. They cannot reach Python or change what they are given. Their time and the text
that they write are bounded; the memory that a single operation takes is not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2 import Template, nodes, pass_context
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from foretoken.errors import InvalidInput
from foretoken.models.generation import Chat

__all__ = ["ChatTemplate"]

SECONDS = 2.0  # for a conversation
CHARACTERS = 8 << 20  # that a template writes
POWER = 64  # the largest exponent
_LEFT = "what is left"  # no name of a template's own


class ChatTemplate:
    """A template; it may be used from several threads at once.

    Args:
        source: of the template.
        tokens: texts of special tokens, by the names that templates have for them.

    Raises:
        InvalidInput: it is no template.
    """

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        self._tokens = dict(tokens)
        try:
            self._template = _compiled(source)
        except (TemplateError, RecursionError, ValueError) as e:
            raise InvalidInput(f"the chat template cannot be read: {e}") from e

    def prompt(self, chat: Chat) -> str:
        """The text of a prompt, special tokens included, up to where the model answers.

        Raises:
            InvalidInput: the template refuses the conversation, fails, or takes too long.
        """
        given = {
            **self._tokens,
            "tools": None,
            "documents": None,
            "add_generation_prompt": True,
            **chat.variables,
            "messages": [dict(message) for message in chat.messages],
            _LEFT: _Left(),
        }
        try:
            return self._template.render(given)
        except InvalidInput:
            raise
        except Exception as e:  # whatever a template makes of what it is given
            kind = type(e).__name__
            raise InvalidInput(f"the chat template fails on this conversation: {kind}: {e}") from e


class _Left:
    """What a template may still take for one conversation."""

    def __init__(self) -> None:
        self._until = time.monotonic() + SECONDS
        self._characters = CHARACTERS

    def turn(self) -> None:
        if time.monotonic() > self._until:
            raise InvalidInput(f"the chat template takes more than {SECONDS:g} seconds")

    def write(self, text: str) -> None:
        self._characters -= len(text)
        if self._characters < 0:
            raise InvalidInput(f"the chat template writes more than {CHARACTERS} characters")


class _Sandbox(ImmutableSandboxedEnvironment):
    """With loops, macros and multiplications that are watched."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """See ``SandboxedEnvironment.call_binop``."""
        if operator == "**" and not abs(right) <= POWER:
            raise InvalidInput(f"the chat template raises to a power of more than {POWER}")
        if operator == "*":
            for one, other in ((left, right), (right, left)):
                if hasattr(one, "__len__") and len(one) * other > CHARACTERS:
                    raise InvalidInput("the chat template repeats what is too long")
        return super().call_binop(context, operator, left, right)

    @staticmethod
    @pass_context
    def turn(context: Context) -> str:
        """Called by every turn of a loop and every call of a macro."""
        context[_LEFT].turn()
        return ""


class _Marked(Extension):
    """``{% generation %}``, which marks what an assistant said, for training."""

    tags = {"generation"}  # noqa: RUF012  (as jinja2 declares it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """See ``Extension.parse``."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _compiled(source: str) -> Template:
    environment = _Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_written,
        extensions=[loopcontrols, _Marked],
    )
    del environment.globals["lipsum"]
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise, "strftime_now": _now}
    tree = environment.parse(source)
    for node in list(tree.find_all(nodes.Stmt)):
        if isinstance(node, (nodes.For, nodes.Macro, nodes.CallBlock)):
            node.body.insert(0, _turn(node.lineno))
    return Template.from_code(
        environment, environment.compile(tree), environment.make_globals(None)
    )


def _turn(line: int) -> nodes.Stmt:
    call = nodes.Call(nodes.EnvironmentAttribute("turn"), [], [], None, None)
    return nodes.ExprStmt(call, lineno=line)


@pass_context
def _written(context: Context, value: Any) -> str:
    text = str(value)
    context[_LEFT].write(text)
    return text


def _raise(message: str) -> None:
    raise InvalidInput(f"the chat template refuses this conversation: {message}")


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
