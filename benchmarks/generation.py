"""Tokens per second of a decoder, beside transformers, alone and with chains of layers that differ.

``python -m benchmarks.generation [--threads 1] [--dtypes float32 bfloat16] [--rounds 5]``

Both sides decode the same 100 M parameters of random weights from the same prompts, greedily, in
this process and by turns: ours through the engine that serves (``server.engine.generation``),
transformers by ``generate`` with its cache. Steps are what a token more takes, prompts aside.

A step reads every weight once, so the floor is their bytes over the rate at which a product of one
row with a matrix reads memory, measured by turns with the rest. Chains that differ have as many
layers as the model, so the work is the same, and batches are smaller: the more so the fewer layers
requests have in common.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import keep
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import family
from foretoken.models.cola.huggingface import convert
from foretoken.models.cola.vocabulary import VOCABULARY
from foretoken.models.depth.chains import Chain, full, repeated, skipped
from foretoken.models.generation import Continuation, Sampling
from foretoken.models.layers.texts.reading import Unread
from foretoken.server.engine.generation.generator import Generator
from foretoken.server.loading import generator_of
from foretoken.server.runtimes.torch import TorchRuntime
from foretoken.server.settings import Settings

LAYERS, WIDTH, MLP, HEADS, KV_HEADS, VOCAB = 12, 768, 2048, 12, 4, 32_000
PROMPT, SHORT, LONG = 32, 2, 34  # tokens of a prompt, and of the answers whose times are subtracted
BATCHES = (1, 8, 32)
MIXED = (8, 32)
AIMS = {"bound": 0.8, "transformers at 8": 2.0, "mixed": 0.9}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        saved = _saved(Path(folder))
        measured = {
            dtype: _measured(saved, dtype, args.threads, args.rounds) for dtype in args.dtypes
        }
    for dtype, figures in measured.items():
        _print(dtype, figures)
    keep("generation", {"threads": args.threads, "aims": AIMS, "dtypes": measured})


def _saved(folder: Path) -> Path:
    """A model as transformers saves it, with a tokenizer, which neither side uses."""
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 (seconds)

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=MLP,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    (folder / "model" / "tokenizer.json").write_bytes(VOCABULARY.tokenizer_json())
    return folder / "model"


class _Theirs:
    """transformers' ``generate``."""

    def __init__(self, saved: Path, dtype: str) -> None:
        from transformers import LlamaForCausalLM  # noqa: PLC0415 (seconds)

        self._model = LlamaForCausalLM.from_pretrained(saved, dtype=getattr(torch, dtype)).eval()
        self._model.generation_config.pad_token_id = 0
        self._model.generation_config.eos_token_id = None

    def answers(self, prompts: np.ndarray[Any, Any], tokens: int) -> list[list[int]]:
        """Of all prompts, each of as many tokens."""
        ids = torch.from_numpy(prompts)
        mask = torch.ones_like(ids)
        told = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
        with torch.inference_mode():
            made = self._model.generate(ids, attention_mask=mask, **told)
        answers: list[list[int]] = made[:, ids.shape[1] :].tolist()
        return answers


class _Ours:
    """The engine; every run begins without what earlier ones left in its blocks."""

    def __init__(self, saved: Path, dtype: str, threads: int) -> None:
        out = saved.parent / f"ours-{dtype}"
        convert(saved, out)
        artefact = replace(Artefact.read(out), precision=dtype)
        executable = TorchRuntime("cpu").load(artefact, family("cola"), threads)
        self._make: Callable[[], Generator] = partial(generator_of, executable, Settings())
        self.bytes = sum(p.numel() for p in _counted(saved)) * getattr(torch, dtype).itemsize

    def answers(
        self, prompts: np.ndarray[Any, Any], tokens: int, chains: Sequence[Chain] | None = None
    ) -> list[list[int]]:
        """Likewise, by a chain for each prompt."""
        generator = self._make()
        greedy = Sampling().over({})
        asked = []
        for i, prompt in enumerate(prompts):
            chain = full(LAYERS) if chains is None else chains[i]
            ids = tuple(prompt.tolist())
            asked.append(
                generator.add(Continuation(ids, chain, tokens, greedy, frozenset(), Unread()))
            )
        for _ in generator.run():
            pass
        return [[token.id for token in one.answer] for one in asked]


def _counted(saved: Path) -> Sequence[torch.Tensor]:
    from safetensors.torch import load_file  # noqa: PLC0415

    return list(load_file(saved / "model.safetensors").values())


