"""What a family says about itself is complete and true."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from foretoken.models.catalog import families
from foretoken.models.contract import Kind
from foretoken.models.generation import Layered
from foretoken.models.tasks import Task
from foretoken.server.engine import batches
from tests.conformance.subjects import subjects
from tests.published import SUBJECTS

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = {  # by custom, see docs/add-a-family.md
    Kind.STATELESS: {"forward"},
    Kind.IN_CONTEXT: {"encode_context", "query"},
    Kind.RECURRENT: {"scan", "step"},
    Kind.GENERATIVE: {"prefill", "decode"},
}
LAYERED = {*Layered.__annotations__, "embed", "layer", "logits"}


@subjects()
def test_a_family_says_what_it_is(name):
    family = SUBJECTS[name]
    assert family.name == name
    assert family.task in Task
    assert family.kind in Kind
    assert family.summary.strip()
    assert "\n" not in family.summary
    assert re.search(r"\b(19|20)\d\d\b", family.source), "no year"
    assert json.loads(json.dumps(family.small)) == family.small


@pytest.mark.parametrize("name", list(families()))
def test_a_family_lies_in_the_folder_of_its_name_with_a_card(name):
    package = import_module(f"foretoken.models.{name.replace('-', '_')}")
    assert package.FAMILY is SUBJECTS[name]
    home = Path(str(package.__file__)).parent
    assert (home / "card.md").is_file() or (home / "weights" / "card.md").is_file()


@pytest.mark.parametrize("name", list(families()))
def test_importing_a_family_and_its_predictor_imports_no_torch(name):
    package = f"foretoken.models.{name.replace('-', '_')}"
    code = f"import sys, {package}, {package}.predict; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@subjects()
def test_the_graphs_are_those_of_the_kind(name):
    family = SUBJECTS[name]
    graphs = {g.name: g for g in family.graphs(family.small)}
    if not graphs and family.kind is Kind.GENERATIVE:  # layers take their place
        module = family.module(family.small)
        assert all(hasattr(module, name) for name in LAYERED)
        return
    if not graphs:  # what works on the host alone keeps what it reads itself
        assert family.kind is Kind.IN_CONTEXT
        assert family.predictor(family.small, {}).keeps
        return
    assert GRAPHS[family.kind] <= set(graphs)
    read = {t.name for g in graphs.values() for t in g.reads}
    written = {t.name for g in graphs.values() for t in g.writes}
    given = {t.name for g in graphs.values() for t in g.inputs}
    assert written <= read <= written | given  # what a writing graph was given may be kept as well
    assert bool(read) == (family.kind is not Kind.STATELESS)


@subjects()
def test_states_have_the_letters_of_their_kind(name):
    family = SUBJECTS[name]
    for graph in family.graphs(family.small):
        for tensor in (*graph.reads, *graph.writes):
            letters = [d for d in tensor.dims[1:] if isinstance(d, str)]
            assert len(letters) <= {Kind.RECURRENT: 0, Kind.GENERATIVE: 1}.get(family.kind, 9)


@subjects()
def test_tensors_have_the_batch_in_front_and_names_of_their_own(name):
    family = SUBJECTS[name]
    for graph in family.graphs(family.small):
        ins, outs = (*graph.inputs, *graph.reads), (*graph.outputs, *graph.writes)
        for tensors in (ins, outs):
            assert len({t.name for t in tensors}) == len(tensors) > 0
            for tensor in tensors:
                assert tensor.dims[0] == batches.BATCH
                np.dtype(tensor.dtype)


@subjects()
def test_a_graph_is_the_method_of_its_name(name):
    family = SUBJECTS[name]
    module = family.module(family.small)
    for graph in family.graphs(family.small):
        names = [t.name for t in (*graph.inputs, *graph.reads)]
        parameters = list(inspect.signature(getattr(module, graph.name)).parameters.values())
        if parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL:  # as many as there are layers
            assert {t.name for t in graph.reads} >= set(names[len(parameters) - 1 :])
            names = names[: len(parameters := parameters[:-1])]
        assert [parameter.name for parameter in parameters] == names


@subjects()
def test_there_are_five_examples_or_more_and_they_fit(name):
    family = SUBJECTS[name]
    for graph in family.graphs(family.small):
        tensors = (*graph.inputs, *graph.reads)
        examples = list(family.examples(family.small, graph.name))
        shapes = {tuple(sorted(batches.sizes(tensors, e).items())) for e in examples}
        assert len(shapes) >= 5
        assert {dict(s)["B"] for s in shapes} - {1}, "no example of more than one row"
        for example in examples:
            assert set(example) == {t.name for t in tensors}
            assert all(np.isfinite(a).all() for a in example.values() if a.dtype.kind == "f")


@subjects()
def test_examples_are_the_same_every_time(name):
    family = SUBJECTS[name]
    for graph in family.graphs(family.small):
        first, again = (list(family.examples(family.small, graph.name)) for _ in range(2))
        for a, b in zip(first, again, strict=True):
            for tensor in a:
                np.testing.assert_array_equal(a[tensor], b[tensor])
