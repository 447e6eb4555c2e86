"""The plane: from a typed request to its reply over a registry, without a network."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
import threading

import numpy as np
import pytest

from foretoken.errors import DataLoss, InvalidInput, NotFound
from foretoken.models.artefact import Artefact
from foretoken.models.tasks import CurveRequest, TextRequest
from foretoken.server.local import LocalPlane
from foretoken.server.registry.options import ServingOptions
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings


@pytest.fixture
def registry(tmp_path, tiny_lcpfn):
    with Registry.open(tmp_path / "data") as registry:
        registry.register("curves", Artefact.read(tiny_lcpfn))
        yield registry


@pytest.fixture
def plane(registry):
    with LocalPlane(registry, load_settings()) as plane:
        yield plane


def described(plane, model="curves"):
    return plane.run(plane.plane.describe(model))


def _request(n=5, at=(20.0, 100.0)):
    values = 0.9 - 0.5 * np.arange(1.0, n + 1) ** -0.5
    return CurveRequest(values, np.arange(1.0, n + 1), np.array(at), np.array([0.05, 0.5, 0.95]))


def test_a_request_is_answered_in_its_own_shape(plane):
    (reply,) = plane.predict("curves", [_request()])
    assert reply.mean.shape == (2,)
    assert reply.quantiles.shape == (3, 2)
    assert (np.diff(reply.quantiles, axis=0) > 0).all()


def test_many_requests_are_answered_as_each_alone(plane):
    requests = [_request(n, at=np.arange(60.0, 60 + n)) for n in (1, 7, 30, 2)]
    together = plane.predict("curves", requests)
    for request, reply in zip(requests, together, strict=True):
        (alone,) = plane.predict("curves", [request])
        np.testing.assert_allclose(reply.logits, alone.logits, atol=1e-5)


def test_both_runtimes_say_the_same(registry, plane):
    with LocalPlane(registry, load_settings(runtime="torch")) as other:
        (ours,), (theirs,) = (p.predict("curves", [_request()]) for p in (plane, other))
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-4)


def test_serving_options_of_the_model_choose_the_runtime(registry):
    from foretoken.server.runtimes.torch import TorchExecutable

    registry.set_options("curves", ServingOptions(runtime="torch"))
    with LocalPlane(registry, load_settings()) as plane:
        assert isinstance(described(plane).executable, TorchExecutable)


def test_options_that_are_set_later_take_force_at_the_next_request(registry, plane):
    from foretoken.server.runtimes.torch import TorchExecutable

    plane.predict("curves", [_request()])
    registry.set_options("curves", ServingOptions(runtime="torch", batch_tokens=64))
    plane.predict("curves", [_request()])
    loaded = described(plane)
    assert isinstance(loaded.executable, TorchExecutable)
    assert loaded.lanes["forward"].limits.batch_tokens == 64


def test_a_request_of_another_task_is_refused(plane):
    with pytest.raises(InvalidInput, match="answers curve requests, not text"):
        plane.predict("curves", [TextRequest(("hello",))])


def test_what_is_no_request_is_refused(plane):
    with pytest.raises(InvalidInput, match="dict is not a request"):
        plane.predict("curves", [{}])


@pytest.mark.parametrize("ref", ["nothing", "curves:7", "challenger@curves"])
def test_an_unknown_model_version_or_alias_is_not_found(plane, ref):
    with pytest.raises(NotFound):
        plane.predict(ref, [_request()])


def test_no_requests_have_no_replies(plane):
    assert plane.predict("curves", []) == []


@pytest.mark.parametrize("name", ["model.safetensors", "forward.onnx"])
def test_a_flipped_byte_refuses_the_model_and_names_the_file(registry, plane, name):
    path = registry.artefact(registry.resolve("curves")).files[name]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(DataLoss, match=name):
        plane.predict("curves", [_request()])


def test_a_new_champion_answers_the_next_request(registry, plane, tiny_lcpfn):
    before = plane.predict("curves", [_request()])[0].logits
    artefact = Artefact.read(tiny_lcpfn)
    second = registry.register("curves", artefact)
    registry.set_alias("curves", "champion", second.number)
    after = plane.predict("curves", [_request()])[0].logits
    np.testing.assert_array_equal(before, after)
    assert registry.resolve("curves").number == 2


def test_registering_and_answering_never_import_torch(tmp_path, tiny_lcpfn):
    code = f"""
import sys
from pathlib import Path
from foretoken import CurveExtrapolator
from foretoken.server.app import open_plane
from foretoken.server.registry.bundled import register_bundled
from foretoken.server.settings import load_settings
data = Path({str(tmp_path)!r})
with open_plane(load_settings(data_dir=data)) as plane:
    register_bundled(plane.registry, {{"lcpfn": Path({str(tiny_lcpfn)!r})}})
assert CurveExtrapolator(data_dir=data).extrapolate([0.1, 0.2, 0.3]).mean.shape == (97,)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_nobody_waits_for_ends_with_the_plane(registry):
    """As after Ctrl-C, which ends the waiting and not what was waited for."""
    local = LocalPlane(registry, load_settings())
    ended = threading.Event()

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    waiting = asyncio.run_coroutine_threadsafe(work(), local._loop)
    local.close()
    assert ended.is_set()
    assert waiting.cancelled()


def test_work_that_is_no_longer_waited_for_is_cancelled(registry, monkeypatch):
    class Interrupted(concurrent.futures.Future):
        def result(self, timeout=None):
            raise KeyboardInterrupt

    made = []

    def submitted(work, loop):
        work.close()
        made.append(Interrupted())
        return made[-1]

    with LocalPlane(registry, load_settings()) as local:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "run_coroutine_threadsafe", submitted)
            with pytest.raises(KeyboardInterrupt):
                local.contexts()
        assert made[0].cancelled()
