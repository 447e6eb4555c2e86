"""Graphs: exported is eager, a batch's row is the single row, padding changes nothing."""

from __future__ import annotations

import numpy as np
import torch

from foretoken.exporters.modules import load_module
from foretoken.models.contract import Arrays, Graph
from foretoken.server.engine import batches
from tests.conformance.subjects import Subject, subjects

ROW = 1e-5  # largest difference that company in a batch may make


def eager(subject: Subject, graph: Graph, inputs: Arrays) -> dict[str, np.ndarray]:
    """What the module itself says, without any runtime."""
    module = load_module(subject.artefact, subject.family)
    tensors = [torch.tensor(inputs[t.name]) for t in (*graph.inputs, *graph.reads)]
    with torch.no_grad():
        made = getattr(module, graph.name)(*tensors)
    outputs = (made,) if isinstance(made, torch.Tensor) else made
    names = [t.name for t in (*graph.outputs, *graph.writes)]
    return {n: o.numpy() for n, o in zip(names, outputs, strict=True)}


def single_rows(graph: Graph, examples: list[Arrays]) -> list[Arrays]:
    """Every row of every example, as a call of its own."""
    return [
        {name: array[i : i + 1] for name, array in example.items()}
        for example in examples
        for i in range(len(example[graph.inputs[0].name]))
    ]


def together(subject: Subject, graph: Graph, calls: list[Arrays]) -> list[Arrays]:
    """The calls in one batch, padded to the longest."""
    taken, made = (*graph.inputs, *graph.reads), (*graph.outputs, *graph.writes)
    shapes = [batches.sizes(taken, call) for call in calls]
    merged = batches.merge(taken, calls, shapes)
    return batches.split(made, subject.executable.run(graph.name, merged), shapes)


def assert_same(wanted: Arrays, got: Arrays, tolerance: float) -> None:
    assert set(wanted) == set(got)
    for name, array in wanted.items():
        assert array.dtype == got[name].dtype
        np.testing.assert_allclose(
            got[name], array, rtol=tolerance, atol=tolerance, err_msg=name, strict=True
        )


@subjects()
def test_the_runtime_says_what_the_module_says(load, name):
    subject = load(name)
    for graph in subject.graphs.values():
        for inputs in subject.examples(graph.name):
            made = subject.executable.run(graph.name, inputs)
            wanted = eager(subject, graph, inputs)
            assert set(made) == set(wanted)
            for tensor in (*graph.outputs, *graph.writes):
                assert made[tensor.name].dtype == tensor.dtype
                np.testing.assert_allclose(
                    made[tensor.name], wanted[tensor.name], rtol=0, atol=graph.tolerance
                )


@subjects()
def test_the_runtime_says_what_the_module_says_at_shapes_of_no_example(load, name):
    subject = load(name)
    for graph in subject.graphs.values():
        taken = (*graph.inputs, *graph.reads)
        rows = single_rows(graph, subject.examples(graph.name))
        merged = batches.merge(taken, rows, [batches.sizes(taken, row) for row in rows])
        seen = [batches.sizes(taken, e) for e in subject.examples(graph.name)]
        assert batches.sizes(taken, merged) not in seen
        assert_same(
            eager(subject, graph, merged),
            subject.executable.run(graph.name, merged),
            graph.tolerance,
        )


@subjects()
def test_a_row_of_a_batch_is_the_single_row(load, name):
    subject = load(name)
    for graph in subject.graphs.values():
        for example in subject.examples(graph.name):
            rows = single_rows(graph, [example])
            for row, made in zip(rows, together(subject, graph, rows), strict=True):
                assert_same(subject.executable.run(graph.name, row), made, ROW)


@subjects()
def test_padding_to_the_longest_changes_no_row(load, name):
    subject = load(name)
    for graph in subject.graphs.values():
        rows = single_rows(graph, subject.examples(graph.name))
        for row, made in zip(rows, together(subject, graph, rows), strict=True):
            assert_same(subject.executable.run(graph.name, row), made, ROW)


@subjects()
def test_rows_that_are_said_to_stand_alone_do(load, name):
    subject = load(name)
    for graph in subject.graphs.values():
        if graph.rows is None:
            continue
        assert not graph.writes
        assert all(graph.rows in tensor.dims for tensor in (*graph.inputs, *graph.outputs))
        assert all(graph.rows not in tensor.dims for tensor in graph.reads)
        for example in subject.examples(graph.name):
            shapes = [batches.sizes((*graph.inputs, *graph.reads), example)] * 3
            merged = batches.merge(graph.inputs, [example] * 3, shapes, graph.rows)
            made = subject.executable.run(graph.name, {**example, **merged})
            wanted = subject.executable.run(graph.name, example)
            for part in batches.split(graph.outputs, made, shapes, graph.rows):
                assert_same(wanted, part, ROW)
