"""Contexts of a whole server: two workers, tenants, versions that come and go, and kill -9."""

from __future__ import annotations

import json
import os
import signal
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from foretoken import Client
from foretoken.cli import models
from foretoken.errors import FailedPrecondition, NotFound
from foretoken.models.catalog import bundled
from foretoken.server.registry.registry import Registry
from foretoken.server.security.tokens import Wanted, create
from tests.server.contexts.tables import variant
from tests.server.contexts.workers import each_worker
from tests.serving import serving

MODELS = ("tiny", *(name for name in ("tabpfn",) if name in bundled()))  # random, and in the box
RNG = np.random.default_rng(3)
KINDS = np.array(["u", "v", None, "u"] * 6, object)
TRAIN = {"a": RNG.normal(size=24), "b": KINDS, "same": np.ones(24)}
LABELS = np.array(["no", "yes", "perhaps"] * 8, object)
TEST = {name: column[:5] for name, column in TRAIN.items()}
UNKNOWN = "ctx-" + 64 * "0"
NOTE = ("column 'same' is constant and is not used",)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, published):
    """A data dir whose model "tiny" has two versions, and tokens of two tenants."""
    data_dir, secrets = tmp_path_factory.mktemp("served") / "data", {}
    with Registry.open(data_dir) as registry:
        artefact = published("tabpfn")
        registry.register("tiny", artefact)
        registry.register("tiny", variant(artefact, tmp_path_factory.mktemp("second"), 1.5))
        for tenant in ("a", "b"):
            wanted = Wanted(f"of-{tenant}", tenant=tenant)
            secrets[tenant], _ = create(registry.tokens, wanted)
    return data_dir, secrets


@pytest.fixture(scope="module")
def served(prepared):
    with serving(workers=2, data_dir=prepared[0]) as server:
        yield server


@pytest.fixture
def clients(served):
    """One of each worker."""
    with each_worker(served) as opened:
        assert len(opened) == 2
        yield opened


def table(seed: int) -> dict:
    """A training set of the test's own."""
    return {**TRAIN, "a": TRAIN["a"] + seed}


def inline(client, model, train):
    return client.predict(model=model, train=train, target=LABELS, test=TEST)


def expect_same(one, other) -> None:
    np.testing.assert_array_equal(one.classes, other.classes)
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_what_one_worker_has_fitted_the_other_finds_until_it_is_deleted(clients, model):
    one, other = clients
    plain = inline(other, model, table(1))
    assert plain.cached is False
    size = other.measure(model, table(1), LABELS)
    fitted = [client.fit(model, table(1), LABELS) for client in (one, other, one)]
    assert [each.cached for each in fitted] == [False, True, True]
    assert {(each.id, each.nbytes) for each in fitted} == {(fitted[0].id, size)}
    context = fitted[0].id
    for client in clients:
        answer = client.predict(context, TEST)
        assert (answer.cached, answer.model, answer.version) == (True, model, 1)
        expect_same(answer, plain)
        assert inline(client, model, table(1)).cached is True
    other.delete_context(context)
    for client in clients:
        for ask in (client.context, client.delete_context, lambda c, k=client: k.predict(c, TEST)):
            with pytest.raises(NotFound, match=context):
                ask(context)
        assert inline(client, model, table(1)).cached is False


def test_both_workers_tell_what_a_fit_chose(clients):
    fitted = [client.fit("tiny", table(2), LABELS) for client in clients]
    assert [(each.cached, each.notes) for each in fitted] == [(False, NOTE), (True, NOTE)]


@pytest.mark.parametrize("model", MODELS)
def test_another_tenants_context_is_not_found_by_any_worker(served, prepared, model):
    secrets = prepared[1]
    with (
        each_worker(served, token=secrets["a"]) as ours,
        each_worker(served, token=secrets["b"]) as theirs,
        each_worker(served) as nobodys,
    ):
        mine = ours[0].fit(model, table(3), LABELS).id
        assert ours[1].predict(mine, TEST).cached is True
        others = [client.fit(model, table(3), LABELS) for client in (theirs[0], nobodys[0])]
        assert [each.cached for each in others] == [False, False], "a HIT would tell of ours"
        assert len({mine, *(each.id for each in others)}) == 3
        assert mine not in {each.id for each in theirs[1].contexts()}
        said = {_refusal(*each) for each in _refusals([*theirs, *nobodys], mine)}
        assert len(said) == 1
        assert ours[1].predict(mine, TEST).cached is True, "nothing was deleted"


