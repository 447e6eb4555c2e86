"""What ``benchmarks.gpu`` times of the recurrent kernels: their shapes, and who else computes them.

Steps are of sessions in any order of a pool twice as large. The delta rule of
flash-linear-attention, where that is installed, takes the states of its rows side by side and
writes them elsewhere: its time has neither a gather nor a scatter in it.

Letters: B sessions or rows, T steps, H heads, D width of a head, K and V widths of key and value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from foretoken.kernels import aaren, delta_rule
from foretoken.kernels.aaren import reference as aaren_reference
from foretoken.kernels.delta_rule import reference as delta_reference

AAREN_STEPS = [(16, 8, 64), (256, 8, 64), (4096, 8, 64), (4096, 4, 32)]  # B, H, D
AAREN_SCANS = [(32, 1024, 8, 64), (1, 8192, 8, 64)]  # B, T, H, D
DELTA_STEPS = [(16, 4, 64, 64), (256, 4, 64, 64), (4096, 4, 64, 64), (4096, 2, 32, 32)]  # B H K V
DELTA_CHUNKS = [(32, 1024, 4, 64, 64), (1, 8192, 4, 64, 64)]  # B, T, H, K, V


@dataclass(frozen=True)
class Case:
    """One call: ``ours`` among ``sides``, whose answers have to be alike after ``reset``."""

    kernel: str
    shape: str
    sides: dict[str, Callable[[], Tensor]]
    moved: int  # bytes that have to be read or written
    reset: Callable[[], object]


def cases(dtype: torch.dtype) -> Iterator[Case]:
    """All of them, on one kind of inputs; states are float32."""
    yield from (aaren_step(*shape, dtype) for shape in AAREN_STEPS)
    yield from (aaren_scan(*shape, dtype) for shape in AAREN_SCANS)
    yield from (delta_step(*shape, dtype) for shape in DELTA_STEPS)
    yield from (delta_chunk(*shape, dtype) for shape in DELTA_CHUNKS)


def aaren_step(B: int, H: int, D: int, dtype: torch.dtype) -> Case:
    scores, values = drawn(dtype, (B, H), (B, H, D))
    pools = [torch.empty(2 * B, *rest, device="cuda") for rest in ((H,), (H,), (H, D))]
    slots = torch.randperm(2 * B, device="cuda")[:B]
    given = scores, values, *pools, slots
    compiled = torch.compile(aaren_reference.step_, dynamic=False)
    return Case(
        "aaren step",
        f"B{B} H{H} D{D} {short(dtype)}",
        {
            "ours": lambda: aaren.step_(*given),
            "reference": lambda: aaren_reference.step_(*given),
            "compiled": lambda: compiled(*given),
        },
        moved=size(scores, values, values) + 2 * size(*(pool[:B] for pool in pools)),
        reset=lambda: [pool.fill_(0.5) for pool in pools],
    )


def aaren_scan(B: int, T: int, H: int, D: int, dtype: torch.dtype) -> Case:
    scores, values = drawn(dtype, (B, T, H), (B, T, H, D))
    m, u, w = drawn(torch.float32, (B, H), (B, H), (B, H, D))
    given = scores, values, None, m, u.exp(), w
    return Case(
        "aaren scan",
        f"B{B} T{T} H{H} D{D} {short(dtype)}",
        {
            "ours": lambda: aaren.scan(*given)[0],
            "reference": lambda: aaren_reference.scan(*given)[0],
        },
        moved=size(scores, values, values) + 2 * size(m, u, w),
        reset=lambda: None,
    )


def delta_step(B: int, H: int, K: int, V: int, dtype: torch.dtype) -> Case:
    q, k, v, beta = of_delta_rule((B, H), K, V, dtype)
    pool, rows = (torch.empty(n, H, K, V, device="cuda") for n in (2 * B, B))
    slots = torch.randperm(2 * B, device="cuda")[:B]
    given = q, k, v, beta, None, pool, slots
    compiled = torch.compile(delta_reference.step_, dynamic=False)
    sides: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: delta_rule.step_(*given),
        "reference": lambda: delta_reference.step_(*given),
        "compiled": lambda: compiled(*given),
    }
    if theirs := of_fla("fused_recurrent_delta_rule"):
        kept = {"initial_state": rows, "output_final_state": True}
        one = q[:, None], k[:, None], v[:, None], beta[:, None]
        sides["fla"] = lambda: theirs(*one, **kept)[0][:, 0]
    return Case(
        "delta step",
        f"B{B} H{H} K{K} V{V} {short(dtype)}",
        sides,
        moved=size(q, k, v, v, beta) + 2 * size(rows),
        reset=lambda: [states.fill_(0.5) for states in (pool, rows)],
    )


def delta_chunk(B: int, T: int, H: int, K: int, V: int, dtype: torch.dtype) -> Case:
    q, k, v, beta = of_delta_rule((B, T, H), K, V, dtype)
    (S,) = drawn(torch.float32, (B, H, K, V))
    sides: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: delta_rule.chunk(q, k, v, beta, None, None, S)[0],
        "reference": lambda: delta_reference.chunk(q, k, v, beta, None, None, S)[0],
    }
    theirs, kept = of_fla("chunk_delta_rule"), {"initial_state": S, "output_final_state": True}
    if theirs and dtype == torch.bfloat16:  # which takes no float32
        sides["fla"] = lambda: theirs(q, k, v, beta, **kept)[0]
    return Case(
        "delta chunk",
        f"B{B} T{T} H{H} K{K} V{V} {short(dtype)}",
        sides,
        moved=size(q, k, v, v, beta) + 2 * size(S),
        reset=lambda: None,
    )


def of_fla(name: str) -> Callable[..., Any] | None:
    """A delta rule of flash-linear-attention, where it is installed."""
    if find_spec("fla") is None:
        return None
    found: Callable[..., Any] = getattr(import_module("fla.ops.delta_rule"), name)
    return found


def of_delta_rule(lead: tuple[int, ...], K: int, V: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """q, k, v and beta."""
    q, k, v, beta = drawn(torch.float32, (*lead, K), (*lead, K), (*lead, V), lead)
    return q.to(dtype), normalize(k, dim=-1).to(dtype), v.to(dtype), beta.sigmoid().to(dtype)


def drawn(dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    return [torch.randn(*shape, device="cuda").to(dtype) for shape in shapes]


def size(*tensors: Tensor) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
