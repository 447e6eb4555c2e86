"""Llama and Qwen2 in Hugging Face's layout: sizes and names, as ``layers.decoder`` has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foretoken.errors import InvalidInput
from foretoken.models.layers.decoder import DecoderShape
from foretoken.models.layers.hf.folder import Folder
from foretoken.models.layers.hf.weights import Names

__all__ = ["PREFIXES", "TYPES", "UNUSED", "block_names", "decoder_shape"]

TYPES = ("llama", "qwen2")
PREFIXES = ("model.",)
UNUSED = ("lm_head.*", "*rotary_emb.inv_freq")
_MLP = ("gate", "up", "down")
_ROPE = "rope_parameters"  # since transformers 5; before: rope_theta, and rope_scaling or null


def decoder_shape(folder: Folder) -> DecoderShape:
    """Sizes, as config.json says them.

    Raises:
        InvalidInput: if the type, or something it asks for, is not supported.
    """
    kind, config = folder.expect_type(TYPES), folder.config
    activation = config.get("hidden_act", "silu")
    if activation != "silu":
        raise InvalidInput(f"{folder.path}: hidden_act is {activation!r}; supported is 'silu'")
    if config.get("use_sliding_window") or "sliding_attention" in (config.get("layer_types") or ()):
        raise InvalidInput(f"{folder.path} has layers with a sliding window, not supported here")
    if config.get("mlp_bias") or (kind == "llama" and config.get("attention_bias")):
        raise InvalidInput(f"{folder.path} has biases that {kind} models usually have not")
    heads, width = folder.size("num_attention_heads"), folder.size("hidden_size")
    rope = config.get(_ROPE) or {}
    scaling: Mapping[str, Any] = rope or config.get("rope_scaling") or {}
    if float((rope or config).get("partial_rotary_factor") or 1.0) != 1.0:
        raise InvalidInput(f"{folder.path} turns a part of each head only, not supported here")
    plain = scaling.get("rope_type", scaling.get("type")) in (None, "default")
    return DecoderShape(
        vocab=folder.size("vocab_size"),
        width=width,
        layers=folder.size("num_hidden_layers"),
        heads=heads,
        kv_heads=folder.size("num_key_value_heads", heads),
        head_width=folder.size("head_dim", width // heads),
        mlp=folder.size("intermediate_size"),
        eps=folder.number("rms_norm_eps", 1e-6),
        theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
        scaling=None if plain else dict(scaling),
        qkv_bias=kind == "qwen2",
    )


def block_names(shape: DecoderShape, blocks: str) -> Names:
    """Our names of the blocks' tensors, below ``blocks`` -> theirs."""
    names: dict[str, str] = {}
    for i in range(shape.layers):
        ours, theirs = f"{blocks}{i}.", f"layers.{i}."
        for kind in ("weight", "bias") if shape.qkv_bias else ("weight",):
            for each in "qkv":
                name = f"{theirs}self_attn.{each}_proj.{kind}"
                names[f"{ours}attention.{each}.{kind}"] = name
        names |= {f"{ours}mlp.{n}.weight": f"{theirs}mlp.{n}_proj.weight" for n in _MLP}
        names |= {
            f"{ours}attention.out.weight": f"{theirs}self_attn.o_proj.weight",
            f"{ours}norm_attention.weight": f"{theirs}input_layernorm.weight",
            f"{ours}norm_mlp.weight": f"{theirs}post_attention_layernorm.weight",
        }
    return names