def _refusals(clients, context):
    for client in clients:
        for each in (context, UNKNOWN):
            yield client.context, each
            yield client.delete_context, each
            yield lambda c, k=client: k.predict(c, TEST), each


def _refusal(ask, context) -> str:
    """What is said, by whichever name the context goes."""
    with pytest.raises(NotFound) as refused:
        ask(context)
    return str(refused.value).replace(context, "CONTEXT")


def test_a_context_stays_with_its_version_until_that_is_deleted_by_force(served, clients):
    one, other = clients
    first = one.fit("tiny", table(4), LABELS)
    before = other.predict(first, TEST)
    one.set_alias("tiny", "champion", 2)
    new = one.fit("tiny", table(4), LABELS)
    assert (new.cached, new.context.version, first.context.version) == (False, 2, 1)
    for client in clients:
        after = client.predict(first, TEST)
        assert (after.cached, after.version) == (True, 1)
        expect_same(after, before)
        moved = client.predict(new, TEST)
        assert (moved.cached, moved.version) == (True, 2)
        assert np.abs(moved.probabilities - before.probabilities).max() > 1e-3
    with pytest.raises(FailedPrecondition, match=r"fitted with tiny:1.*--force"):
        other.delete("tiny:1")
    assert one.predict(first, TEST).cached is True
    command = ["delete", "tiny:1", "--server", served.address]
    refused = CliRunner().invoke(models.app, command)
    assert isinstance(refused.exception, FailedPrecondition)
    done = CliRunner().invoke(models.app, [*command, "--force", "--json"])
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"deleted": "tiny:1"})
    for client in clients:
        for ask in (client.context, lambda c, k=client: k.predict(c, TEST)):
            with pytest.raises(FailedPrecondition, match=r"tiny:1.*has been deleted.*fit again"):
                ask(first.id)
        assert client.predict(new, TEST).cached is True


# -- kill -9 --------------------------------------------------------------------------------------


def kill(pids) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def renewed(server, before) -> None:
    """Wait until other workers than those serve, as many."""
    end = time.monotonic() + 60
    while len(set(server.workers) - set(before)) < len(before):
        assert time.monotonic() < end, "the workers were not replaced"
        time.sleep(0.05)


def expect_hits(server, kept, plain, deleted) -> None:
    """Every worker answers from what was kept."""
    with each_worker(server) as clients:
        assert len(clients) == 2
        for client in clients:
            for model, context in kept.items():
                answer = client.predict(context, TEST)
                assert (answer.cached, answer.model) == (True, model)
                expect_same(answer, plain[model])
                assert client.fit(model, TRAIN, LABELS).cached is True
            with pytest.raises(NotFound):
                client.predict(deleted, TEST)


def test_what_was_acknowledged_outlives_kill_9(tmp_path, published):
    with Registry.open(tmp_path / "data") as registry:
        registry.register("tiny", published("tabpfn"))
    with serving(workers=2, data_dir=tmp_path / "data") as server:
        with Client(server.address) as client:
            plain = {model: inline(client, model, TRAIN) for model in MODELS}
            deleted = client.fit("tiny", table(5), LABELS).id
            client.delete_context(deleted)
        with each_worker(server) as clients:
            kept = {model: clients[0].fit(model, TRAIN, LABELS).id for model in MODELS}
        workers = server.workers
        kill(workers)
        renewed(server, workers)
        expect_hits(server, kept, plain, deleted)
        kill([server.pid, *server.workers])
        assert server.process.wait(60) == -signal.SIGKILL
    with serving(workers=2, data_dir=tmp_path / "data") as server:
        expect_hits(server, kept, plain, deleted)
