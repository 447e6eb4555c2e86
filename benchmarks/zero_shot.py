"""Zero-shot forecasts of ETTh1's oil temperature: aaren-forecast, seasonal naive, smoothing.

    python -m benchmarks.zero_shot [--origins N] [--model FOLDER] [--plot FILE]

The bundled model has never seen a measured series; it is streamed the whole series once, value by
value, and answers at every hour of the last four months, the test split of the literature; so is
its int8 child. The others forecast from some of the same origins: the last day again with quantiles
of how wrong that was in the weeks before, and exponential smoothing of the last four weeks
(statsmodels' ETS with a season of 24, without a trend and with a damped one), fitted anew at every
origin. Weighted quantile loss: the sum of twice the pinball loss over that of |values|, mean of the
deciles. Needs ../shared/data.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import SHARED, keep
from benchmarks.series.etth1 import CHANNELS, ENDS
from benchmarks.series.fan import plot
from foretoken.exporters.quantize import quantize
from foretoken.models.aaren import FAMILY
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled
from foretoken.models.tasks import SequenceRequest
from foretoken.server.engine.drive import alone
from foretoken.server.runtimes.onnx import OnnxRuntime

DATA = SHARED / "series" / "ETTh1.csv"
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "forecast.png"
HORIZONS = (24, 48, 64)
LEVELS = np.arange(1, 10) / 10
SEASON, MOST = 24, HORIZONS[-1]
WEEK = 7 * 24
ERRORS, FITTED = 8 * WEEK, 4 * WEEK  # hours of the naive forecast's errors, and of a fit
PART = 128  # values that are streamed at a time

Floats = NDArray[np.float64]


def main() -> None:
    args = arguments()
    if not DATA.is_file():
        print("skipped: zero_shot needs ../shared/data, which is not here")
        return
    y = np.loadtxt(DATA, delimiter=",", skiprows=1, usecols=1 + CHANNELS.index("OT"))
    first, last = ENDS["validation"] - 1, ENDS["test"] - 1 - MOST
    every = np.arange(first, last + 1)  # the last hour that is seen; the next is in the test
    origins = np.unique(np.linspace(first, last, args.origins).astype(int))
    artefact = Artefact.read(args.model or bundled()["aaren"])
    answers = streamed(y[: ENDS["test"]], artefact)
    with tempfile.TemporaryDirectory() as folder:
        small = streamed(y[: ENDS["test"]], quantize(artefact, FAMILY, Path(folder)))
    made = {
        "aaren-forecast": answers[origins],
        "seasonal naive": naive(y, origins),
        "ETS(A,N,A)": smoothed(y, origins, damped=False),
        "ETS(A,Ad,A)": smoothed(y, origins, damped=True),
    }
    figures = {name: losses(y, origins, q) for name, q in made.items()}
    figures["aaren-forecast, int8"] = losses(y, origins, small[origins])
    whole = {
        "aaren-forecast": losses(y, every, answers[every]),
        "aaren-forecast, int8": losses(y, every, small[every]),
        "seasonal naive": losses(y, every, naive(y, every)),
    }
    show(f"{len(origins)} origins", figures)
    show(f"all {len(every)} origins", whole)
    plot(args.plot, y, origins[len(origins) // 2], len(origins) // 2, made, LEVELS)
    settings = {"levels": LEVELS.round(1).tolist(), "fitted_hours": FITTED}
    counts = {"origins": len(origins), "all_origins": len(every)}
    keep("zero_shot", {**settings, **counts, "figures": figures, "figures_all": whole})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--origins", type=int, default=145, help="at which all are compared")
    parser.add_argument("--model", type=Path, help="artefact folder; default: the bundled one")
    parser.add_argument("--plot", type=Path, default=PICTURE, help="draw one forecast here")
    return parser.parse_args()


def streamed(y: Floats, artefact: Artefact) -> Floats:
    """The model's quantiles [N, levels, H] after each value, by its graphs as they are served."""
    graphs = {g.name: g for g in FAMILY.graphs(artefact.config)}
    executable = OnnxRuntime().load(artefact, FAMILY, 1)
    model = FAMILY.predictor(artefact.config, {})
    asked = model.options({"quantiles": ",".join(f"{p:g}" for p in LEVELS), "horizon": MOST})
    state, parts = dict(model.start()), []
    for values in np.split(y[:, None], range(PART, len(y), PART)):
        steps = model.predict(SequenceRequest(values, asked), state)
        (reply,) = alone([steps], graphs, executable.run, 1 << 20)
        parts.append(reply.outputs["quantiles"])
    executable.close()
    return np.concatenate(parts)


def naive(y: Floats, origins: NDArray[np.intp]) -> Floats:
    """The last day again, and around it the quantiles of its errors in the hours before."""
    out = np.empty((len(origins), len(LEVELS), MOST))
    for h in range(1, MOST + 1):
        lag = SEASON * -(-h // SEASON)
        errors = y[lag:] - y[:-lag]  # the i-th is of hour i + lag
        for i, t in enumerate(origins):
            known = errors[max(t - lag + 1 - ERRORS, 0) : t - lag + 1]
            out[i, :, h - 1] = y[t + h - lag] + np.quantile(known, LEVELS)
    return out


def smoothed(y: Floats, origins: NDArray[np.intp], *, damped: bool) -> Floats:
    """Additive exponential smoothing of the weeks before each origin; normal quantiles."""
    import pandas as pd  # noqa: PLC0415
    from scipy.stats import norm  # noqa: PLC0415
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel  # noqa: PLC0415

    out = np.empty((len(origins), len(LEVELS), MOST))
    for i, t in enumerate(origins):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of optimisers that end before their tolerance
            model = ETSModel(
                pd.Series(y[t + 1 - FITTED : t + 1]),
                trend="add" if damped else None,
                damped_trend=damped,
                seasonal="add",
                seasonal_periods=SEASON,
            )
            fitted = model.fit(disp=False)
            ahead = fitted.get_prediction(start=FITTED, end=FITTED + MOST - 1)
        mean, std = np.asarray(ahead.predicted_mean), np.sqrt(np.asarray(ahead.forecast_variance))
        out[i] = mean + norm.ppf(LEVELS)[:, None] * std
    return out


def losses(y: Floats, origins: NDArray[np.intp], quantiles: Floats) -> dict[str, float]:
    """Weighted quantile loss by horizon, and how much the 80 % intervals hold."""
    truth = y[origins[:, None] + np.arange(1, MOST + 1)]
    error = truth[:, None] - quantiles
    p = LEVELS[:, None]
    pinball = 2 * np.maximum(p * error, (p - 1) * error).mean(1)
    found = {f"wql_{h}": float(pinball[:, :h].sum() / np.abs(truth[:, :h]).sum()) for h in HORIZONS}
    held = (quantiles[:, 0] <= truth) & (truth <= quantiles[:, -1])
    return {**found, "mae_64": float(np.abs(error[:, 4]).mean()), "held_80": float(held.mean())}


def show(title: str, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """A table, and after each loss how many times it is the model's."""
    ours = figures["aaren-forecast"]
    print(f"{title:24}" + "".join(f"{f'WQL {h} h':>16}" for h in HORIZONS) + f"{'in 80 %':>9}")
    for name, row in figures.items():
        cells = [
            f"{row[f'wql_{h}']:.4f} {row[f'wql_{h}'] / ours[f'wql_{h}']:5.2f}x" for h in HORIZONS
        ]
        print(f"{name:24}" + "".join(f"{cell:>16}" for cell in cells) + f"{row['held_80']:9.2f}")


if __name__ == "__main__":
    main()
