"""Reading weights that authors of prior-fitted networks released: files, names, shapes.

Their networks are PyTorch's own transformer encoder between linear maps, so the names of blocks are
the same in all of them.
"""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from foretoken.errors import InvalidInput

__all__ = ["expect_layout", "load_state", "renamed"]

_BLOCK = {
    "self_attn.in_proj_": "qkv.",
    "self_attn.out_proj.": "out.",
    "linear1.": "mlp_in.",
    "linear2.": "mlp_out.",
    "norm1.": "norm_attention.",
    "norm2.": "norm_mlp.",
}


def load_state(source: Path, allowed: Sequence[type] = ()) -> tuple[dict[str, Tensor], object]:
    """A state dict, without the prefix "module.", and the last of what was saved beside it.

    Args:
        source: safetensors, or what ``torch.save`` made of a state dict or of a tuple that begins
            with one; whatever needs code to be loaded is refused.
        allowed: classes that may be named in it.

    Raises:
        InvalidInput: if it is anything else.
    """
    try:
        if source.suffix == ".safetensors":
            loaded: Any = load_file(source)
        else:
            with torch.serialization.safe_globals(list(allowed)):
                loaded = torch.load(source, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as e:
        said = " ".join(str(e).rpartition("WeightsUnpickler error:")[2].split())
        raise InvalidInput(
            f"{source} cannot be read as tensors alone: {said.split('. ')[0]}. Save the model's "
            "state_dict(), with nothing but numbers and text beside it, by torch.save or "
            "safetensors; whatever else is pickled is never loaded"
        ) from e
    parts = loaded if isinstance(loaded, (tuple, list)) and loaded else (loaded,)
    first = parts[0]
    if not isinstance(first, dict) or not all(isinstance(t, Tensor) for t in first.values()):
        raise InvalidInput(f"{source} holds {type(first).__name__}, not a state dict of tensors")
    return {name.removeprefix("module."): tensor for name, tensor in first.items()}, parts[-1]


def renamed(
    state: Mapping[str, Tensor], names: Mapping[str, str], unused: Collection[str], model: str
) -> dict[str, Tensor]:
    """The tensors by our names.

    Args:
        state: names as in the release (``transformer_encoder.layers.0.self_attn...``).
        names: prefixes of what lies outside of the blocks, theirs -> ours.
        unused: names that are left out.
        model: what the release is called in errors.

    Raises:
        InvalidInput: a name is not part of that layout.
    """
    ours: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name in unused:
            continue
        rest = name.removeprefix("transformer_encoder.layers.")
        index, _, rest = rest.partition(".") if rest != name else ("", "", rest)
        table = {k: f"blocks.{index}.{v}" for k, v in _BLOCK.items()} if index else names
        old = next((k for k in table if rest.startswith(k)), None)
        if old is None:
            raise InvalidInput(f"{name!r} is not a tensor of a {model}")
        ours[table[old] + rest[len(old) :]] = tensor
    return ours


def expect_layout(
    source: Path, ours: Mapping[str, Tensor], expected: Mapping[str, Tensor], model: str
) -> None:
    """Refuse tensors that are not those expected.

    Raises:
        InvalidInput: naming what is missing, misshapen or too many.
    """
    wrong = {
        name
        for name in expected.keys() | ours.keys()
        if name not in ours or name not in expected or ours[name].shape != expected[name].shape
    }
    if wrong:
        raise InvalidInput(
            f"{source} is no {model}: {', '.join(sorted(wrong))} missing or misshapen"
        )
