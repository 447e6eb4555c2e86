"""What ``benchmarks.gpu`` times of a decoder's kernels: their shapes, and who else computes them.

Attention reads keys and values from blocks of 16 tokens in any order of a pool. Torch's own kernel
takes them side by side, in no blocks: its time has no gather in it.

Letters: B rows of requests, T tokens of each that ask, S tokens that each has, H heads of queries,
K heads of keys and values, D head width, N tokens, W width, M hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.bias import CausalBias, causal_lower_right
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

from benchmarks.gpu_recurrent import Case, drawn, short, size
from foretoken.kernels.decode_attention import decode_attention
from foretoken.kernels.decode_attention import reference as attention_reference
from foretoken.kernels.rmsnorm import add_rmsnorm, rmsnorm
from foretoken.kernels.rmsnorm import reference as norm_reference
from foretoken.kernels.rope import reference as rope_reference
from foretoken.kernels.rope import rotate, rotate_into_
from foretoken.kernels.swiglu import reference as swiglu_reference
from foretoken.kernels.swiglu import swiglu

BLOCK = 16  # tokens
EPS = 1e-5
# B, T, S, H, K, D of Llama 3 8B and Qwen2 0.5B: one token, and a chunk of a prompt.
ATTENTIONS = [
    (1, 1, 1024, 32, 8, 128),
    (1, 1, 8192, 32, 8, 128),
    (32, 1, 1024, 32, 8, 128),
    (32, 1, 8192, 32, 8, 128),
    (1, 1, 8192, 14, 2, 64),
    (32, 1, 8192, 14, 2, 64),
    (1, 64, 8192, 32, 8, 128),
]
TOKENS = (1, 32, 2048)  # N
WIDTHS = (896, 4096)  # W
HEADS = [(14, 2, 64), (32, 8, 128)]  # H, K, D
GATES = (4864, 14336)  # M


def cases(dtype: torch.dtype) -> Iterator[Case]:
    """All of them, on one kind of inputs; angles are float32."""
    yield from (attention(*shape, dtype) for shape in ATTENTIONS)
    for N in TOKENS:
        yield from (norm(N, W, dtype) for W in WIDTHS)
        yield from (added_norm(N, W, dtype) for W in WIDTHS)
        yield from (turn(N, *heads, dtype) for heads in HEADS)
        yield from (turn_into(N, *heads, dtype) for heads in HEADS)
        yield from (gate(N, M, dtype) for M in GATES)


def attention(B: int, T: int, S: int, H: int, K: int, D: int, dtype: torch.dtype) -> Case:
    q, k, v = drawn(dtype, (B, T, H, D), (B, S, K, D), (B, S, K, D))
    tables = torch.randperm(B * S // BLOCK, device="cuda").view(B, -1)
    keys, values = (paged(each, tables) for each in (k, v))
    seen = torch.full((B,), S, device="cuda")
    given = q, keys, values, tables, seen
    asking, k, v = (each.transpose(1, 2).contiguous() for each in (q, k, v))
    mask: Tensor | CausalBias | None = None
    if T > 1:  # for which flash attention, of bfloat16 alone, has a way of its own
        mask = torch.ones(T, S, dtype=torch.bool, device="cuda").tril(S - T)
        mask = causal_lower_right(T, S) if dtype == torch.bfloat16 else mask
    compiled = fresh(attention_reference.decode_attention)
    return Case(
        "decode_attention",
        f"B{B} T{T} S{S} H{H} K{K} D{D} {short(dtype)}",
        {
            "ours": lambda: decode_attention(*given),
            "torch": lambda: scaled_dot_product_attention(
                asking, k, v, attn_mask=mask, enable_gqa=True
            ).transpose(1, 2),
            "reference": lambda: attention_reference.decode_attention(*given),
            "compiled": lambda: compiled(*given),
        },
        moved=size(q, keys, values, tables, q),  # the output is as large as q
        reset=lambda: None,
    )


def paged(x: Tensor, tables: Tensor) -> Tensor:
    """Rows [B, S, K, D] in the blocks of their tables [B, S / BLOCK]."""
    blocks = x.view(-1, BLOCK, *x.shape[2:])
    pool = torch.empty_like(blocks)
    pool[tables.flatten()] = blocks
    return pool


def norm(N: int, W: int, dtype: torch.dtype) -> Case:
    x, weight = drawn(dtype, (N, W), (W,))
    compiled = fresh(norm_reference.rmsnorm)
    return Case(
        "rmsnorm",
        f"N{N} W{W} {short(dtype)}",
        {
            "ours": lambda: rmsnorm(x, weight, EPS),
            "torch": lambda: rms_norm(x, (W,), weight, EPS),
            "reference": lambda: norm_reference.rmsnorm(x, weight, EPS),
            "compiled": lambda: compiled(x, weight, EPS),
        },
        moved=size(x, weight, x),
        reset=lambda: None,
    )


def added_norm(N: int, W: int, dtype: torch.dtype) -> Case:
    x, more, weight = drawn(dtype, (N, W), (N, W), (W,))
    compiled = fresh(norm_reference.add_rmsnorm)
    return Case(
        "add_rmsnorm",
        f"N{N} W{W} {short(dtype)}",
        {
            "ours": lambda: add_rmsnorm(x, more, weight, EPS)[1],
            "torch": lambda: rms_norm(x + more, (W,), weight, EPS),
            "reference": lambda: norm_reference.add_rmsnorm(x, more, weight, EPS)[1],
            "compiled": lambda: compiled(x, more, weight, EPS)[1],
        },
        moved=size(x, more, weight, x, more),
        reset=lambda: None,
    )


def turn(N: int, H: int, K: int, D: int, dtype: torch.dtype) -> Case:
    q, k, _, cos, sin = of_rope(N, H, K, D, dtype)
    compiled = fresh(rope_reference.rotate)

    def both(side: Callable[..., tuple[Tensor, Tensor]]) -> Callable[[], Tensor]:
        return lambda: side(q, k, cos, sin)[0]

    return Case(
        "rope",
        f"N{N} H{H} K{K} D{D} {short(dtype)}",
        {
            "ours": both(rotate),
            "reference": both(rope_reference.rotate),
            "compiled": both(compiled),
        },
        # What is written is float32, as angles are.
        moved=size(q, k, cos, sin) + 4 * (q.numel() + k.numel()),
        reset=lambda: None,
    )


def turn_into(N: int, H: int, K: int, D: int, dtype: torch.dtype) -> Case:
    q, k, v, cos, sin = of_rope(N, H, K, D, dtype)
    blocks = 2 * (N // BLOCK + 1)
    keys, values = (torch.empty(blocks, BLOCK, K, D, device="cuda", dtype=dtype) for _ in range(2))
    places = torch.randperm(blocks * BLOCK, device="cuda")[:N]
    given = q, k, v, cos, sin, keys, values, places
    compiled = fresh(rope_reference.rotate_into_)
    return Case(
        "rope into pool",
        f"N{N} H{H} K{K} D{D} {short(dtype)}",
        {
            "ours": lambda: rotate_into_(*given),
            "reference": lambda: rope_reference.rotate_into_(*given),
            "compiled": lambda: compiled(*given),
        },
        moved=2 * size(q, k, v) + size(cos, sin, places),
        reset=lambda: None,
    )


def of_rope(N: int, H: int, K: int, D: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """q, k, v, cosines and sines."""
    q, k, v = drawn(dtype, (N, H, D), (N, K, D), (N, K, D))
    (angles,) = drawn(torch.float32, (N, D // 2))
    return q, k, v, angles.cos(), angles.sin()


def fresh(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled, with all others forgotten: of one function, torch keeps few, and is eager then."""
    torch.compiler.reset()
    return torch.compile(function, dynamic=False)


def gate(N: int, M: int, dtype: torch.dtype) -> Case:
    up, gated = drawn(dtype, (N, M), (N, M))
    compiled = fresh(swiglu_reference.swiglu)
    return Case(
        "swiglu",
        f"N{N} M{M} {short(dtype)}",
        {
            "ours": lambda: swiglu(gated, up),
            "torch": lambda: silu(gated) * up,
            "compiled": lambda: compiled(gated, up),
        },
        moved=size(gated, up, up),
        reset=lambda: None,
    )
