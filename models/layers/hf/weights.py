"""From the names of a Hugging Face model's tensors to ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor

from foretoken.errors import InvalidInput

__all__ = ["Names", "renamed"]

Names = Mapping[str, str]  # ours -> theirs


def renamed(
    source: Path, tensors: Mapping[str, Tensor], names: Names, unused: Sequence[str]
) -> dict[str, Tensor]:
    """Tensors by our names.

    Args:
        source: where they come from, for errors.
        tensors: by their names.
        names: what is wanted.
        unused: patterns of names of tensors that are left out, as a shell has them.

    Raises:
        InvalidInput: if one is missing, or there is one that is neither wanted nor known as unused.
    """
    wanted = set(names.values())
    if missing := sorted(wanted - set(tensors)):
        raise InvalidInput(f"{source} lacks tensors of such a model: {', '.join(missing)}")
    rest = sorted(set(tensors) - wanted)
    extra = [name for name in rest if not any(fnmatchcase(name, each) for each in unused)]
    if extra:
        raise InvalidInput(
            f"{source} holds tensors that such a model has not: {', '.join(extra)}; "
            "what they do would be left out"
        )
    return {ours: tensors[theirs].contiguous() for ours, theirs in names.items()}
