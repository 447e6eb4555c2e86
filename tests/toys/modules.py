"""The toys' networks, one method per graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SHUT = -1e30


class Pool(nn.Module):
    """tokens [B, T], length [B] -> unit vectors [B, W]; of no token at all, zeros."""

    def __init__(self, V: int, W: int) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(V, W), nn.Linear(W, W)
        self.query = nn.Parameter(torch.zeros(W))

    def forward(self, tokens: Tensor, length: Tensor) -> Tensor:
        h = self.embed(tokens)  # [B, T, W]
        real = torch.arange(tokens.shape[1], device=tokens.device) < length[:, None]
        scores = torch.where(real, h @ self.query, SHUT)
        pooled = (torch.softmax(scores, dim=1) * real)[:, None] @ h  # [B, 1, W]
        return functional.normalize(self.out(pooled[:, 0]) * (length > 0)[:, None], dim=-1)


class Classify(nn.Module):
    """See ``in_context``: rows attend to labelled rows, and to nothing if there are none."""

    def __init__(self, features: int, W: int, C: int) -> None:
        super().__init__()
        self.row, self.label = nn.Linear(features, W), nn.Embedding(C, W)
        self.key, self.value, self.out = nn.Linear(W, W), nn.Linear(W, W), nn.Linear(W, C)

    def encode_context(self, known: Tensor, labels: Tensor, n: Tensor) -> tuple[Tensor, ...]:
        h = self.row(known) + self.label(labels)  # [B, N, W]
        shut = torch.where(torch.arange(known.shape[1], device=n.device) < n[:, None], 0.0, SHUT)
        return self.key(h), self.value(h), shut

    def query(self, x: Tensor, keys: Tensor, values: Tensor, shut: Tensor) -> Tensor:
        q = self.row(x)  # [B, M, W]
        scores = q @ keys.transpose(1, 2) / math.sqrt(q.shape[-1]) + shut[:, None]
        # A column of zeros is always open: rows learn nothing where nothing is labelled.
        p = torch.softmax(functional.pad(scores, (0, 1)), dim=-1)[..., :-1]
        return self.out(torch.tanh(q + p @ values))

    def forward(self, known: Tensor, labels: Tensor, n: Tensor, x: Tensor) -> Tensor:
        return self.query(x, *self.encode_context(known, labels, n))


class Aaren(nn.Module):
    """See ``recurrent``; Feng et al. 2024, section 3.

    A state is the largest score m [B, H], and sums u [B, H] and w [B, H, W] of e^(score - m), alone
    and times the value.
    """

    def __init__(self, D: int, H: int, W: int) -> None:
        super().__init__()
        self.H, self.W = H, W
        self.key, self.value = nn.Linear(D, H * W), nn.Linear(D, H * W)
        self.query = nn.Parameter(torch.zeros(H, W))

    def step(self, x: Tensor, m: Tensor, u: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        s, v = self._scores(x[:, None])
        s, v = s[:, 0], v[:, 0]  # [B, H], [B, H, W]
        new = torch.maximum(m, s)
        old, own = torch.exp(m - new), torch.exp(s - new)
        u = u * old + own
        w = w * old[..., None] + v * own[..., None]
        return (w / u[..., None]).flatten(1), new, u, w

    def scan(
        self, x: Tensor, length: Tensor, m: Tensor, u: Tensor, w: Tensor
    ) -> tuple[Tensor, ...]:
        T = x.shape[1]
        s, v = self._scores(x)  # [B, T, H], [B, T, H, W]
        at = torch.arange(T, device=x.device)
        s = torch.where((at < length[:, None])[..., None], s, SHUT)
        past = (at[None] <= at[:, None])[None, :, :, None]  # [1, T, T, 1]: until, of
        upto = torch.where(past, s[:, None], SHUT)  # [B, T, T, H]
        new = torch.maximum(upto.amax(2), m[:, None])  # [B, T, H]
        own, old = torch.exp(upto - new[:, :, None]) * past, torch.exp(m[:, None] - new)
        us = u[:, None] * old + own.sum(2)
        ws = w[:, None] * old[..., None] + torch.einsum("btsh,bshw->bthw", own, v)
        ys = (ws / us[..., None]).flatten(2)
        # Padding adds nothing to the sums, so the last ones are those at ``length``.
        return ys, new[:, -1], us[:, -1], ws[:, -1]

    def _scores(self, x: Tensor) -> tuple[Tensor, Tensor]:
        B, T = x.shape[:2]
        k, v = (f(x).view(B, T, self.H, self.W) for f in (self.key, self.value))
        return (k * self.query).sum(-1), torch.tanh(v)


class Decoder(nn.Module):
    """See ``generative``; positions enter as sines."""

    def __init__(self, V: int, W: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(V, W), nn.Linear(W, V, bias=False)
        self.query, self.key, self.value = (nn.Linear(W, W) for _ in range(3))
        self.register_buffer("rates", torch.exp(-torch.arange(W) / W * 4))

    def prefill(self, tokens: Tensor, length: Tensor) -> tuple[Tensor, ...]:
        none = self.rates.new_zeros(tokens.shape[0], 0, self.rates.shape[0])
        return self.decode(tokens, length, none, none, torch.zeros_like(length))

    def decode(
        self, tokens: Tensor, length: Tensor, keys: Tensor, values: Tensor, seen: Tensor
    ) -> tuple[Tensor, ...]:
        T, S = tokens.shape[1], keys.shape[1]
        at = torch.arange(T, device=tokens.device)
        place = (seen[:, None] + at)[..., None] * self.rates
        h = self.embed(tokens) + torch.sin(place)  # [B, T, W]
        k, v = self.key(h), self.value(h)
        past = torch.arange(S, device=tokens.device) < seen[:, None]  # [B, S]
        causal = (at[None] <= at[:, None])[None]  # [1, T, T]; later padding is never looked at
        visible = torch.cat(
            [past[:, None].expand(-1, T, -1), causal.expand(len(tokens), -1, -1)], dim=2
        )
        scores = self.query(h) @ torch.cat([keys, k], dim=1).transpose(1, 2)
        p = torch.softmax(torch.where(visible, scores / math.sqrt(h.shape[-1]), SHUT), dim=-1)
        mixed = h + p @ torch.cat([values, v], dim=1)
        last = mixed[torch.arange(len(tokens)), length - 1]
        return self.head(last), k, v, seen + length
