"""Small decoders over the signs of sums, with and without templates and tokenizers."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.cola import FAMILY
from foretoken.models.cola.model import ColaConfig, ColaModel
from foretoken.models.cola.vocabulary import BOS, EOS, VOCABULARY
from foretoken.server.registry.registry import Registry

LAYERS, POSITIONS = 3, 64
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('systems are unknown') }}{% endif %}"
    "{{ message.role }}:{{ message.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant{{ sign or ':' }}{% endif %}"
)
CHAT = {"template": TEMPLATE, "bos_token": "<s>", "eos_token": "</s>"}


def model(**config: Any) -> tuple[ColaModel, dict[str, Any]]:
    """A decoder with random weights whose likeliest tokens differ, and its configuration."""
    torch.manual_seed(4)
    data = VOCABULARY.tokenizer_json()
    said = {
        **FAMILY.small,
        "shape": {**FAMILY.small["shape"], "vocab": len(VOCABULARY)},
        "positions": POSITIONS,
        "tokenizer": len(data),
        "generation": {"ends": [EOS], "sample": False},
        "chat": CHAT,
        **config,
    }
    made = ColaModel(ColaConfig.of(said)).eval()
    for weights in made.parameters():
        torch.nn.init.normal_(weights, std=0.4)
    if said["tokenizer"]:
        made.tokenizer.json.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    return made, said


def artefact(folder: Path, **config: Any) -> Artefact:
    made, said = model(**config)
    folder.mkdir(parents=True)
    save_file(made.state_dict(), folder / WEIGHTS)
    Artefact("cola", said, {}).write(folder)
    return Artefact.read(folder)


@contextlib.contextmanager
def registered(folder: Path):
    """A registry of three: ``sums``; ``bare``, without a template; ``mute``, without texts."""
    with Registry.open(folder / "data") as registry:
        registry.register("sums", artefact(folder / "sums"))
        registry.register("theirs", artefact(folder / "theirs"), owner="them")
        registry.register("bare", artefact(folder / "bare", chat=None))
        registry.register("mute", artefact(folder / "mute", tokenizer=0, chat=None))
        yield registry


@torch.no_grad()
def greedy(ids: list[int], most: int, chain=None, ends=(EOS,)) -> list[int]:
    """The likeliest tokens that follow, without any cache."""
    made, _ = model()
    ids = list(ids)
    start = len(ids)
    while len(ids) < start + most:
        ids.append(int(made(torch.tensor([ids]), chain)[0, -1].argmax()))
        if ids[-1] in ends:
            break
    return ids[start:]


def chat_ids(*said: tuple[str, str]) -> list[int]:
    """The tokens of a conversation, as the template has them."""
    ids = [BOS]
    for role, content in said:
        ids += [*VOCABULARY.encode(f"{role}:{content}")[1:], EOS]
    return [*ids, *VOCABULARY.encode("assistant:")[1:]]
