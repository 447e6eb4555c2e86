"""What Aaren's graphs take and give, the state they start from, and examples of it all.

Letters: B sequences, T observations (padded), D values of each, L of them in a window, N layers,
H heads, E width of a head, K levels, S horizon, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from foretoken.models.contract import Arrays, Config, Graph, Tensor

__all__ = ["examples", "graphs", "start"]

NOTHING = -1e30  # the largest score before the first observation, see kernels/aaren


def graphs(config: Config) -> tuple[Graph, ...]:
    """The graphs "step" and "scan" of a forecaster or a classifier."""
    c, state = config, _state(config)
    length = Tensor("length", "int64", ("B",))
    if c["head"] == "forecaster":
        x, D, K = "float64", 1, len(c["levels"])
        made = [
            ("z", "float32", (K, c["horizon"])),
            ("loc", "float64", ()),
            ("scale", "float64", ()),
            ("anomaly", "float32", ()),
        ]
    else:
        x, D = "float32", c["inputs"]
        made = [("probabilities", "float32", (len(c["classes"]),))]
    one = tuple(Tensor(name, dtype, ("B", *dims)) for name, dtype, dims in made)
    many = tuple(Tensor(name, dtype, ("B", "T", *dims)) for name, dtype, dims in made)
    return (
        Graph("step", (Tensor("x", x, ("B", D)),), one, state, state),
        Graph("scan", (Tensor("x", x, ("B", "T", D)), length), many, state, state),
    )


def _state(c: Config) -> tuple[Tensor, ...]:
    N, H, L = c["layers"], c["heads"], c["window"]
    mixers = (
        Tensor("m", "float32", ("B", N * H)),
        Tensor("u", "float32", ("B", N * H)),
        Tensor("w", "float32", ("B", N * H, c["width"] // H)),
    )
    if c["head"] != "forecaster":
        return (*mixers, Tensor("window", "float32", ("B", L, c["inputs"])))
    return (
        *mixers,
        Tensor("window", "float64", ("B", L)),
        Tensor("seen", "int64", ("B",)),
        Tensor("sums", "float64", ("B", 3)),
        Tensor("ahead", "float64", ("B", len(c["levels"]))),
    )


def start(config: Config) -> dict[str, np.ndarray]:
    """The state before the first observation, each array [1, ...]."""
    state = {t.name: np.zeros([1, *map(int, t.dims[1:])], t.dtype) for t in _state(config)}
    state["m"][:] = NOTHING
    return state


def examples(config: Config, graph: str) -> Iterator[Arrays]:
    """Inputs and reads: fresh states and old ones, scores of ±200, offsets, constant windows."""
    rng = np.random.default_rng(0)
    for B, T, score, offset, spread in (
        (1, 1, None, 0.0, 1.0),
        (2, 7, None, 10.0, 1.0),
        (3, 64, 1.0, 0.0, 1.0),
        (4, 33, 200.0, 1e6, 1e-3),
        (5, 2, -200.0, -5.0, 0.0),
        (2, 3, -200.0, 0.0, 1e-9),
        (1, 128, 200.0, -1e8, 1.0),
    ):
        state = start(config)
        state = {name: np.repeat(array, B, 0) for name, array in state.items()}
        if score is not None:
            _aged(config, state, rng, score, offset, spread)
        D = 1 if config["head"] == "forecaster" else config["inputs"]
        x = rng.standard_normal((B, T, D))
        # Small beside the window's, or scores of how odd it is would have more digits than float32.
        x = offset + 0.3 * spread * x if config["head"] == "forecaster" else x.astype(np.float32)
        if graph == "step":
            yield {"x": x[:, 0], **state}
        else:
            yield {"x": x, "length": rng.integers(1, T + 1, B), **state}


def _aged(
    config: Config,
    state: dict[str, np.ndarray],
    rng: np.random.Generator,
    score: float,
    offset: float,
    spread: float,
) -> None:
    """Put into ``state`` what might be in it after a while."""
    B = len(state["m"])
    state["m"][:] = score + rng.standard_normal(state["m"].shape)
    state["u"][:] = rng.uniform(1, 50, state["u"].shape)
    state["w"][:] = state["u"][..., None] * rng.standard_normal(state["w"].shape)
    state["window"][:] = rng.standard_normal(state["window"].shape)
    if config["head"] != "forecaster":
        return
    L = config["window"]
    state["seen"][:] = rng.integers(1, 3 * L, B)
    seen = np.minimum(state["seen"], L)[:, None]
    values = offset + spread * state["window"]
    state["window"][:] = np.where(np.arange(L) >= L - seen, values, 0)
    weight = np.minimum(state["seen"], 512.0)[:, None]
    log = np.log(spread) if spread else -30.0
    state["sums"][:] = weight * [1.0, offset, log]
    ahead = np.sort(rng.standard_normal(state["ahead"].shape), axis=1)
    state["ahead"][:] = offset + (spread or 1e-3) * ahead