def _measured(saved: Path, dtype: str, threads: int, rounds: int) -> dict[str, Any]:
    theirs, ours = _Theirs(saved, dtype), _Ours(saved, dtype, threads)
    rng = np.random.default_rng(0)
    prompts = {B: rng.integers(3, VOCAB, (B, PROMPT)) for B in BATCHES}
    steps: dict[str, Callable[[int], object]] = {}
    for B in BATCHES:
        steps[f"transformers {B}"] = partial(theirs.answers, prompts[B])
        steps[f"ours {B}"] = partial(ours.answers, prompts[B])
    for B in MIXED:
        for kind, chains in _chains(B).items():
            steps[f"{kind} {B}"] = partial(ours.answers, prompts[B], chains=chains)
    read = _reader(ours.bytes, dtype)
    seconds, rate = _seconds(steps, read, rounds)
    equal = [
        a == b
        for x, y in zip(
            theirs.answers(prompts[8], LONG), ours.answers(prompts[8], LONG), strict=True
        )
        for a, b in zip(x, y, strict=True)
    ]
    rates = {name: int(name.split()[-1]) / taken for name, taken in seconds.items()}
    return {
        "parameters": sum(p.numel() for p in _counted(saved)),
        "bytes": ours.bytes,
        "read_bytes_per_second": rate,
        "tokens_per_second": rates,
        "of_bound_at_1": rates["ours 1"] * ours.bytes / rate,
        "times_transformers": {B: rates[f"ours {B}"] / rates[f"transformers {B}"] for B in BATCHES},
        "mixed_of_uniform": {
            f"{kind} {B}": rates[f"{kind} {B}"] / rates[f"ours {B}"]
            for B in MIXED
            for kind in _chains(B)
        },
        "equal_tokens_at_8": sum(equal) / len(equal),
    }


def _chains(count: int) -> Mapping[str, Sequence[Chain]]:
    """Chains of as many layers as the model has, for ``count`` requests."""
    rng = random.Random(count)
    whole = full(LAYERS)

    def moved() -> Chain:
        """A block of layers left out, and another, as long, run twice."""
        block = rng.randint(1, 3)
        chain = skipped(whole, rng.randint(0, LAYERS - block), block)
        return repeated(chain, rng.randint(0, len(chain) - block), block, 1)

    kinds = [moved(), moved()]
    return {
        "two kinds": [kinds[i % 2] for i in range(count)],
        "half edited": [whole if i % 2 else moved() for i in range(count)],
        "all edited": [moved() for _ in range(count)],
    }


def _reader(nbytes: int, dtype: str) -> Callable[[], int]:
    """Reads as many bytes as a step does, by products of one row with square matrices."""
    side = 2048
    each = side * side * getattr(torch, dtype).itemsize
    matrices = [torch.randn(side, side).to(getattr(torch, dtype)) for _ in range(nbytes // each)]
    row = torch.randn(1, side).to(matrices[0].dtype)

    def read() -> int:
        with torch.inference_mode():
            for matrix in matrices:
                torch.nn.functional.linear(row, matrix)
        return len(matrices) * each

    return read


def _seconds(
    steps: Mapping[str, Callable[[int], object]], read: Callable[[], int], rounds: int
) -> tuple[dict[str, float], float]:
    """Median seconds of one step of each side, and bytes per second that were read, by turns."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    rates = []
    for answer in steps.values():
        answer(SHORT)
    for _ in range(rounds):
        began = time.perf_counter()
        nbytes = read()
        rates.append(nbytes / (time.perf_counter() - began))
        for name, answer in steps.items():
            began = time.perf_counter()
            answer(SHORT)
            between = time.perf_counter()
            answer(LONG)
            more = (time.perf_counter() - between) - (between - began)
            taken[name].append(more / (LONG - SHORT))
    return {name: statistics.median(each) for name, each in taken.items()}, max(rates)


def _print(dtype: str, figures: Mapping[str, Any]) -> None:
    print(f"\n{dtype}, {figures['parameters'] / 1e6:.0f} M parameters")
    for name, rate in figures["tokens_per_second"].items():
        print(f"  {name:16} {rate:8.1f} tokens/s")
    print(f"  of the bound at batch 1 {figures['of_bound_at_1']:.2f} (aim {AIMS['bound']})")
    for B, times in figures["times_transformers"].items():
        print(f"  times transformers at batch {B:2} {times:.2f}")
    for name, share in figures["mixed_of_uniform"].items():
        print(f"  {name:16} {share:.2f} of one chain (aim {AIMS['mixed']})")
    print(f"  equal tokens at batch 8 {figures['equal_tokens_at_8']:.1%}")


if __name__ == "__main__":
    main()
