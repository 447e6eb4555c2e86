"""What a caller may choose of FastRP: how walks are weighed, and the projection."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from foretoken.errors import InvalidInput

__all__ = ["Options"]

DIMENSIONS, POWERS, ALPHA, SEED = 4096, 32, 8.0, 1 << 53
PROJECTIONS = ("sparse", "gaussian")
ANSWERS = ("no", "yes")


@dataclass(frozen=True)
class Options:
    """All of them; names and values are those of requests, but for ``weights`` and ``normalize``.

    Args:
        dimensions: D of the vectors.
        weights: of the walks of 1, 2, ... q steps; in requests a text such as "0,0,7.81,45.28".
        alpha: the power of a node's degree by which its row of the projection is scaled; below 0,
            nodes of many edges count for less.
        projection: "sparse" (Li et al. 2006) or "gaussian".
        normalize: scale each node's part of each power to length 1 before they are summed; in
            requests "yes" or "no".
        seed: of the projection.
    """

    dimensions: int
    weights: tuple[float, ...]
    alpha: float
    projection: str
    normalize: bool
    seed: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Options:
        """A model's configuration, which says all of them as requests would.

        Raises:
            InvalidInput: if one is missing, unknown or not acceptable.
        """
        names = {each.name for each in fields(cls)}
        if differing := sorted(names.symmetric_difference(config)):
            raise InvalidInput(
                f"the configuration of a FastRP model has {', '.join(sorted(names))}, each once; "
                f"differing: {', '.join(differing)}"
            )
        return cls.parse({}, config)

    @classmethod
    def parse(cls, given: Mapping[str, float | str], defaults: Mapping[str, Any]) -> Options:
        """The options of a request.

        Args:
            given: what it says.
            defaults: the model's, complete, by the same names.

        Raises:
            InvalidInput: for an unknown name or an unacceptable value.
        """
        if unknown := sorted(set(given) - set(defaults)):
            raise InvalidInput(
                f"unknown options {', '.join(unknown)}; accepted are {', '.join(defaults)}"
            )
        said = {**defaults, **given}
        return cls(
            dimensions=_whole("dimensions", said["dimensions"], 1, DIMENSIONS),
            weights=_weights(said["weights"]),
            alpha=_alpha(said["alpha"]),
            projection=_among("projection", said["projection"], PROJECTIONS),
            normalize=_among("normalize", said["normalize"], ANSWERS) == "yes",
            seed=_whole("seed", said["seed"], 0, SEED),
        )

    def said(self) -> dict[str, float | str]:
        """The same as a request says it."""
        return {
            "dimensions": self.dimensions,
            "weights": ",".join(f"{weight!r}" for weight in self.weights),
            "alpha": self.alpha,
            "projection": self.projection,
            "normalize": ANSWERS[self.normalize],
            "seed": self.seed,
        }


def _whole(name: str, given: Any, least: int, most: int) -> int:
    if isinstance(given, str) or not least <= given <= most or given != int(given):
        raise InvalidInput(f"option {name} is a whole number from {least} to {most}, not {given!r}")
    return int(given)


def _alpha(given: Any) -> float:
    if isinstance(given, str) or not -ALPHA <= given <= ALPHA:
        raise InvalidInput(f"option alpha is a number from {-ALPHA} to {ALPHA}, not {given!r}")
    return float(given)


def _among(name: str, given: Any, accepted: tuple[str, ...]) -> str:
    if given not in accepted:
        raise InvalidInput(f"option {name} is {' or '.join(accepted)}, not {given!r}")
    return str(given)


def _weights(given: Any) -> tuple[float, ...]:
    """Those behind the last that is not 0 say nothing, and are left out."""
    wrong = InvalidInput(
        f"option weights is a text of 1 to {POWERS} numbers with commas between, one for each step "
        f"of a walk and not all 0, not {given!r}"
    )
    try:
        made = [float(part) for part in str(given).split(",")]
    except ValueError:
        raise wrong from None
    if not all(map(math.isfinite, made)) or len(made) > POWERS:
        raise wrong
    while made and made[-1] == 0:
        made.pop()
    if not made:
        raise wrong
    return tuple(weight + 0.0 for weight in made)
