"""Architectures of the bundled table classifier, trained for equal CPU minutes, then compared.

``python -m benchmarks.tabular_trial --minutes 4``: every arm draws its tables from the same prior
and gets the same processor time on one thread, data included; then its averaged weights answer the
validation tables (which nothing is trained on), as an ensemble of four.

Letters: B tables of a step, N training rows, M test rows, F columns, C classes.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.common import keep
from benchmarks.tables.validation import evaluate
from benchmarks.trial.arms import ARMS, Arm
from foretoken.models.tabpfn.prior import sample
from foretoken.models.tabpfn.views import View

TOKENS = 12_000  # rows times columns^(1/2) of a step: what all arms are given alike
MEMBERS = (View(False, True, 0), View(True, False, 1), View(False, True, 2), View(False, False, 3))
AVERAGE = 0.99


def trained(arm: Arm, minutes: float, seed: int) -> tuple[nn.Module, dict[str, Any]]:
    """An arm after so many minutes of processor time; its weights are averaged over steps."""
    torch.manual_seed(seed)
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    network = arm.network()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=True)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE)
    )
    began, steps, tables, recent = time.process_time(), 0, 0, 0.0
    while (done := (time.process_time() - began) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, done / 0.05) * (1 - done)
        N, F = round(24 * 16 ** rng.random()), round(2 * 20 ** rng.random())
        M = max(32, N // 3)
        B = max(1, round(TOKENS / ((N + M) * F**0.5)))
        view = View(rng.random() < 0.35, rng.random() < 0.65, rng.randrange(10))
        drawn = sample(B, N + M, F, train_rows=N, generator=generator)
        x, y = arm.prepare(drawn.x, drawn.y, drawn.categorical, N, view, generator)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(x, y, N).float()
        absent = torch.arange(logits.shape[-1]) >= drawn.classes[:, None]
        logits = logits.masked_fill(absent[:, None], -1e4)
        loss = cross_entropy(logits.flatten(0, 1), y[:, N:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        average.update_parameters(network)
        steps, tables = steps + 1, tables + B
        recent += 0.02 * (loss.item() - recent) if steps > 1 else loss.item()
    size = sum(p.numel() for p in network.parameters())
    return average.module.eval(), {
        "parameters": size, "steps": steps, "tables": tables, "loss": recent,
    }  # fmt: skip


def answers(arm: Arm, network: nn.Module) -> Any:
    """The arm as a classifier of data frames, an ensemble of ``MEMBERS``."""
    generator = torch.Generator().manual_seed(0)

    def probabilities(
        train: pd.DataFrame, target: Any, test: pd.DataFrame, categorical: tuple[str, ...]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        classes, labels = np.unique(target, return_inverse=True)
        C, N = len(classes), len(train)
        values = np.concatenate([train.to_numpy(), test.to_numpy()])
        coded = np.array([c in categorical for c in train.columns])
        for j in np.flatnonzero(coded):
            values[:, j] = _codes(values[:, j], N)
        x = torch.from_numpy(values).float()[None]
        # A row of each class at the end tells under which number the arm knows it.
        told = torch.from_numpy(np.concatenate([labels, np.zeros(len(test), int)]))
        y = torch.cat([told, torch.arange(C)])[None]
        x = torch.cat([x, x[:, :C]], 1)
        total = torch.zeros(len(test), C)
        for view in MEMBERS:
            shown, named = arm.prepare(x, y, torch.from_numpy(coded)[None], N, view, generator)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                logits = network(shown[:, :-C], named[:, :-C], N)[0].float()
            total += torch.log_softmax(logits[:, named[0, -C:]], -1)
        return classes, torch.softmax(total.double() / len(MEMBERS), -1).numpy()

    return probabilities


def _codes(column: NDArray[np.float64], N: int) -> NDArray[np.float64]:
    known = np.unique(column[:N][~np.isnan(column[:N])])
    if not len(known):
        return np.full_like(column, np.nan)
    at = np.searchsorted(known, column).clip(0, len(known) - 1)
    return np.where(known[at] == column, at, np.nan)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=4.0, help="of processor time, each arm")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name in args.arms:
        network, figures = trained(ARMS[name], args.minutes, args.seed)
        scored = evaluate(answers(ARMS[name], network))
        sets = {table: round(each["auc"], 4) for table, each in scored["sets"].items()}
        found[name] = {"summary": ARMS[name].summary, **figures, **scored["mean"], "sets": sets}
        print(f"{name:14} {figures['parameters'] / 1e6:.2f} M  {figures['tables']:7,d} tables  "
              f"loss {figures['loss']:.3f}  AUC {scored['mean']['auc']:.4f}  "
              f"log loss {scored['mean']['log_loss']:.4f}", flush=True)  # fmt: skip
    keep("tabular_trial", {"minutes": args.minutes, "seed": args.seed, "arms": found})


if __name__ == "__main__":
    main()
