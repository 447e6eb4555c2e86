"""``foretoken serve``."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from foretoken.cli.registry import DataDir
from foretoken.estimators import CurveExtrapolator

DEMO = 0.9 - 0.6 * np.arange(1, 11) ** -0.5  # ten epochs of a curve that saturates at 0.9


def serve(
    data_dir: DataDir = None,
) -> None:
    """Register the bundled models and show that they answer; the network server comes next."""
    posterior = CurveExtrapolator(data_dir=data_dir).extrapolate(DEMO, at=[100.0])
    low, high = posterior.quantile([0.05, 0.95])[:, 0]
    console = Console()
    console.print(
        f"lcpfn, ten epochs seen, at epoch 100: {posterior.mean[0]:.3f} "
        f"(90 %: {low:.3f} to {high:.3f})"
    )
    console.print("server comes next; in-process use and the command line work today")
