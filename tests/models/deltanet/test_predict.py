"""DeltaNet's request logic: one call, tokens as integers, refusals that say where."""

from __future__ import annotations

import re

import numpy as np
import pytest

from foretoken.errors import InvalidInput
from foretoken.models.deltanet import FAMILY, shapes
from foretoken.models.tasks import SequenceRequest

V = FAMILY.small["vocab"]
PREDICTOR = FAMILY.predictor(FAMILY.small, {})


def asked(values, state=None, **options):
    """The one call of a request, and its reply to the given logits."""
    steps = PREDICTOR.predict(SequenceRequest(np.array(values, float), options), state)
    (call,) = next(steps)
    shape = (V,) if call.graph == "step" else (len(values), V)
    logits = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    with pytest.raises(StopIteration) as end:
        steps.send([{"logits": logits}])
    return call, end.value.value, logits.reshape(-1, V)


def test_one_token_is_a_step():
    call, reply, logits = asked([[3]])
    assert call.graph == "step"
    assert call.inputs["x"].tolist() == [[3]]
    assert call.inputs["x"].dtype == np.int64
    np.testing.assert_array_equal(reply.outputs["logits"], logits)
    assert reply.outputs["likeliest"].tolist() == [logits[0].argmax()]
    assert reply.outputs["likeliest"].dtype == np.int64


def test_several_tokens_are_a_scan():
    state = dict(PREDICTOR.start())
    call, reply, logits = asked([[0], [V - 1], [2]], state)
    assert call.graph == "scan"
    assert call.state is state
    assert call.inputs["x"].tolist() == [[[0], [V - 1], [2]]]
    assert call.inputs["length"].tolist() == [3]
    np.testing.assert_array_equal(reply.outputs["logits"], logits)
    assert reply.outputs["likeliest"].tolist() == logits.argmax(1).tolist()


def test_a_sequence_starts_from_zeros_of_the_shapes_that_graphs_read():
    start = PREDICTOR.start()
    (step, _) = FAMILY.graphs(FAMILY.small)
    assert {t.name: t.dims[1:] for t in step.reads} == shapes(FAMILY.small)
    assert {n: a.shape for n, a in start.items()} == {
        n: (1, *shape) for n, shape in shapes(FAMILY.small).items()
    }
    assert all(a.dtype == np.float32 and not a.any() for a in start.values())
    assert asked([[1]])[0].state.keys() == start.keys()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[1], [2.5]], "value 1 is 2.5"),
        ([[-1]], "value 0 is -1"),
        ([[0], [1], [V]], f"value 2 is {V}"),
        ([[np.nan]], "value 0 is nan"),
        ([[1], [np.inf], [np.nan]], "value 1 is inf"),
        ([[-np.inf]], "value 0 is -inf"),
        ([[1e300]], "value 0 is 1e+300"),
    ],
)
def test_what_is_no_token_is_refused_by_its_place(values, said):
    with pytest.raises(InvalidInput, match=re.escape(f"{said}, which is no token")) as refused:
        asked(values)
    assert f"0 to {V - 1}" in str(refused.value)


def test_two_numbers_are_not_one_token():
    with pytest.raises(InvalidInput, match=re.escape("[T, 1]")):
        asked([[1, 2]])


def test_there_are_no_options():
    assert PREDICTOR.options({}) == {}
    with pytest.raises(InvalidInput, match="horizon"):
        PREDICTOR.options({"horizon": 3})
    with pytest.raises(InvalidInput, match="horizon"):
        asked([[1]], horizon=3.0)
