"""Distils a static encoder from a text encoder: every token of the vocabulary through the teacher.

No corpus is needed: vectors of single tokens, projected onto their principal components, and
weights that follow by Zipf's law from the order of the vocabulary, which has frequent tokens first.

Letters: V tokens, E width of the teacher's vectors, W of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from foretoken.errors import AlreadyExists, InvalidInput
from foretoken.models import catalog
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.contract import Family
from foretoken.models.layers.hf.tokenizer import ends, tokenizer_of
from foretoken.models.layers.texts.tokens import FILE
from foretoken.models.recipes import Progress
from foretoken.models.tasks import Task

__all__ = ["WIDTHS", "distilled", "run"]

WIDTHS = {"small": 256, "wide": 0}  # 0: the teacher's
IMPORTER = "hf"
LONGEST = 1 << 16  # tokens of a text; there is no position that a token could be beyond
BATCH = 256  # tokens that go through the teacher at a time
RARE = 1e-4  # frequency of a token that weighs half of the rarest (Arora et al. 2017, equation 3)
LEVELS = 127  # of int8, on either side of 0


@dataclass(frozen=True)
class Teacher:
    """A text encoder to learn from.

    Args:
        module: graph "forward", in evaluation mode.
        tokenizer: bytes of its tokenizer.json.
        config: of its version.
    """

    module: nn.Module
    tokenizer: bytes
    config: Mapping[str, Any]


def run(preset: str, options: Mapping[str, Any], out: Path, progress: Progress | None) -> None:
    """The family's recipe (see ``foretoken.models.recipes.Recipe``).

    Raises:
        InvalidInput: if no teacher is named, or the folder holds none.
        AlreadyExists: if there is an artefact in ``out``.
    """
    if not options["teacher"]:
        raise InvalidInput("which model is to be the teacher? Give teacher=DIR")
    folder = out / "artefact"
    if folder.exists():
        raise AlreadyExists(f"{folder} is there already; choose another folder")
    teacher = taught(Path(options["teacher"]))
    table, scale = distilled(teacher, WIDTHS[preset], progress)
    config = {
        "vocab": len(table),
        "width": table.shape[1],
        "max_tokens": LONGEST,
        "dimensions": [],
        "prompts": {},
        "default_prompt": None,
        "lowercase": teacher.config["lowercase"],
        "tokenizer": len(teacher.tokenizer),
    }
    folder.mkdir(parents=True)
    tokenizer = torch.frombuffer(bytearray(teacher.tokenizer), dtype=torch.uint8)
    save_file({"table": table, "scale": scale, FILE: tokenizer}, folder / WEIGHTS)
    said = f"the vocabulary of {Path(options['teacher']).resolve().name}; no text was used"
    training = {"data": said, "parameters": table.numel() + scale.numel()}
    if options["name"]:
        training["name"] = options["name"]
    Artefact("static_encoder", config, {}, training=training).write(folder)


def taught(source: Path) -> Teacher:
    """The teacher in a Hugging Face folder, by the family that reads such folders.

    Raises:
        InvalidInput: if it is none that embeds texts and brings a tokenizer.
    """
    family = _reader()
    with TemporaryDirectory() as scratch:
        home = Path(scratch) / "teacher"
        importer = family.importers[IMPORTER]
        importer.run(source, {o.name: o.default for o in importer.options}, home)
        artefact = Artefact.read(home)
        weights = load_file(artefact.files[WEIGHTS])
    if FILE not in weights:
        raise InvalidInput(f"{source} has no {FILE}, whose tokens are what is learned")
    module = family.module(artefact.config)
    module.load_state_dict(weights)
    return Teacher(module.eval(), weights[FILE].numpy().tobytes(), artefact.config)


def _reader() -> Family:
    for family in catalog.families().values():
        if family.task is Task.TEXT and IMPORTER in family.importers:
            return family
    raise InvalidInput(f"no family of texts imports folders of the kind {IMPORTER!r}")


@torch.no_grad()
def distilled(
    teacher: Teacher, width: int, progress: Progress | None = None
) -> tuple[Tensor, Tensor]:
    """A table int8 [V, W] and its scales float32 [V].

    Args:
        teacher: of E dimensions.
        width: W, at most E; 0 takes E.
        progress: is told how far it is.

    Raises:
        InvalidInput: if W is more than E.
    """
    tokenizer = tokenizer_of(teacher.tokenizer)
    special = _special(tokenizer)
    vectors = _vectors(teacher.module, tokenizer, progress or (lambda *_: None))
    if width > vectors.shape[1]:
        raise InvalidInput(f"the teacher's vectors have {vectors.shape[1]} dimensions, not {width}")
    known = torch.ones(len(vectors), dtype=torch.bool)
    known[special] = False
    rows = _projected(vectors, known, width or vectors.shape[1])
    weights = _rarity(len(vectors)) * known
    steps = rows.abs().amax(1).clamp(min=1e-12) / LEVELS
    table = (rows / steps[:, None]).round().to(torch.int8)
    return table, (steps * weights).float()


def _special(tokenizer: Tokenizer) -> list[int]:
    return [i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special]


def _vectors(
    module: nn.Module, tokenizer: Tokenizer, tell: Callable[[float, Mapping[str, float]], None]
) -> Tensor:
    """The teacher's vector of each token on its own, float64 [V, E]."""
    V = tokenizer.get_vocab_size()
    around = tokenizer.encode("").ids
    first_own, _ = ends(tokenizer)
    before, after = around[:first_own], around[first_own:]
    made = []
    for first in range(0, V, BATCH):
        ids = [[*before, token, *after] for token in range(first, min(first + BATCH, V))]
        length = torch.full((len(ids),), len(ids[0]))
        made.append(module(torch.tensor(ids), length).double())
        tell(min(first + BATCH, V) / V, {"tokens": float(min(first + BATCH, V))})
    return torch.cat(made)


def _projected(vectors: Tensor, known: Tensor, width: int) -> Tensor:
    """Onto the first principal components of those that are known, [V, W]."""
    centred = vectors - vectors[known].mean(0)
    _, components = torch.linalg.eigh(centred[known].T @ centred[known])  # the largest last
    projected: Tensor = centred @ components.flip(1)[:, :width]
    return projected


def _rarity(V: int) -> Tensor:
    """Weights [V] of tokens whose frequencies are as 1 / rank."""
    frequency = 1 / torch.arange(1, V + 1, dtype=torch.float64)
    frequency /= frequency.sum()
    return RARE / (RARE + frequency)
