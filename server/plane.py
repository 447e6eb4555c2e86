"""The plane: the one path from a typed request to its reply, with or without a network.

It resolves the model, has it loaded, and lets the engine drive the family's predictor. Doors and
in-process callers use the same methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from foretoken.errors import InvalidInput
from foretoken.models.artefact import WEIGHTS
from foretoken.models.catalog import family
from foretoken.models.tasks import Task, task_of
from foretoken.models.weights import mapped
from foretoken.server.engine.drive import drive
from foretoken.server.registry.loaded import Loaded, LoadedModels
from foretoken.server.registry.registry import Registry, ServingOptions, Version
from foretoken.server.runtimes import runtime
from foretoken.server.settings import Settings


class Plane:
    """Answers requests with the models of a registry.

    Args:
        registry: where versions are found; the caller closes it.
        settings: for what a version's serving options leave open.
    """

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self.registry = registry
        self._settings = settings
        self._loaded = LoadedModels(8)
        self._in_force: dict[str, tuple[int, ServingOptions]] = {}

    def predict(self, model: str, requests: Sequence[Any], key: str | None = None) -> list[Any]:
        """Answer ``requests``, all of one task, together.

        Args:
            model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``.
            requests: of the task that the model's family answers.
            key: decides which side of a canary answers; the same key is always on the same side.

        Raises:
            NotFound: if there is no such model, version or alias.
            InvalidInput: if a request is of another task or not acceptable to the model.
            DataLoss: if the version's files are not what was registered.
        """
        loaded = self.load(self.registry.resolve(model, key))
        for request in requests:
            self._expect(model, loaded.family.task, task_of(request))
        steps = [loaded.predictor.predict(request) for request in requests]
        return drive(steps, loaded.graphs, loaded.executable.run, loaded.batch_tokens)

    def load(self, version: Version) -> Loaded:
        """The version, loaded and verified, with the serving options now in force."""
        options = self._options(version)
        key = f"{version.manifest_digest} {options.model_dump_json()}"
        return self._loaded.get(key, lambda: self._load(version, options))

    def close(self) -> None:
        """Release the loaded models."""
        self._loaded.close()

    def _options(self, version: Version) -> ServingOptions:
        """Read again only after somebody has committed something to the registry."""
        state = self.registry.state()
        known = self._in_force.get(version.ref)
        if known is None or known[0] != state:
            known = self._in_force[version.ref] = state, self.registry.serving_options(version)
        return known[1]

    def _load(self, version: Version, options: ServingOptions) -> Loaded:
        artefact = self.registry.artefact(version)
        kind = family(artefact.family)
        chosen = runtime(options.runtime or self._settings.runtime)
        weights = {n: stored.array for n, stored in mapped(artefact.files[WEIGHTS]).items()}
        executable = chosen.load(artefact, kind, options.threads or self._settings.threads)
        return Loaded(
            family=kind,
            graphs={graph.name: graph for graph in kind.graphs(artefact.config)},
            predictor=kind.predictor(artefact.config, weights),
            executable=executable,
            batch_tokens=options.batch_tokens or self._settings.batch_tokens,
        )

    @staticmethod
    def _expect(model: str, task: Task, asked: Task) -> None:
        if task != asked:
            raise InvalidInput(f"model {model!r} answers {task} requests, not {asked}")

    def __enter__(self) -> Plane:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
