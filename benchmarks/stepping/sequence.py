"""One long sequence, a token at a time, through stacks that differ in their mixers alone."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.series.mixers import factory
from foretoken.models.layers.mixers import MixerFactory, State
from foretoken.models.layers.mixers.aaren import Aaren
from foretoken.models.layers.stack import Block, Stack

__all__ = ["PAPER", "SERVED", "Shape", "run"]

WARM = 20  # steps on a state of its own before the clock runs
EDGE = 0.1  # share of the steps at either end whose times are compared


@dataclass(frozen=True)
class Shape:
    """Sizes of a stack; with ``paper``, its Aaren layers have all parameters of the paper's."""

    name: str
    width: int
    layers: int
    heads: int
    mlp: int
    paper: bool = False

    def mixer(self, name: str) -> MixerFactory:
        if name == "aaren" and self.paper:
            return lambda _: Aaren(self.width, self.heads, folded=False)
        return factory(name, self.width, self.heads)


SERVED = Shape("width 128", 128, 4, 8, 256)
PAPER = Shape("width 512, as in the paper", 512, 4, 8, 2048, paper=True)


@dataclass
class Run:
    """A stack on its way along a sequence.

    States are kept layer by layer, each mixer's as it gave it: ``Stack`` would put the layers'
    states together after each step, which would copy all keys and values.
    """

    stack: Stack
    states: list[State]
    seconds: list[float] = field(default_factory=list)  # of a step, chunk by chunk
    sizes: list[int] = field(default_factory=list)  # bytes of all states after each chunk

    def advance(self, tokens: Tensor) -> None:
        """Step through tokens [T, W]."""
        began = time.perf_counter()
        for token in tokens.split(1):
            self.step(token)
        self.seconds.append((time.perf_counter() - began) / len(tokens))
        self.sizes.append(sum(t.nbytes for state in self.states for t in state.values()))

    def step(self, h: Tensor) -> Tensor:
        for i, block in enumerate(cast("list[Block]", self.stack.blocks)):
            h, self.states[i] = block.step(h, self.states[i])
        out: Tensor = self.stack.norm(h)
        return out


def begin(shape: Shape, mixer: str) -> Run:
    torch.manual_seed(0)
    stack = Stack(shape.width, shape.layers, shape.mlp, shape.mixer(mixer)).eval()
    Run(stack, start(stack)).advance(torch.randn(WARM, shape.width))
    return Run(stack, start(stack))


def start(stack: Stack) -> list[State]:
    return [block.mixer.start(1) for block in cast("list[Block]", stack.blocks)]


@torch.inference_mode()
def run(shape: Shape, mixers: tuple[str, ...], steps: int, chunk: int) -> dict[str, Any]:
    """Seconds and bytes along ``steps`` tokens; the mixers take turns after every ``chunk``."""
    runs = {mixer: begin(shape, mixer) for mixer in mixers}
    tokens = torch.randn(steps, shape.width, generator=torch.Generator().manual_seed(1))
    for part in tokens.split(chunk):
        for each in runs.values():
            each.advance(part)
    return {mixer: summary(each, chunk) for mixer, each in runs.items()}


def summary(made: Run, chunk: int) -> dict[str, Any]:
    cumulative, total = [], 0.0
    for seconds in made.seconds:
        total += seconds * chunk
        cumulative.append(total)
    edge = max(round(EDGE * len(made.seconds)), 1)
    first, last = (statistics.median(part) for part in (made.seconds[:edge], made.seconds[-edge:]))
    return {
        "parameters": sum(p.numel() for p in made.stack.parameters()),
        "step_us_first": first * 1e6,
        "step_us_last": last * 1e6,
        "last_over_first": last / first,
        "cumulative_s": [round(s, 4) for s in cumulative],
        "state_bytes": made.sizes,
    }
