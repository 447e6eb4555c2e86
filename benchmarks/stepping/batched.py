"""Many sequences stepped at once: the engine's slots and sessions beside a plain torch loop.

Letters: B sequences.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.common import gemm, interleaved
from foretoken.models.aaren import FAMILY
from foretoken.models.aaren.config import AarenConfig
from foretoken.models.aaren.model import build
from foretoken.models.aaren.train import PRESETS
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.contract import Arrays, Graph
from foretoken.server.engine.slots import HostRows, Slots
from foretoken.server.local import LocalPlane
from foretoken.server.publish import publish
from foretoken.server.registry.registry import Registry
from foretoken.server.runtimes.onnx import OnnxRuntime
from foretoken.server.sessions.session import Session
from foretoken.server.sessions.stepping import ROWS
from foretoken.server.settings import load_settings
from foretoken.server.terms import Terms

__all__ = ["PAPER", "ROWS", "SERVED", "SIZES", "compared"]

SIZES = (1, 16, 256, 4096)
FASTEST = 1024  # rows of a product
COPIED = 1 << 28  # bytes, beyond every cache
SERVED = PRESETS["small"].config  # of aaren-forecast
PAPER = replace(SERVED, width=512, mlp=2048)  # its blocks are as large as the paper's
Floats = NDArray[np.float64]
Side = Callable[[int], None]
"""Steps all sequences so many times."""


def compared(
    config: AarenConfig, sizes: Sequence[int], rounds: int, folder: Path
) -> dict[str, Any]:
    """Steps per second of each side at each size, and what the machine's limits would allow."""
    torch.manual_seed(0)
    module, given = build(config).eval(), asdict(config)
    save_file(module.state_dict(), folder / WEIGHTS)
    artefact = Artefact("aaren", given, {WEIGHTS: folder / WEIGHTS})
    artefact = publish(artefact, folder / "published")
    executable = OnnxRuntime().load(artefact, FAMILY, threads=1)
    start = FAMILY.predictor(given, {}).start()
    step = next(g for g in FAMILY.graphs(given) if g.name == "step")
    settings = load_settings(threads=1, sessions=2 * max(sizes))
    bandwidth = copying()
    found: dict[str, Any] = {"config": given, "copy_gb_s": bandwidth / 1e9, "sizes": {}}
    with Registry.open(folder / "data") as registry, LocalPlane(registry, settings) as plane:
        registry.register("aaren-forecast", artefact)
        sessions = plane.run(opened(plane, max(sizes)))
        for B in sizes:
            x = np.random.default_rng(B).standard_normal((B, 1))
            rows = HostRows(executable.run, start, B + 1)
            sides: dict[str, Side] = {
                "torch": Looped(module, start, x),
                "slots": Slotted(Slots(rows, start, B), step, x),
                "sessions": Pushed(plane, sessions[:B], x),
            }
            seconds = timed(sides, rounds, max(256 // B, 1))
            bounds = limits(module, step, B, bandwidth)
            found["sizes"][B] = row(B, seconds, bounds)
    return found


class Looped:
    """All sequences in one torch batch, whose state stays where it is."""

    def __init__(self, module: nn.Module, start: Arrays, x: Floats) -> None:
        self.module, self.x = module, torch.from_numpy(x)
        self.state = [torch.from_numpy(np.repeat(a, len(x), 0)) for a in start.values()]

    @torch.inference_mode()
    def __call__(self, times: int) -> None:
        for _ in range(times):
            made: tuple[Tensor, ...] = self.module.step(self.x, *self.state)  # type: ignore[operator]
            self.state = list(made[-len(self.state) :])


class Slotted:
    """The engine's pool: states are gathered from slots, stepped by ONNX Runtime, put back."""

    def __init__(self, slots: Slots, graph: Graph, x: Floats) -> None:
        self.slots, self.graph, self.x = slots, graph, x
        self.taken = [slots.take() for _ in x]

    def __call__(self, times: int) -> None:
        for _ in range(times):
            for at in range(0, len(self.x), ROWS):
                part = slice(at, at + ROWS)
                self.slots.run(self.graph, {"x": self.x[part]}, self.taken[part])


class Pushed:
    """Sessions of a plane, each a message of its own with its own reply."""

    def __init__(self, plane: LocalPlane, sessions: Sequence[Session], x: Floats) -> None:
        self.plane, self.sessions, self.x = plane, sessions, x[:, None]

    def __call__(self, times: int) -> None:
        self.plane.run(self._push(times))

    async def _push(self, times: int) -> None:
        step, terms = self.plane.plane.sessions.step, Terms()
        for _ in range(times):
            pairs = zip(self.sessions, self.x, strict=True)
            await asyncio.gather(*[step(session, value, terms) for session, value in pairs])


async def opened(plane: LocalPlane, count: int) -> list[Session]:
    await plane.plane.follow(everything=True)
    return [await plane.plane.sessions.open("aaren-forecast", Terms()) for _ in range(count)]


def timed(sides: Mapping[str, Side], rounds: int, times: int) -> dict[str, float]:
    """Median seconds of one step of all sequences, by side; the sides take turns."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side(3)
    for _ in range(rounds):
        for name, side in sides.items():
            began = time.perf_counter()
            side(times)
            taken[name].append((time.perf_counter() - began) / times)
    return {name: median(each) for name, each in taken.items()}


def copying() -> float:
    """Bytes per second that a copy reads and writes."""
    source = np.ones(COPIED // 8)
    target = np.empty_like(source)
    seconds = interleaved({"": lambda: np.copyto(target, source)}, 5)[""]
    return 2 * COPIED / seconds


def limits(module: nn.Module, step: Graph, B: int, bandwidth: float) -> dict[str, float]:
    """Seconds that one step of B sequences takes at least: for its products, and for its bytes.

    Products are measured in ONNX Runtime on one thread, a thousand rows at a time, when they are
    fastest. Bytes are weights, once; states, read and written; inputs and outputs.
    """
    rows = min(B, FASTEST)
    shapes = [(m.in_features, m.out_features) for m in module.modules() if isinstance(m, nn.Linear)]
    shapes += [(p.shape[1], p.shape[0]) for n, p in module.named_parameters() if n == "experts"]
    calls = {shape: gemm(rows, *shape, threads=1)[0] for shape in set(shapes)}
    seconds = interleaved({str(shape): call for shape, call in calls.items()}, 9)
    product = B / rows * sum(seconds[str(shape)] for shape in shapes)
    weights = sum(p.nbytes for p in module.parameters())
    each = sum(
        np.dtype(t.dtype).itemsize * int(np.prod([d for d in t.dims if isinstance(d, int)]))
        for t in (*step.inputs, *step.outputs, *step.reads, *step.writes)
    )
    return {"gemm": product, "bytes": (weights + B * each) / bandwidth}


def row(B: int, seconds: Mapping[str, float], bounds: Mapping[str, float]) -> dict[str, Any]:
    tighter = max(bounds.values())
    return {
        "steps_per_s": {name: B / taken for name, taken in seconds.items()},
        "bound_steps_per_s": {name: B / taken for name, taken in bounds.items()},
        "of_tighter_bound": {name: tighter / taken for name, taken in seconds.items()},
        "slots_over_torch": seconds["torch"] / seconds["slots"],
    }
