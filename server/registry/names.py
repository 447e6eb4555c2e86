"""Names and references: what a name may look like, and how people point at a version."""

from __future__ import annotations

import re
from dataclasses import dataclass

from foretoken.errors import InvalidInput

__all__ = ["CHAMPION", "Ref", "check_file_name", "check_name"]

CHAMPION = "champion"  # the alias that a bare model name stands for
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


def check_name(what: str, name: str) -> str:
    """Return ``name`` if it may name a model, an alias or a tag.

    Raises:
        InvalidInput: unless it is 1 to 128 letters, digits, ``.``, ``_`` or ``-``, with a letter
            or digit at both ends; nothing of that form leaves a folder or contains ``@`` or ``:``.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{what} {name!r} is not a name: use 1 to 128 letters, digits, '.', '_' or '-', "
            "beginning and ending with a letter or digit"
        )
    return name


def check_file_name(name: str) -> str:
    """Return ``name`` if it may name a file of an artefact; errors as for ``check_name``."""
    return check_name("file", name)


@dataclass(frozen=True)
class Ref:
    """A parsed reference: ``NAME:3``, or ``ALIAS@NAME`` of which ``NAME`` is short for champion.

    Exactly one of ``version`` and ``alias`` is set.
    """

    name: str
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read a reference.

        Raises:
            InvalidInput: if it has none of the three forms.
        """
        alias, at, rest = text.rpartition("@")
        name, colon, number = rest.partition(":")
        if (at and colon) or (colon and not _VERSION.fullmatch(number)):
            raise InvalidInput(
                f"{text!r} does not point at a version: use NAME, NAME:VERSION or ALIAS@NAME, "
                "for example lcpfn, lcpfn:3 or champion@lcpfn"
            )
        check_name("model", name)
        if colon:
            return cls(name, version=int(number))
        return cls(name, alias=check_name("alias", alias) if at else CHAMPION)

    def __str__(self) -> str:
        return f"{self.name}:{self.version}" if self.version else f"{self.alias}@{self.name}"
