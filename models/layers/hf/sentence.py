"""What a sentence-transformers folder says beside its transformer: pooling, prompts, lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foretoken.errors import InvalidInput
from foretoken.models.layers.hf.folder import json_of, object_of

__all__ = ["POOLINGS", "Sentence"]

POOLINGS = {"mean": "mean", "cls": "cls", "lasttoken": "last"}  # theirs -> ours
_FLAGS = "pooling_mode_"  # in front of a mode in older files: "pooling_mode_mean_tokens": true
_MODULES = ("Transformer", "Pooling", "Normalize")
_STEMS = ("bert", "roberta", "distilbert", "camembert", "xlm-roberta")


@dataclass(frozen=True)
class Sentence:
    """How texts become vectors, as far as a folder says.

    Args:
        transformer: folder of config.json, weights and tokenizer.
        pooling: "mean", "cls" or "last"; None: not said.
        max_tokens: longest input, special tokens included; None: not said.
        lowercase: whether texts are put in lower case before they reach the tokenizer.
        prompts: texts to put in front of texts, by name.
        default_prompt: name of the one that is used where none is asked for.
    """

    transformer: Path
    pooling: str | None = None
    max_tokens: int | None = None
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None

    @classmethod
    def read(cls, path: Path) -> Sentence:
        """Read modules.json and what it names.

        Raises:
            InvalidInput: if vectors are made in a way that is not supported.
        """
        modules = json_of(path / "modules.json")
        if modules is None:
            return cls(path, **_own(path))
        places = _places(path, modules)
        transformer = path / places["Transformer"]
        return cls(
            transformer,
            _pooling(path / places["Pooling"] / "config.json"),
            **_own(transformer),
            **_prompts(path / "config_sentence_transformers.json"),
        )


def _places(path: Path, modules: Any) -> dict[str, str]:
    """Folder of each module, by the last part of its class's name."""
    try:
        steps = [(str(m["type"]).rpartition(".")[2], str(m["path"])) for m in modules]
    except (TypeError, KeyError) as e:
        raise InvalidInput(f"{path / 'modules.json'} must list modules with type and path") from e
    kinds = tuple(kind for kind, _ in steps)
    if kinds not in (_MODULES, _MODULES[:2]):
        raise InvalidInput(
            f"{path / 'modules.json'} lists the modules {', '.join(kinds)}; supported are "
            f"{', '.join(_MODULES)}, in this order, the last one or not"
        )
    if any(place.startswith("/") or ".." in Path(place).parts for _, place in steps):
        raise InvalidInput(f"{path / 'modules.json'} names folders outside of its own")
    return dict(steps)


def _pooling(path: Path) -> str:
    said = json_of(path)
    if not isinstance(said, dict):
        raise InvalidInput(f"{path} is missing: it says how tokens are pooled")
    mode = said.get("pooling_mode")
    flags = [
        name.removeprefix(_FLAGS).removesuffix("_tokens").removesuffix("_token")
        for name, on in said.items()
        if name.startswith(_FLAGS) and on
    ]
    modes = [mode] if isinstance(mode, str) else list(mode or flags or ["mean"])
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise InvalidInput(
            f"{path} pools tokens by {', '.join(map(str, modes))}; supported is one of "
            f"{', '.join(POOLINGS)}"
        )
    if not said.get("include_prompt", True):
        raise InvalidInput(f"{path} leaves prompts out of the pooling, which is not supported")
    return POOLINGS[modes[0]]


def _own(transformer: Path) -> dict[str, Any]:
    """Length and case, which sentence_bert_config.json says, whatever the tokenizer's files say."""
    names = [transformer / f"sentence_{stem}_config.json" for stem in _STEMS]
    said = next((found for name in names if (found := object_of(name))), {})
    length = said.get("max_seq_length")
    if length is None:
        length = _length(transformer)
    if length is not None and (type(length) is not int or length < 1):
        raise InvalidInput(f"{transformer}: max_seq_length must be positive, not {length!r}")
    return {"max_tokens": length, "lowercase": bool(said.get("do_lower_case", False))}


def _length(transformer: Path) -> int | None:
    """The tokenizer's own limit; one that stands for none is larger than any model."""
    said = object_of(transformer / "tokenizer_config.json")
    length = said.get("model_max_length")
    return int(length) if isinstance(length, (int, float)) and length < 1 << 30 else None


def _prompts(path: Path) -> dict[str, Any]:
    said = object_of(path)
    given, default = said.get("prompts") or {}, said.get("default_prompt_name")
    known = isinstance(given, dict)
    prompts = {n: text for n, text in given.items() if text is not None} if known else {}
    texts = known and all(isinstance(text, str) for text in prompts.values())
    if not texts or (default is not None and default not in prompts):
        raise InvalidInput(
            f"{path}: prompts must be texts by name, and default_prompt_name one of the names"
        )
    return {"prompts": prompts, "default_prompt": default}
