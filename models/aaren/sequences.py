"""Classification of one's own sequences: right at their end, and as early as can be.

Letters: B sequences, T observations (padded), D values of each, P observations after which a class
is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from foretoken.errors import InvalidInput
from foretoken.models.aaren.config import AarenConfig
from foretoken.models.aaren.model import build
from foretoken.models.aaren.train import Preset
from foretoken.models.contract import Array
from foretoken.models.layers.mixers import MixerFactory

__all__ = ["SequenceTask", "Sequences", "classifier"]

EARLIER = 3  # observations of each sequence, beside the last, after which a class is told
SHARE = 0.3  # of the loss that is theirs
DROPOUT = 0.1

Sequences = tuple[Sequence[Array], Sequence[str]]
"""Observations [T, D] of each, evenly spaced, and its class."""


def classifier(config: AarenConfig, learned: Sequences, window: int = 8) -> AarenConfig:
    """``config`` for a classifier of such sequences, which are to be learned from.

    Raises:
        InvalidInput: sequences differ in D, or all are of one class.
    """
    values, labels = learned
    if len({x.shape[1] for x in values}) != 1:
        raise InvalidInput("all sequences need the same number of values at each step")
    every = torch.cat([torch.as_tensor(x, dtype=torch.float64) for x in values])
    std = every.std(0)
    return AarenConfig(
        head="classifier",
        inputs=every.shape[1],
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        mlp=config.mlp,
        window=window,
        horizon=0,
        levels=(),
        classes=tuple(sorted(set(labels))),
        decay=config.decay,
        folded=config.folded,
        mean=tuple(every.mean(0).tolist()),
        std=tuple(torch.where(std > 0, std, torch.ones_like(std)).tolist()),
    )


class SequenceTask:
    """Classification of sequences (see ``foretoken.models.training.Task``).

    Args:
        preset: sizes; its config is one of ``classifier``.
        learned: sequences to learn from.
        held_out: others to measure by.
        device: where batches are made.
        mixer: of the model's layers; the default is Aaren.

    Raises:
        InvalidInput: a class is held out that is not learned.
    """

    module: nn.Module

    def __init__(
        self,
        preset: Preset,
        learned: Sequences,
        held_out: Sequences,
        *,
        device: torch.device | str = "cpu",
        mixer: MixerFactory | None = None,
    ) -> None:
        self.preset, self.device = preset, device
        if unknown := sorted(set(held_out[1]) - set(preset.config.classes)):
            raise InvalidInput(f"classes {unknown} are held out, but none is there to learn from")
        self.learned, self.held_out = self._tensors(learned), self._tensors(held_out)
        torch.manual_seed(preset.recipe.seed)
        self.module = build(preset.config, mixer, DROPOUT).to(device)

    def _tensors(self, sequences: Sequences) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised [n, T, D] float32, padded; lengths and classes [n]."""
        c = self.preset.config
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (c.mean, c.std))
        values = [((torch.as_tensor(x) - mean) / std).float() for x in sequences[0]]
        lengths = torch.tensor([len(x) for x in values])
        labels = torch.tensor([c.classes.index(label) for label in sequences[1]])
        x = pad_sequence(values, batch_first=True)
        return x.to(self.device), lengths.to(self.device), labels.to(self.device)

    @property
    def settings(self) -> dict[str, Any]:
        """What the batches and the model depend on besides the recipe."""
        return {
            "config": asdict(self.preset.config),
            "batch": self.preset.batch,
            "learned": len(self.learned[0]),
            "held_out": len(self.held_out[0]),
        }

    def batch(self, generator: torch.Generator, step: int) -> tuple[Tensor, ...]:
        """x [B, T, D], observations [B, P] after which to tell, the last first; classes [B]."""
        del step
        x, lengths, labels = self.learned
        shape = (self.preset.batch,)
        rows = torch.randint(len(x), shape, generator=generator, device=generator.device)
        u = torch.rand(*shape, EARLIER, generator=generator, device=generator.device)
        lengths = lengths[rows]
        earlier = (u * lengths[:, None]).long()
        at = torch.cat([lengths[:, None], earlier.clamp(min=1)], dim=1) - 1
        return x[rows, : int(lengths.max())], at, labels[rows]

    def loss(self, module: Callable[..., Tensor], batch: tuple[Tensor, ...]) -> Tensor:
        """Cross-entropy, at the end of sequences and before."""
        x, at, labels = batch
        logits = module(x, at).float()
        each = cross_entropy(
            logits.flatten(0, 1), labels.repeat_interleave(at.shape[1]), reduction="none"
        ).view(at.shape)
        return (1 - SHARE) * each[:, 0].mean() + SHARE * each[:, 1:].mean()

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Of held-out sequences: accuracy at the end and half-way, mean negative log-likelihood."""
        x, lengths, labels = self.held_out
        at = torch.stack([lengths, (lengths // 2).clamp(min=1)], dim=1) - 1
        parts = zip(torch.split(x, 64), torch.split(at, 64), strict=True)
        logits = torch.cat([module(some, after) for some, after in parts]).float()
        right = (logits.argmax(-1) == labels[:, None]).double().mean(0)
        nll = cross_entropy(logits[:, 0], labels)
        return {"accuracy": float(right[0]), "accuracy_half": float(right[1]), "nll": float(nll)}
