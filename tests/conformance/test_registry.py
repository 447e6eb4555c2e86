"""Export, register, load: the same numbers."""

from __future__ import annotations

import numpy as np

from foretoken.models.artefact import Artefact
from foretoken.server.registry.registry import Registry
from foretoken.server.runtimes import runtime
from tests.conformance.subjects import subjects
from tests.published import SUBJECTS


@subjects()
def test_a_registered_version_says_what_was_published(tmp_path, published, name):
    family, artefact = SUBJECTS[name], published(name)

    def signature(_artefact: Artefact) -> dict[str, object]:
        return {graph.name: str(graph) for graph in family.graphs(artefact.config)}

    before = runtime("onnx").load(artefact, family, 1)
    with Registry.open(tmp_path, signature=signature) as registry:
        registry.register("subject", artefact)
    with Registry.open(tmp_path, signature=signature) as registry:  # as another process would
        stored = registry.artefact(registry.resolve("subject"))
        after = runtime("onnx").load(stored, family, 1)
        assert stored.description() == artefact.description()
        for graph in family.graphs(artefact.config):
            for inputs in family.examples(artefact.config, graph.name):
                wanted, got = before.run(graph.name, inputs), after.run(graph.name, inputs)
                assert all(np.array_equal(wanted[t], got[t]) for t in wanted)
