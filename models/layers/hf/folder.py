"""A Hugging Face folder: config.json, and safetensors in one file or several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from foretoken.errors import InvalidInput

__all__ = ["Folder", "json_of", "object_of", "without_prefix"]

_KINDS = ("non-negative", "positive")  # integers, by the least of them
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def json_of(path: Path) -> Any:
    """What a JSON file says, or None if there is no such file.

    Raises:
        InvalidInput: if it cannot be read as JSON.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise InvalidInput(f"{path} cannot be read as JSON: {e}") from e


def object_of(path: Path) -> Mapping[str, Any]:
    """What a JSON file says of an object; nothing if there is no such file, or it says null.

    Raises:
        InvalidInput: if it says something else, or cannot be read as JSON.
    """
    said = json_of(path)
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise InvalidInput(f"{path} holds {type(said).__name__} where an object is expected")
    return said


@dataclass(frozen=True)
class Folder:
    """A model as transformers saves it.

    Args:
        path: the folder.
        config: what its config.json says.
    """

    path: Path
    config: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Folder:
        """Read the configuration alone.

        Raises:
            InvalidInput: if there is none.
        """
        config = json_of(path / "config.json")
        if not isinstance(config, dict):
            raise InvalidInput(
                f"{path} is no Hugging Face folder: it has no config.json that holds an object"
            )
        return cls(path, config)

    def expect_type(self, accepted: Sequence[str]) -> str:
        """The configuration's "model_type".

        Raises:
            InvalidInput: if it is not among those accepted.
        """
        found = self.config.get("model_type")
        if found not in accepted:
            architectures = self.config.get("architectures")
            raise InvalidInput(
                f"{self.path} holds a model of type {found!r} (architectures: {architectures}); "
                f"accepted are {', '.join(accepted)}"
            )
        return str(found)

    def size(self, name: str, default: int | None = None, least: int = 1) -> int:
        """An integer of the configuration, ``least`` or more.

        Raises:
            InvalidInput: if it is missing and has no default, or is anything else.
        """
        value = self.config.get(name)
        value = default if value is None else value
        if type(value) is not int or value < least:
            raise InvalidInput(
                f"{self.path / 'config.json'}: {name} must be a {_KINDS[least]} integer, not "
                f"{value!r}"
            )
        return value

    def number(self, name: str, default: float) -> float:
        """A positive number of the configuration.

        Raises:
            InvalidInput: if it is anything else.
        """
        value = self.config.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < inf:
            raise InvalidInput(
                f"{self.path / 'config.json'}: {name} must be a positive number, not {value!r}"
            )
        return float(value)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, mapped from the files.

        Raises:
            InvalidInput: if there are no safetensors, or they are incomplete or damaged.
        """
        found: dict[str, Tensor] = {}
        for file in self._files():
            try:
                with safe_open(self.path / file, framework="pt") as part:
                    found.update({name: part.get_tensor(name) for name in part.keys()})  # noqa: SIM118
            except (OSError, SafetensorError) as e:
                raise InvalidInput(f"{self.path / file} cannot be read as safetensors: {e}") from e
        return found

    def _files(self) -> Iterator[str]:
        index = json_of(self.path / INDEX)
        if index is None and not (self.path / WEIGHTS).is_file():
            raise InvalidInput(
                f"{self.path} has neither {WEIGHTS} nor {INDEX}; pickled weights (.bin, .pt) are "
                "never loaded: save the model by save_pretrained with safe_serialization"
            )
        if index is None:
            yield WEIGHTS
            return
        said = index.get("weight_map") if isinstance(index, dict) else None
        names = set(said.values()) if isinstance(said, dict) else set()
        if not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
            raise InvalidInput(
                f"{self.path / INDEX} must map tensors to names of files in the same folder"
            )
        yield from sorted(names)


def without_prefix(tensors: Mapping[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    """The tensors named as in the bare model: classes around it put its name in front.

    Raises:
        InvalidInput: if two tensors would have the same name.
    """
    bare: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        prefix = next((p for p in prefixes if name.startswith(p)), "")
        short = name.removeprefix(prefix)
        if short in bare:
            raise InvalidInput(f"tensor {short!r} is there with and without prefix {prefix!r}")
        bare[short] = tensor
    return bare
