"""Distils a static encoder from a text encoder, without any corpus.

Every token of the vocabulary goes through the teacher on its own; then texts of random tokens do,
and the table is fitted to what the teacher says of them. Rows are projected onto the principal
components of the fitted table, and kept as int8.

Letters: V tokens, N texts, T tokens of a text, E width of the teacher's vectors, W of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
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
from foretoken.models.static_encoder.fit import fitted
from foretoken.models.static_encoder.pseudo import Drawn, Vocabulary, draw, vocabulary
from foretoken.models.tasks import Task

__all__ = ["WIDTHS", "distilled", "run"]

WIDTHS = {"small": 256, "wide": 0}  # 0: the teacher's
IMPORTER = "hf"
LONGEST = 1 << 16  # tokens of a text; there is no position that a token could be beyond
BATCH = 8192  # tokens that go through the teacher at a time
RARE = 1e-3  # frequency of a word that weighs half of the rarest (Arora et al. 2017, equation 3)
SIGN = 1e-3  # what signs weigh: they say little, and some texts have hundreds of them
LEVELS = 127  # of int8, on either side of 0
SEED = 0
PARTS = (0.15, 0.75, 0.1)  # of the time, roughly: tokens alone, texts, the fit


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
    table, scale = distilled(teacher, WIDTHS[preset], options["texts"], progress)
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
    source = Path(options["teacher"]).resolve().name
    said = f"the vocabulary of {source}, and {options['texts']} texts of its tokens at random"
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


def distilled(
    teacher: Teacher, width: int, texts: int, progress: Progress | None = None
) -> tuple[Tensor, Tensor]:
    """A table int8 [V, W] and its scales float32 [V].

    Args:
        teacher: of E dimensions.
        width: W, at most E; 0 takes E.
        texts: N, how many texts of random tokens are learned from; 0: tokens alone are.
        progress: is told how far it is.

    Raises:
        InvalidInput: if W is more than E, N below 0, or no token is a word.
    """
    if texts < 0:
        raise InvalidInput(f"texts={texts}: how many there are is 0 or more")
    tell = progress or (lambda *_: None)
    tokenizer = tokenizer_of(teacher.tokenizer)
    special = _special(tokenizer)
    tokens = vocabulary(tokenizer, special)
    V = tokenizer.get_vocab_size()
    ones = Drawn(np.arange(V), np.ones(V, np.int64))
    vectors = _taught(teacher.module, tokenizer, ones, _part(tell, 0, "tokens"))
    if width > vectors.shape[1]:
        raise InvalidInput(f"the teacher's vectors have {vectors.shape[1]} dimensions, not {width}")
    known = torch.ones(V, dtype=torch.bool)
    known[special] = False
    weights = known.float()
    weights[torch.from_numpy(tokens.signs)] = SIGN
    rows = (vectors - vectors[known].mean(0)) * _rarity(V, tokens)[:, None]
    if texts:
        drawn = draw(tokens, vectors, texts, SEED)
        wanted = _taught(teacher.module, tokenizer, drawn, _part(tell, 1, "texts"))
        pairs = (torch.from_numpy(drawn.ids), torch.from_numpy(drawn.lengths))
        last = _part(tell, 2, "cosine")
        rows = fitted(rows, weights, pairs, wanted - wanted.mean(0), seed=SEED, tell=last)
    rows = _projected(rows.double(), weights.double(), width or rows.shape[1])
    steps = rows.abs().amax(1).clamp(min=1e-12) / LEVELS
    table = (rows / steps[:, None]).round().to(torch.int8)
    return table, (steps * weights).float()


def _part(tell: Progress, part: int, name: str) -> Callable[[float, float], None]:
    before = sum(PARTS[:part])
    return lambda done, figure: tell(before + PARTS[part] * done, {name: figure})


def _special(tokenizer: Tokenizer) -> list[int]:
    return [i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special]


@torch.no_grad()
def _taught(
    module: nn.Module, tokenizer: Tokenizer, drawn: Drawn, tell: Callable[[float, float], None]
) -> Tensor:
    """The teacher's vectors of texts, float32 [N, E]; it computes in bfloat16 where it can."""
    around = tokenizer.encode("").ids
    first_own, _ = ends(tokenizer)
    before, after = around[:first_own], around[first_own:]
    own = np.split(drawn.ids, np.cumsum(drawn.lengths)[:-1])
    order = np.argsort(drawn.lengths, kind="stable")[::-1]
    made: list[Tensor] = []
    done = 0
    while done < len(order):
        T = len(around) + int(drawn.lengths[order[done]])
        mine = order[done : done + max(1, BATCH // T)]
        ids = np.zeros((len(mine), T), np.int64)
        for row, i in zip(ids, mine, strict=True):
            text = [*before, *own[i], *after]
            row[: len(text)] = text
        length = torch.from_numpy(drawn.lengths[mine] + len(around))
        with torch.autocast("cpu", torch.bfloat16):
            made.append(module(torch.from_numpy(ids), length).float())
        done += len(mine)
        tell(done / len(order), float(done))
    vectors = torch.cat(made)
    back = torch.empty_like(vectors)
    back[torch.from_numpy(order.copy())] = vectors
    return back


def _projected(rows: Tensor, weights: Tensor, width: int) -> Tensor:
    """Onto their first principal components as they weigh, [V, W]."""
    weighed = rows * weights[:, None]
    _, components = torch.linalg.eigh(weighed.T @ weighed)  # the largest last
    projected: Tensor = rows @ components.flip(1)[:, :width]
    return projected


def _rarity(V: int, tokens: Vocabulary) -> Tensor:
    """Weights [V]: words and pieces have frequencies as 1 / rank, all others none to speak of."""
    ranked = np.sort(np.concatenate([tokens.words, tokens.pieces]))
    frequency = 1 / np.arange(1, len(ranked) + 1)
    frequency /= frequency.sum()
    weights = torch.ones(V)
    weights[torch.from_numpy(ranked)] = torch.from_numpy(RARE / (RARE + frequency)).float()
    return weights
