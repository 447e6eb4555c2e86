"""Requests: options, lookups, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from foretoken.errors import InvalidInput
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled
from foretoken.models.fastrp import FAMILY
from foretoken.models.fastrp.blocks import blocks_of
from foretoken.models.tasks import GraphRequest
from foretoken.server.contexts import states
from foretoken.server.engine.drive import alone
from tests.models.fastrp.graphs import LOOSE, answered, drawn, predictor

NOBODY = ({}, lambda *_: {}, 1)


def test_nodes_are_looked_up_in_the_order_in_which_they_are_asked_for():
    model, graph = predictor(), drawn()
    (context,) = alone([model.fit(graph)], *NOBODY)
    (every,) = alone([model.predict(GraphRequest(), context)], *NOBODY)
    for nodes in ([3, 1, 3], [], list(range(60)) * 30):  # the last is read in a thread
        asked = GraphRequest(nodes=np.array(nodes, int))
        (reply,) = alone([model.predict(asked, context)], *NOBODY)
        np.testing.assert_array_equal(reply.vectors, every.vectors[np.array(nodes, int)])
        assert reply.count == 60
    inline = GraphRequest(graph.sources, graph.targets, nodes=np.array([5]), **LOOSE)
    np.testing.assert_array_equal(answered(inline).vectors, every.vectors[[5]])


def test_a_node_that_is_none_of_the_graph_is_named():
    with pytest.raises(InvalidInput, match=r"entry 1 of nodes is 60, .*these are 0 to 59"):
        answered(drawn(nodes=np.array([59, 60])))


def test_the_bytes_that_are_announced_are_those_of_the_state():
    model = predictor()
    for graph in (drawn(), drawn(count=99), drawn(options={"dimensions": 7})):
        (context,) = alone([model.fit(graph)], *NOBODY)
        said = states.announced([], model.lengths(graph), model.keeps)
        assert said == states.nbytes(context)
        assert states.members(context) == 1


def test_options_are_completed_and_said_in_one_way():
    model = predictor(weights="0,0,1.5,2,0,0")
    full = model.options({})
    assert full["weights"] == "0.0,0.0,1.5,2.0", "what follows the last weight says nothing"
    assert model.options(full) == full
    for given in ({"weights": " 0, 0.00,15e-1,2"}, {"dimensions": 16.0}, {"seed": 0.0}):
        assert model.options(given) == full
    graph = drawn(options={"dimensions": 5, "weights": "1", "alpha": -1})
    wanted = answered(drawn(), dimensions=5, weights="1", alpha=-1.0).vectors
    np.testing.assert_array_equal(answered(graph).vectors, wanted)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dimension": 4}, "unknown options dimension; accepted are dimensions, weights"),
        ({"dimensions": 0}, "dimensions is a whole number from 1 to 4096, not 0"),
        ({"dimensions": 2.5}, "dimensions is a whole number"),
        ({"dimensions": "many"}, "dimensions is a whole number"),
        ({"weights": "0,0"}, "not all 0"),
        ({"weights": ""}, "weights is a text of 1 to 32 numbers"),
        ({"weights": "1,nan"}, "weights is a text"),
        ({"weights": ",".join(["1"] * 33)}, "weights is a text"),
        ({"alpha": float("nan")}, "alpha is a number from -8"),
        ({"alpha": "steep"}, "alpha is a number"),
        ({"projection": "dense"}, "projection is sparse or gaussian, not 'dense'"),
        ({"normalize": 1.0}, "normalize is no or yes, not 1.0"),
        ({"seed": -1}, "seed is a whole number from 0"),
        ({"seed": float("inf")}, "seed is a whole number"),
    ],
)
def test_options_that_are_not_acceptable_are_named(given, said):
    model = predictor()
    for call in (
        lambda: model.options(given),
        lambda: model.lengths(drawn(options=given)),
        lambda: answered(drawn(options=given)),
    ):
        with pytest.raises(InvalidInput, match=said):
            call()


def test_a_context_has_options_of_its_own():
    model = predictor()
    (context,) = alone([model.fit(drawn())], *NOBODY)
    asked = GraphRequest(nodes=np.array([1]), options={"seed": 1})
    with pytest.raises(InvalidInput, match=r"options \['seed'\] differ from those that the graph"):
        alone([model.predict(asked, context)], *NOBODY)
    same = GraphRequest(nodes=np.array([1]), options={"seed": 0.0, "weights": "0.5,1,0.25"})
    alone([model.predict(same, context)], *NOBODY)


def test_others_get_their_turn_between_blocks(monkeypatch):
    work = 24 * 60 * 4  # bytes of four columns
    monkeypatch.setattr(
        "foretoken.models.fastrp.blocks.blocks_of", lambda N, D: blocks_of(N, D, work)
    )
    steps, turns, sent = predictor().fit(drawn()), 0, None
    try:
        while True:
            sent = steps.send(sent).work()
            turns += 1
    except StopIteration as end:
        made = end.value
    assert turns == 2 + 4, "reading the graph, making room, and four blocks"
    np.testing.assert_array_equal(made.states[0]["vectors"][0], answered(drawn()).vectors)


def test_a_configuration_that_lacks_an_option_is_refused():
    with pytest.raises(InvalidInput, match="differing: alpha"):
        FAMILY.predictor({n: v for n, v in FAMILY.small.items() if n != "alpha"}, {})
    with pytest.raises(InvalidInput, match="differing: window"):
        predictor(window=3)


def test_what_is_in_the_box_has_the_published_settings():
    config = Artefact.read(bundled()["fastrp"]).config
    said = FAMILY.predictor(config, {}).options({})
    assert (said["dimensions"], said["weights"]) == (512, "0.0,0.0,7.81,45.28")
    assert (said["alpha"], said["projection"], said["normalize"]) == (-0.628, "sparse", "yes")
