"""Short texts overtake long requests, and what is more than the server can embed is refused."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.catalog import family
from foretoken.models.text_encoder.config import BertShape
from foretoken.server.publish import publish

MODEL = "encoder"
QUEUE = 150  # calls of the runtime
TEXTS, BYTES = 100, 200  # of a long call
# Whatever else runs here may spoil one attempt; a server that lets queries wait fails all of them.
ATTEMPTS = 3


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A BERT of random weights that reads bytes: a long call takes a core a second or more."""
    folder, kind = tmp_path_factory.mktemp("encoder"), family("text_encoder")
    shape = BertShape(vocab=259, width=384, layers=2, heads=6, mlp=1536, positions=256)
    config = {**kind.small, "shape": asdict(shape), "max_tokens": 256, "dimensions": []}
    torch.manual_seed(0)
    save_file(kind.module(config).state_dict(), folder / WEIGHTS)
    serving = {"batch_tokens": 256}
    artefact = Artefact(kind.name, config, {WEIGHTS: folder / WEIGHTS}, serving=serving)
    publish(artefact, folder / "published")
    return folder / "published"


@pytest.fixture(scope="module")
def server(encoder, tmp_path_factory):
    """On one core, with room for as many calls as a long one and a half have."""
    from benchmarks.load.house import serving

    folder = tmp_path_factory.mktemp("house")
    with serving(folder, {MODEL: [encoder]}, threads=1, queue=QUEUE) as running:
        yield running


@pytest.fixture(scope="module")
def loads():
    from benchmarks.embedding_load import Loads

    queries = [f"query {i}" for i in range(100)]
    long = [[f"{i} {j} ".ljust(BYTES, "x") for j in range(TEXTS)] for i in range(4)]
    return Loads.of(MODEL, queries, long)


@pytest.fixture(scope="module")
def capacity(server, loads):
    from benchmarks.embedding_load import capacities

    return capacities(server, loads)


def test_short_texts_do_not_wait_for_long_requests(server, loads, capacity):
    from benchmarks.embedding_load import EMBED, job
    from benchmarks.load.processes import generate, generating

    long = 1e3 / capacity["long"]  # milliseconds of one
    # Long enough that some long ones end, which take longer beside queries.
    seconds = max(3.5, 4 * long / 1e3)
    after_another = server.job(*loads.long, method=EMBED, callers=1, seconds=seconds, timeout=None)
    queries = job(server, loads.queries, 0.2 * capacity["queries"], seconds - 0.5, 10.0)
    for _ in range(ATTEMPTS):
        with generating(after_another) as running:
            found, meanwhile = generate(queries), running.result()
        if found.p99 < 0.25 * long:
            break
    assert set(meanwhile.codes) == {"OK"}
    assert set(found.codes) == {"OK"}
    assert found.p99 < 0.25 * long
    assert found.p50 < 0.1 * long


def test_three_times_the_capacity_is_shed_and_never_waits_without_bound(server, loads, capacity):
    from benchmarks.embedding_load import answered, under

    much = {kind: 1.5 * rate for kind, rate in capacity.items()}
    found = under(server, loads, much, 4.0, {"queries": 1.0, "long": 4.0})
    queries, rss = found["queries"], found["rss_mib"]
    assert set(queries["codes"]) <= {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    assert queries["refused_share"] + found["long"]["refused_share"] > 0
    assert queries["with_retry_after"] in (0.0, 1.0), "a refusal without retry-after"
    assert answered(found, capacity) > 0.3  # the benchmark has the figure; others may run here
    assert found["most_waiting"] <= 2 * QUEUE  # that of short requests, and that of long ones
    assert rss["highest"] - rss["before"] < 128
    calm = under(server, loads, {"queries": 0.2 * capacity["queries"]}, 1.0)
    assert set(calm["queries"]["codes"]) == {"OK"}, "it has not recovered"
