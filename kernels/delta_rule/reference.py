"""The (gated) delta rule in plain torch: any dtype, float64 for tests; see README.md.

Letters: B rows, N slots of a pool, T steps (padded), G chunks of C steps, H heads, K width of a
key, V width of a value. The state of a head is a matrix S [K, V].
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["CHUNK", "chunk", "chunk_", "inverse", "recurrence", "step", "step_"]

CHUNK = 32  # steps that are solved for at once
NOTHING = -1e30  # e to its power is 0, and so is the gradient


def step(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, S: Tensor
) -> tuple[Tensor, Tensor]:
    """One step (Yang et al. 2024, section 2.2; gated: Yang et al. 2025, section 3.1), in S's dtype.

    Args:
        q: [B, H, K]; it is scaled here, by K^-1/2.
        k: [B, H, K], of length 1.
        v: [B, H, V].
        beta: [B, H], 0..1 (or 2), how much of what is stored under k is replaced.
        g: [B, H], at most 0: the logarithm of what S keeps; None: 0, without a gate.
        S: [B, H, K, V]; 0 before the first step.

    Returns:
        o [B, H, V] in the dtype of v, and S.
    """
    dtype = S.dtype
    q, k, new, beta = q.to(dtype), k.to(dtype), v.to(dtype), beta.to(dtype)
    if g is not None:
        S = S * torch.exp(g.to(dtype))[..., None, None]
    with _exact(q):
        delta = beta[..., None] * (new - (k[..., None, :] @ S)[..., 0, :])
        S = S + k[..., None] * delta[..., None, :]
        o = ((q * k.shape[-1] ** -0.5)[..., None, :] @ S)[..., 0, :]
    return o.to(v.dtype), S


def step_(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, S: Tensor, slots: Tensor
) -> Tensor:
    """``step`` of some slots of a pool, which is changed in place.

    Args:
        q: [B, H, K], see ``step`` for these.
        k: [B, H, K].
        v: [B, H, V].
        beta: [B, H].
        g: [B, H].
        S: [N, H, K, V], in any strides.
        slots: [B] int64, 0..N-1, none of them twice.

    Returns:
        o [B, H, V] in the dtype of v.
    """
    o, after = step(q, k, v, beta, g, S.index_select(0, slots))
    S.index_copy_(0, slots, after)
    return o


def chunk(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    length: Tensor | None,
    S: Tensor,
) -> tuple[Tensor, Tensor]:
    """T steps at once, in chunks between which S is carried, with gradients for all that is given.

    Args:
        q: [B, T, H, K], T at least 1; see ``step`` for these.
        k: [B, T, H, K]; what lies after length has to be finite, here and in v.
        v: [B, T, H, V].
        beta: [B, T, H].
        g: [B, T, H].
        length: [B] integers, 0..T, how many steps are real; None: all.
        S: [B, H, K, V].

    Returns:
        o [B, T, H, V] in the dtype of v, arbitrary but finite after length; and S after the last
        real step.
    """
    T, K, dtype = q.shape[1], q.shape[3], S.dtype
    exporting = torch.compiler.is_exporting()
    C = CHUNK if exporting else min(CHUNK, T)
    if length is not None:  # nothing is learned and nothing fades
        real = (torch.arange(T, device=q.device) < length[:, None])[..., None]
        beta = torch.where(real, beta, 0.0)
        g = None if g is None else torch.where(real, g, 0.0)
    with _exact(q):
        pieces = _solved(
            _chunked(q.to(dtype) * K**-0.5, C),
            _chunked(k.to(dtype), C),
            _chunked(v.to(dtype), C),
            _chunked(beta.to(dtype)[..., None], C),
            None if g is None else _chunked(g.to(dtype)[..., None], C),
        )
        flat = [piece.flatten(1, 2) for piece in pieces]
        after, o = (_exported if exporting else _carried)(flat, S.flatten(0, 1))
    rows = S.shape[:2]
    o = torch.unflatten(o, 1, rows).permute(1, 0, 3, 2, 4).flatten(1, 2)  # [B, G C, H, V]
    return o[:, :T].to(v.dtype), torch.unflatten(after, 0, rows)


def chunk_(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    length: Tensor | None,
    S: Tensor,
    slots: Tensor,
) -> Tensor:
    """``chunk`` of some slots of a pool, which is changed in place.

    Args:
        q: [B, T, H, K], see ``chunk`` for these.
        k: [B, T, H, K].
        v: [B, T, H, V].
        beta: [B, T, H].
        g: [B, T, H].
        length: [B].
        S: [N, H, K, V], in any strides.
        slots: [B] int64, 0..N-1, none of them twice.

    Returns:
        o [B, T, H, V] in the dtype of v.
    """
    o, after = chunk(q, k, v, beta, g, length, S.index_select(0, slots))
    S.index_copy_(0, slots, after)
    return o


def _chunked(x: Tensor, C: int) -> Tensor:
    """[B, T, H, D] -> [G, B, H, C, D], the last chunk filled up with 0."""
    B, T, H, D = x.shape
    G = (T + C - 1) // C
    return pad(x, (0, 0, 0, 0, 0, G * C - T)).reshape(B, G, C, H, D).permute(1, 0, 3, 2, 4)


def _solved(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None) -> list[Tensor]:
    """What each chunk does to any S, before S is known: [G, B, H, C, .] of all six.

    Returns:
        queries [.., C, K], mixing [.., C, C], keys [.., C, K], learned [.., C, V], known
        [.., C, K] and kept [.., 1, 1], of which ``_through`` tells the meaning.
    """
    C = q.shape[-2]
    t = torch.arange(C, device=q.device)
    age = t[:, None] - t
    faded = torch.zeros_like(age, dtype=q.dtype)
    kept = torch.ones_like(beta[..., :1, :])
    queries, keys, known = q, k, k
    if g is not None:
        since = g.cumsum(-2)  # [.., C, 1], of the logarithms
        last = since[..., -1:, :]
        faded, kept = since - since.transpose(-1, -2), torch.exp(last)
        at_start = torch.exp(since)
        queries, known = q * at_start, k * at_start
        keys = k * torch.exp(last - since)
    weight = torch.exp(faded.masked_fill(age < 0, NOTHING))  # of step i at step t
    mixing = q @ k.transpose(-1, -2) * weight
    within = beta * (k @ k.transpose(-1, -2) * weight).masked_fill(age == 0, 0.0)
    solved = inverse(within) @ torch.cat([beta * v, beta * known], dim=-1)
    learned, known = solved[..., : v.shape[-1]], solved[..., v.shape[-1] :]
    return [queries, mixing, keys, learned, known, kept]


def _through(S: Tensor, piece: list[Tensor]) -> tuple[Tensor, Tensor]:
    """S [N, K, V] before one chunk, of N = B H heads -> S after it, and its o [N, C, V]."""
    queries, mixing, keys, learned, known, kept = piece
    delta = learned - torch.bmm(known, S)  # [N, C, V], what each step adds under its key
    after = kept * S + torch.bmm(keys.transpose(1, 2), delta)
    return after, torch.bmm(queries, S) + torch.bmm(mixing, delta)


def _carried(pieces: list[Tensor], S: Tensor) -> tuple[Tensor, Tensor]:
    outs = []
    for piece in zip(*(t.unbind(0) for t in pieces), strict=True):
        S, o = _through(S, list(piece))
        outs.append(o)
    return S, torch.stack(outs)


def _exported(pieces: list[Tensor], S: Tensor) -> tuple[Tensor, Tensor]:
    """``_carried`` where the number of chunks is not known: a Scan in ONNX."""
    from torch._higher_order_ops import scan  # noqa: PLC0415  (has no public name yet)

    # What is scanned can know no length that is a letter: not as a stride, nor as the B by which
    # products of other than three axes are expanded.
    S, o = scan(_through, S.contiguous(), [piece.contiguous() for piece in pieces])
    return S, o


def inverse(A: Tensor) -> Tensor:
    """(I + A)^-1 of strictly lower triangular A [.., C, C], by blocks that double in size.

    The inverses X of two neighbouring blocks on the diagonal give that of both together, whose
    other block is −X A X. Unlike a series of A's powers, which may grow past 10^18 before they
    vanish, no step is larger than what it is to give.
    """
    C = A.shape[-1]
    t = torch.arange(C, device=A.device)
    X = torch.eye(C, device=A.device, dtype=A.dtype)
    size = 1
    while size < C:
        block = t // size
        pair = block // 2
        beside = (pair[:, None] == pair) & (block[:, None] > block)
        between = torch.where(beside, A, 0.0)
        X = X - (between if size == 1 else X @ between @ X)
        size *= 2
    return X


def _exact(like: Tensor) -> AbstractContextManager[object]:
    """Autocast would round the sums to its own dtype."""
    device = like.device.type
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    length: Tensor,
    S: Tensor,
) -> tuple[Tensor, Tensor]:
    """``chunk``, step by step."""
    outs = []
    for t in range(q.shape[1]):
        o, after = step(q[:, t], k[:, t], v[:, t], beta[:, t], None if g is None else g[:, t], S)
        S = torch.where((t < length)[:, None, None, None], after, S)
        outs.append(o)
    return torch.stack(outs, dim=1), S
