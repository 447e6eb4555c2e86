"""Imports text encoders from Hugging Face folders: BERT, RoBERTa, Llama and Qwen2."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from foretoken.errors import InvalidInput
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.layers.hf import decoder
from foretoken.models.layers.hf.folder import Folder, object_of, without_prefix
from foretoken.models.layers.hf.sentence import Sentence
from foretoken.models.layers.hf.weights import Names, renamed
from foretoken.models.layers.official import expect_layout
from foretoken.models.layers.texts.options import Texts
from foretoken.models.layers.texts.tokens import FILE, FileTokens
from foretoken.models.text_encoder.config import BertShape
from foretoken.models.text_encoder.model import TextEncoder

__all__ = ["convert"]

BATCH_TOKENS = 256  # as fast as 1,024 on a CPU's core, and short texts wait a quarter as long
ROBERTAS = ("roberta", "xlm-roberta", "camembert")  # BERTs that count positions their own way
BERTS = ("bert", *ROBERTAS)
_BERT_PREFIXES = ("bert.", "roberta.")
_BERT_UNUSED = ("pooler.*", "cls.*", "lm_head.*", "classifier.*", "embeddings.position_ids")
_QKV = ("query", "key", "value")
_HALVES = (torch.float16, torch.bfloat16)


def convert(
    source: Path,
    out: Path,
    *,
    dimensions: str = "",
    max_tokens: int = 0,
    pooling: str = "folder",
    attention: str = "folder",
) -> None:
    """Write the artefact folder ``out`` from one that sentence-transformers or transformers saved.

    Args:
        source: holds config.json, model.safetensors (or its parts and their index) and
            tokenizer.json; with modules.json, it or the subfolder that this names.
        out: a folder that does not exist.
        dimensions: lengths to which vectors may be cut, between commas; "" takes
            "matryoshka_dimensions" of config.json.
        max_tokens: longest input; 0 takes what the folder says.
        pooling: "mean", "cls" or "last", where the folder has no modules.json; "folder" then means
            "mean".
        attention: of decoders: "causal", "bidirectional", or "folder", which is what config.json's
            is_causal says, and where it says nothing "bidirectional" unless the last token is
            pooled: then it has to be said.

    Raises:
        InvalidInput: if the folder is no model that this family runs, or the options do not fit it.
    """
    said = Sentence.read(source)
    folder = Folder.read(said.transformer)
    kind = "bert" if folder.expect_type((*BERTS, *decoder.TYPES)) in BERTS else "decoder"
    shape = bert_shape(folder) if kind == "bert" else decoder.decoder_shape(folder)
    longest = shape.longest if isinstance(shape, BertShape) else None
    data = _tokenizer(folder.path)
    config: dict[str, Any] = {
        "kind": kind,
        "shape": asdict(shape),
        "pooling": _pooling(said, pooling),
        "max_tokens": _length(folder, said.max_tokens, longest, max_tokens),
        "dimensions": _dimensions(folder, dimensions),
        "prompts": dict(said.prompts),
        "default_prompt": said.default_prompt,
        "lowercase": said.lowercase,
        "tokenizer": len(data),
    }
    if kind == "decoder":
        config["causal"] = _causal(folder, attention, config["pooling"])
    elif attention != "folder":
        raise InvalidInput("attention is an option of decoders; BERTs read both ways")
    texts = Texts.of(config, config["shape"]["width"])
    largest = FileTokens(data, texts.max_tokens, lowercase=texts.lowercase).largest
    if largest >= shape.vocab:
        raise InvalidInput(
            f"{folder.path}: {FILE} has tokens up to {largest}, the model only {shape.vocab}"
        )
    ours = _tensors(folder, kind, shape)
    ours["tokenizer.json"] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    with torch.device("meta"):
        expected = TextEncoder.of(config).state_dict()
    expect_layout(folder.path, ours, expected, model=f"{kind} of its configuration")
    out.mkdir(parents=True)
    save_file(ours, out / WEIGHTS)
    training = {"data": f"imported from the Hugging Face folder {source.resolve().name}"}
    serving = {"batch_tokens": BATCH_TOKENS}
    Artefact("text_encoder", config, {}, training=training, serving=serving).write(out)


def bert_shape(folder: Folder) -> BertShape:
    """Sizes, as config.json says them.

    Raises:
        InvalidInput: if something that it asks for is not supported.
    """
    kind, config = folder.expect_type(BERTS), folder.config
    for name, only in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if config.get(name, only) != only:
            raise InvalidInput(f"{folder.path}: {name} is {config[name]!r}; supported is {only!r}")
    if config.get("is_decoder"):
        raise InvalidInput(f"{folder.path} holds a BERT that is a decoder, not supported here")
    return BertShape(
        vocab=folder.size("vocab_size"),
        width=folder.size("hidden_size"),
        layers=folder.size("num_hidden_layers"),
        heads=folder.size("num_attention_heads"),
        mlp=folder.size("intermediate_size"),
        positions=folder.size("max_position_embeddings", 512),
        types=folder.size("type_vocab_size", 2),
        eps=folder.number("layer_norm_eps", 1e-12),
        pad=folder.size("pad_token_id", 1, least=0) if kind in ROBERTAS else None,
    )


def _tensors(folder: Folder, kind: str, shape: Any) -> dict[str, Tensor]:
    prefixes = _BERT_PREFIXES if kind == "bert" else decoder.PREFIXES
    theirs = without_prefix(folder.tensors(), prefixes)
    if kind == "bert":
        theirs = {_modern(name): tensor for name, tensor in theirs.items()}
        made = renamed(folder.path, theirs, _bert_names(shape.layers), _BERT_UNUSED)
    else:
        names = {
            "body.words.weight": "embed_tokens.weight",
            "body.norm.weight": "norm.weight",
            **decoder.block_names(shape, "body.blocks."),
        }
        made = renamed(folder.path, theirs, names, decoder.UNUSED)
    return {n: t if t.dtype in _HALVES else t.float() for n, t in made.items()}


def _bert_names(layers: int) -> Names:
    names = {
        "body.words.weight": "embeddings.word_embeddings.weight",
        "body.positions.weight": "embeddings.position_embeddings.weight",
        "body.types.weight": "embeddings.token_type_embeddings.weight",
    }
    pairs = {"body.norm": "embeddings.LayerNorm"}
    for i in range(layers):
        ours, theirs = f"body.blocks.{i}.", f"encoder.layer.{i}."
        pairs |= {f"{ours}attention.{each[0]}": f"{theirs}attention.self.{each}" for each in _QKV}
        pairs |= {
            f"{ours}attention.out": f"{theirs}attention.output.dense",
            f"{ours}norm_attention": f"{theirs}attention.output.LayerNorm",
            f"{ours}mlp_in": f"{theirs}intermediate.dense",
            f"{ours}mlp_out": f"{theirs}output.dense",
            f"{ours}norm_mlp": f"{theirs}output.LayerNorm",
        }
    both = ((ours, theirs, part) for ours, theirs in pairs.items() for part in ("weight", "bias"))
    return names | {f"{ours}.{part}": f"{theirs}.{part}" for ours, theirs, part in both}


def _modern(name: str) -> str:
    """The name since 2019: before, norms had a gamma and a beta."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )


def _tokenizer(path: Path) -> bytes:
    file = path / FILE
    if not file.is_file():
        raise InvalidInput(
            f"{path} has no {FILE}; load its tokenizer by transformers' AutoTokenizer and save it "
            "there again, which writes one"
        )
    said = object_of(path / "tokenizer_config.json")
    if said.get("truncation_side", "right") != "right":
        raise InvalidInput(f"{path} cuts long texts at their beginning, which is not supported")
    return file.read_bytes()


def _pooling(said: Sentence, asked: str) -> str:
    if asked not in ("folder", said.pooling) and said.pooling is not None:
        raise InvalidInput(f"the folder says that tokens are pooled by {said.pooling}, not {asked}")
    return (said.pooling or "mean") if asked == "folder" else asked


def _length(folder: Folder, said: int | None, longest: int | None, asked: int) -> int:
    most = longest or folder.size("max_position_embeddings", said)
    if asked > most or asked < 0:
        raise InvalidInput(f"max_tokens is 1 to {most}, which the model has positions for")
    return asked or min(said or most, most)


def _dimensions(folder: Folder, asked: str) -> list[int]:
    said = folder.config.get("matryoshka_dimensions") or []
    try:
        return [int(d) for d in (asked.split(",") if asked else said)]
    except (TypeError, ValueError) as e:
        raise InvalidInput(f"dimensions are integers between commas, not {asked or said!r}") from e


def _causal(folder: Folder, attention: str, pooling: str) -> bool:
    if attention != "folder":
        return attention == "causal"
    said = folder.config.get("is_causal")
    if said is None and pooling == "last":
        raise InvalidInput(
            f"{folder.path} pools the last token, as causal decoders do and some others, and its "
            "config.json has no is_causal: say attention=causal or attention=bidirectional"
        )
    return said is True
