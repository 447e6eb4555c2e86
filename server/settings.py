"""All settings, read in one place: arguments, then ``FORETOKEN_*`` variables, then a TOML file.

A wrong or unknown setting stops the start, in a file as among the variables. The frozen object is
passed down; nothing below reads the environment or a configuration file.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_data_path
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from foretoken.errors import InvalidInput

PREFIX = "FORETOKEN_"
# What Kubernetes puts into every container of a namespace with a service called "foretoken".
_LINKS = re.compile(r"FORETOKEN_(SERVICE_(HOST|PORT)\w*|PORT(_\d+_(TCP|UDP)\w*)?)")


class Settings(BaseSettings):
    """What a plane, in a server or in the caller's own process, is started with.

    Args:
        data_dir: holds the catalogue and the blobs; created when missing.
        runtime: "onnx" or "torch", for models whose serving options name none.
        threads: cores for one call of a model.
        batch_tokens: most tokens in one batch, after padding; beyond about a thousand, activations
            leave the caches and a batch gains nothing.
        loaded_models: versions kept loaded; the least recently used one goes first.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data_dir: Path = Field(default_factory=lambda: user_data_path("foretoken", appauthor=False))
    runtime: Literal["onnx", "torch"] = "onnx"
    threads: int = Field(default=1, ge=1, le=1024)
    batch_tokens: int = Field(default=1024, ge=1)
    loaded_models: int = Field(default=8, ge=1)


def load_settings(config: Path | None = None, **given: Any) -> Settings:
    """Read the settings; ``given`` ones that are not None win over variables, those over a file.

    Raises:
        InvalidInput: naming each setting that is unknown or out of range, or a file that cannot
            be read.
    """
    fields = Settings.model_fields
    every = {name.upper() for name in os.environ if name.upper().startswith(PREFIX)}
    said = {name for name in every if not _LINKS.fullmatch(name)}
    if unknown := sorted(said - {PREFIX + field.upper() for field in fields}):
        raise InvalidInput(
            f"no such settings: {', '.join(unknown)}; there are "
            + ", ".join(PREFIX + field.upper() for field in fields)
        )
    file = {} if config is None else _read(config)
    values = {name: value for name, value in file.items() if PREFIX + name.upper() not in said}
    values.update({name: value for name, value in given.items() if value is not None})
    try:
        return Settings(**values)
    except ValidationError as e:
        parts = (f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in e.errors())
        raise InvalidInput(f"settings are not acceptable: {'; '.join(parts)}") from e


def _read(config: Path) -> dict[str, Any]:
    if not config.is_file():
        raise InvalidInput(f"no configuration file {config}")
    try:
        return tomllib.loads(config.read_text("utf-8"))
    except ValueError as e:  # of TOML or UTF-8
        raise InvalidInput(f"{config} is not acceptable as TOML: {e}") from e
