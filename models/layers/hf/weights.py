"""From the names and parts of a Hugging Face model's tensors to ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from foretoken.errors import InvalidInput

__all__ = ["gathered"]

Names = Mapping[str, Sequence[str]]  # ours -> theirs, stacked along axis 0


def gathered(
    source: Path, tensors: Mapping[str, Tensor], names: Names, unused: Sequence[str]
) -> dict[str, Tensor]:
    """Tensors by our names.

    Args:
        source: where they come from, for errors.
        tensors: by their names.
        names: what is wanted, and which of theirs it is made of.
        unused: patterns of names of tensors that are left out, as a shell has them.

    Raises:
        InvalidInput: if one is missing, or there is one that is neither wanted nor known as unused.
    """
    wanted = [name for parts in names.values() for name in parts]
    if missing := sorted(set(wanted) - set(tensors)):
        raise InvalidInput(f"{source} lacks tensors of such a model: {', '.join(missing)}")
    rest = sorted(set(tensors) - set(wanted))
    extra = [name for name in rest if not any(fnmatchcase(name, each) for each in unused)]
    if extra:
        raise InvalidInput(
            f"{source} holds tensors that such a model has not: {', '.join(extra)}; "
            "what they do would be left out"
        )
    return {ours: _stacked([tensors[name] for name in parts]) for ours, parts in names.items()}


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    return parts[0].contiguous() if len(parts) == 1 else torch.cat(list(parts))
