"""TabPFN as a probability function: the way a request goes, without the network."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.tables.validation import Floats, Labels, Probabilities
from foretoken.models.artefact import Artefact
from foretoken.models.tasks import TabularRequest
from foretoken.server.app import open_plane
from foretoken.server.local import LocalPlane
from foretoken.server.publish import publish
from foretoken.server.settings import load_settings

__all__ = ["candidate", "served"]

NAME = "candidate"


@contextmanager
def served(
    model: str, options: Mapping[str, float | str], data_dir: Path | None = None
) -> Iterator[Probabilities]:
    """A registered model, on one thread, loaded beforehand.

    Args:
        model: ``NAME``, ``NAME:VERSION`` or ``ALIAS@NAME``.
        options: of its family.
        data_dir: of the registry; the default is that of the command line.
    """
    with open_plane(load_settings(data_dir=data_dir, threads=1)) as plane:
        warm = pd.DataFrame({"x": np.arange(8.0)})
        answer(plane, model, options, warm, np.arange(8) % 2, warm, ())

        def probabilities(
            train: pd.DataFrame, target: Labels, test: pd.DataFrame, categorical: tuple[str, ...]
        ) -> tuple[Labels, Floats]:
            return answer(plane, model, options, train, target, test, categorical)

        yield probabilities


@contextmanager
def candidate(folder: Path, options: Mapping[str, float | str]) -> Iterator[Probabilities]:
    """An artefact folder, exported if it is not, in a registry of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        artefact = Artefact.read(folder)
        if not artefact.export:
            artefact = publish(artefact, Path(scratch) / "published")
        data_dir = Path(scratch) / "data"
        with open_plane(load_settings(data_dir=data_dir, threads=1)) as plane:
            plane.registry.register(NAME, artefact)
        with served(NAME, options, data_dir) as probabilities:
            yield probabilities


def answer(
    plane: LocalPlane,
    model: str,
    options: Mapping[str, float | str],
    train: pd.DataFrame,
    target: Labels,
    test: pd.DataFrame,
    categorical: tuple[str, ...],
) -> tuple[Labels, Floats]:
    """One request that brings its training rows."""
    request = TabularRequest(
        test={str(name): test[name].to_numpy() for name in test},
        train={str(name): train[name].to_numpy() for name in train},
        target=target,
        categorical=frozenset(categorical),
        options=options,
    )
    (reply,) = plane.predict(model, [request])
    return reply.classes, reply.probabilities
