"""All settings, read in one place: arguments, then ``FORETOKEN_*`` variables, then a TOML file.

A wrong or unknown setting stops the start. The frozen object is passed down; nothing below reads
the environment or a configuration file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from platformdirs import user_data_path
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from foretoken.errors import InvalidInput
from foretoken.server.runtimes import NAMES


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

    model_config = SettingsConfigDict(env_prefix="FORETOKEN_", frozen=True, extra="forbid")

    data_dir: Path = Field(default_factory=lambda: user_data_path("foretoken", appauthor=False))
    runtime: str = Field(default="onnx", pattern="|".join(NAMES))
    threads: int = Field(default=1, ge=1, le=1024)
    batch_tokens: int = Field(default=1024, ge=1)
    loaded_models: int = Field(default=8, ge=1)


def load_settings(config: Path | None = None, **given: Any) -> Settings:
    """Read the settings; ``given`` ones that are not None win over variables, those over a file.

    Raises:
        InvalidInput: naming each setting that is unknown or out of range, or a file that cannot
            be read.
    """

    class _Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            file = () if config is None else (TomlConfigSettingsSource(settings_cls, config),)
            return (init_settings, env_settings, *file)

    if config is not None and not config.is_file():
        raise InvalidInput(f"no configuration file {config}")
    try:
        return _Layered(**{name: value for name, value in given.items() if value is not None})
    except (ValidationError, ValueError) as e:
        raise InvalidInput(f"settings are not acceptable: {_plain(e)}") from e


def _plain(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    parts = (f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
    return "; ".join(parts)
