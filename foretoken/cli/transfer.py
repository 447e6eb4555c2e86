"""``foretoken models import`` and ``foretoken models export``."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from foretoken.cli.output import show, work
from foretoken.errors import AlreadyExists, InvalidInput, NotFound
from foretoken.models.artefact import DESCRIPTION, Artefact
from foretoken.models.catalog import families
from foretoken.models.recipes import Importer, parse


def options_of(pairs: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` pairs as a mapping.

    Raises:
        InvalidInput: if one has no ``=``.
    """
    if bad := [pair for pair in pairs if "=" not in pair]:
        raise InvalidInput(f"options are NAME=VALUE, not {', '.join(bad)}")
    return dict(pair.split("=", 1) for pair in pairs)
