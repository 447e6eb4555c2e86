"""Imports generative models from Hugging Face folders: Llama and Qwen2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from foretoken.errors import InvalidInput
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.cola.model import ColaConfig, ColaModel
from foretoken.models.generation import Sampling
from foretoken.models.layers.hf import decoder
from foretoken.models.layers.hf.folder import Folder, json_of, without_prefix
from foretoken.models.layers.hf.tokenizer import tokenizer_of
from foretoken.models.layers.hf.weights import renamed
from foretoken.models.layers.official import expect_layout
from foretoken.models.layers.texts.chat import ChatTemplate

__all__ = ["convert"]

TOKENIZER, TEMPLATE = "tokenizer.json", "chat_template.jinja"
HEAD = "lm_head.weight"
_UNUSED = ("*rotary_emb.inv_freq",)
_HALVES = (torch.float16, torch.bfloat16)
# Of generation_config.json, what is served: defaults of sampling, and tokens that end an answer.
_NUMBERS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
_TEXTS = ("bos_token", "eos_token")


def convert(source: Path, out: Path, *, max_tokens: int = 0) -> None:
    """Write the artefact folder ``out`` from one that transformers saved.

    Args:
        source: holds config.json, model.safetensors (or its parts and their index) and
            tokenizer.json, and maybe generation_config.json and a chat template.
        out: a folder that does not exist.
        max_tokens: prompt and answer together; 0 takes the folder's.

    Raises:
        InvalidInput: if the folder is no model that this family runs, or the options do not fit it.
    """
    folder = Folder.read(source)
    shape = decoder.decoder_shape(folder)
    theirs = without_prefix(folder.tensors(), decoder.PREFIXES)
    said = folder.config.get("tie_word_embeddings")
    tied = HEAD not in theirs if said is None else bool(said)
    data = _tokenizer(source, shape.vocab)
    network = ColaConfig(shape, tied, _positions(folder, max_tokens), len(data))
    names = {
        "words.weight": "embed_tokens.weight",
        "norm.weight": "norm.weight",
        **({} if tied else {"head.weight": HEAD}),
        **decoder.block_names(shape, "blocks."),
    }
    made = renamed(source, theirs, names, (*_UNUSED, HEAD) if tied else _UNUSED)
    ours = {n: t if t.dtype in _HALVES else t.float() for n, t in made.items()}
    ours["tokenizer.json"] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    _expect_fit(source, ours, network)
    config = {**network.record(), "generation": _generation(folder), "chat": _chat(source)}
    out.mkdir(parents=True)
    save_file(ours, out / WEIGHTS)
    training = {"data": f"imported from the Hugging Face folder {source.resolve().name}"}
    Artefact("cola", config, {}, training=training).write(out)


def _expect_fit(source: Path, ours: Mapping[str, Tensor], network: ColaConfig) -> None:
    with torch.device("meta"):
        expected = ColaModel(network).state_dict()
    expect_layout(source, ours, expected, model="decoder of its configuration")


def _tokenizer(source: Path, vocab: int) -> bytes:
    file = source / TOKENIZER
    if not file.is_file():
        raise InvalidInput(
            f"{source} has no {TOKENIZER}; load its tokenizer by transformers' AutoTokenizer and "
            "save it there again, which writes one"
        )
    data = file.read_bytes()
    largest = max(tokenizer_of(data).get_vocab().values(), default=0)
    if largest >= vocab:
        raise InvalidInput(f"{file} has tokens up to {largest}, the model only {vocab}")
    return data


def _positions(folder: Folder, asked: int) -> int:
    most = folder.size("max_position_embeddings", 2048)
    if not 0 <= asked <= most:
        raise InvalidInput(f"max_tokens is 1 to {most}, which the model has positions for")
    return asked or most


def _generation(folder: Folder) -> dict[str, Any]:
    """Tokens that end an answer, and defaults of sampling: those that are said."""
    path = folder.path / "generation_config.json"
    said = json_of(path) or {}
    ends = said.get("eos_token_id", folder.config.get("eos_token_id"))
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    if not all(type(i) is int and 0 <= i < folder.size("vocab_size") for i in ends):
        raise InvalidInput(f"{path}: eos_token_id must be tokens of the model, not {ends}")
    found: dict[str, Any] = {"ends": ends, "sample": bool(said.get("do_sample", False))}
    for name in _NUMBERS:
        if (value := said.get(name)) is None:
            continue
        try:
            Sampling(**{name: value})  # or every request that leaves it open would be refused
        except InvalidInput as e:
            raise InvalidInput(f"{path}: {e}") from e
        found[name] = value
    return found


def _chat(source: Path) -> dict[str, str] | None:
    """The template of conversations and the special tokens' texts that it may name, or None."""
    said = json_of(source / "tokenizer_config.json") or {}
    template: Any = said.get("chat_template")
    if (file := source / TEMPLATE).is_file():
        template = file.read_text("utf-8")
    if isinstance(template, list):  # several, by name
        named = {each.get("name"): each.get("template") for each in template}
        template = named.get("default")
    if template is None:
        return None
    if not isinstance(template, str):
        raise InvalidInput(f"{source}: the chat template must be a text, or one named 'default'")
    tokens = {name: _text(said.get(name)) for name in _TEXTS}
    ChatTemplate(template, tokens)  # or it is refused now rather than when it is needed
    return {"template": template} | tokens


def _text(token: Any) -> str:
    """Of a special token: files give it bare, or as the content of an object."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else ""
