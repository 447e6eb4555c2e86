"""Rows of states where they lie: stepped in place as a graph steps them, and no other touched."""

from __future__ import annotations

import numpy as np
import pytest

from foretoken.models.contract import Kind
from foretoken.server.engine.slots import HostRows
from foretoken.server.runtimes.torch import TorchRows, TorchRuntime
from tests.conformance.subjects import subjects

COUNT = 11  # rows, of which a batch has some
TOLERANCE = 1e-5


def torch_rows(subject, start):
    executable = TorchRuntime("cpu").load(subject.artefact, subject.family, 1)
    return TorchRows(executable, start, COUNT)


def host_rows(subject, start):
    return HostRows(subject.executable.run, start, COUNT)


@pytest.mark.parametrize("rows_of", [torch_rows, host_rows])
@subjects(Kind.RECURRENT)
def test_rows_are_stepped_as_the_graph_says_and_no_others_change(load, name, rows_of):
    subject = load(name)
    start = subject.family.predictor(subject.artefact.config, {}).start()
    for graph in (subject.graphs["step"], subject.graphs["scan"]):
        for example in subject.examples(graph.name):
            inputs = {tensor.name: example[tensor.name] for tensor in graph.inputs}
            B = len(next(iter(inputs.values())))
            slots = list(range(COUNT - 1, 0, -2))[:B] + list(range(0, COUNT, 2))[: max(B - 5, 0)]
            rows = rows_of(subject, start)
            for slot in range(COUNT):
                rows.write(slot, {n: a[0] for n, a in start.items()})
            for row, slot in enumerate(slots):
                rows.write(slot, {t.name: example[t.name][row] for t in graph.reads})
            made = rows.run(graph, inputs, slots)
            wanted = subject.executable.run(graph.name, example)
            for tensor in graph.outputs:
                close(made[tensor.name], wanted[tensor.name])
            for slot in range(COUNT):
                state = rows.read(slot)
                for tensor in graph.writes:
                    if slot in slots:
                        close(state[tensor.name], wanted[tensor.name][slots.index(slot)])
                    else:
                        np.testing.assert_array_equal(state[tensor.name], start[tensor.name][0])


def close(got, wanted):
    """Equal, but for rounding on the scale of what is there."""
    assert got.dtype == wanted.dtype
    scale = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=10 * TOLERANCE * scale)
