"""What the server tells of itself and its models, and which models it serves."""

from __future__ import annotations

import asyncio

import grpc
import pytest

import foretoken
from foretoken.errors import PermissionDenied
from foretoken.proto import grpc_service as oip
from foretoken.proto import model_config as config
from foretoken.server.terms import Caller, Scope
from tests.server.doors.oip.door import serving
from tests.server.doors.oip.test_infer import VALUES, request


class Known:
    """A gate that lets one caller in, whatever token it shows."""

    def __init__(self, *scopes, tenant=None):
        self._caller = Caller("known", frozenset(scopes), tenant)

    def caller(self, metadata, peer, scope):
        if scope is not None:
            self._caller.expect(scope)
        return self._caller


def asked(registry, method, *requests, gate=None, **options):
    """The answers to ``requests``, one after another; errors as their codes and words."""

    async def run():
        gates = {} if gate is None else {"gate": gate}
        async with serving(registry, **gates, **options) as stub:
            return [await answer(getattr(stub, method)(each)) for each in requests]

    async def answer(call):
        try:
            return await call
        except grpc.aio.AioRpcError as e:
            return e.code().name, e.details()

    return asyncio.run(run())


def test_the_server_lives_and_says_what_it_is(registry):
    (live,) = asked(registry, "ServerLive", oip.ServerLiveRequest())
    (ready,) = asked(registry, "ServerReady", oip.ServerReadyRequest())
    (server,) = asked(registry, "ServerMetadata", oip.ServerMetadataRequest())
    assert live.live
    assert ready.ready
    assert (server.name, server.version) == ("foretoken", foretoken.__version__)
    assert list(server.extensions) == [
        "model_repository",
        "statistics",
        "parameters",
        "sequence",
        "sequence(string_id)",
    ]


def test_health_needs_no_token_and_descriptions_do(registry):
    class Closed:
        def caller(self, metadata, peer, scope):
            if scope is not None:
                raise PermissionDenied("no")
            return Caller("nobody", frozenset())

    (live,) = asked(registry, "ServerLive", oip.ServerLiveRequest(), gate=Closed())
    assert live.live
    (refused,) = asked(registry, "ServerMetadata", oip.ServerMetadataRequest(), gate=Closed())
    assert refused[0] == "PERMISSION_DENIED"


def test_a_model_is_ready_if_it_would_answer(registry):
    named = [
        ("curves", ""),
        ("curves", "2"),
        ("curves", "3"),
        ("curve", ""),
        ("curves", "champion"),
    ]
    requests = [oip.ModelReadyRequest(name=name, version=version) for name, version in named]
    answers = asked(registry, "ModelReady", *requests)
    assert [answer.ready for answer in answers] == [True, True, False, False, True]


def test_metadata_tells_tensors_versions_and_limits(registry):
    made = oip.ModelMetadataRequest(name="curves")
    (metadata,) = asked(registry, "ModelMetadata", made, message_bytes=4096)
    assert (metadata.name, list(metadata.versions)) == ("curves", ["1", "2"])
    inputs = {each.name: (each.datatype, list(each.shape)) for each in metadata.inputs}
    assert list(inputs) == ["values", "steps", "at", "quantiles"]
    assert set(map(repr, inputs.values())) == {"('FP64', [-1])"}
    outputs = {each.name: (each.datatype, list(each.shape)) for each in metadata.outputs}
    assert outputs == {
        "mean": ("FP64", [-1]),
        "quantiles": ("FP64", [-1, -1]),
        "steps": ("FP64", [-1]),
    }
    told = metadata.properties
    assert (told["task"], told["kind"], told["family"]) == ("curve", "stateless", "lcpfn")
    assert told["limits.message_bytes"] == "4096"
    assert (metadata.platform, told["version"]) == ("foretoken_lcpfn", "1")


def test_configuration_agrees_with_metadata(registry):
    (metadata,) = asked(registry, "ModelMetadata", oip.ModelMetadataRequest(name="curves"))
    (response,) = asked(registry, "ModelConfig", oip.ModelConfigRequest(name="curves"), queue=7)
    made = response.config
    assert (made.name, made.max_batch_size, made.backend) == ("curves", 0, "foretoken")
    assert [each.name for each in made.input] == [each.name for each in metadata.inputs]
    assert [list(each.dims) for each in made.output] == [list(e.shape) for e in metadata.outputs]
    assert [each.optional for each in made.input] == [False, True, True, True]
    assert {each.data_type for each in made.input} == {config.TYPE_FP64}
    assert made.dynamic_batching.default_queue_policy.max_queue_size == 7
    assert made.parameters["task"].string_value == "curve"


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
def test_what_is_not_there_is_not_described(registry, method):
    kind = getattr(oip, f"{method}Request")
    for fields in ({"name": "curve"}, {"name": "curves", "version": "9"}):
        ((code, _),) = asked(registry, method, kind(**fields))
        assert code == "NOT_FOUND"


def test_statistics_count_what_was_answered(registry):
    async def run():
        async with serving(registry) as stub:
            for _ in range(3):
                await stub.ModelInfer(request({"values": VALUES}))
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.ModelInfer(request({"values": -VALUES}))
            everything = await stub.ModelStatistics(oip.ModelStatisticsRequest())
            mine = oip.ModelStatisticsRequest(name="curves", version="1")
            return everything, await stub.ModelStatistics(mine)

    everything, one = asyncio.run(run())
    assert everything.model_stats == one.model_stats
    (counted,) = one.model_stats
    stats = counted.inference_stats
    assert (counted.name, counted.version) == ("curves", "1")
    assert (counted.inference_count, counted.execution_count, stats.success.count) == (3, 3, 3)
    assert 0 < stats.compute_infer.ns < stats.success.ns
    assert [(batch.batch_size, batch.compute_infer.count) for batch in counted.batch_stats] == [
        (1, 3)
    ]
    assert counted.last_inference > 1.7e12
    parts = stats.compute_input, stats.compute_infer, stats.compute_output
    assert [part.count for part in parts] == [3, 3, 3]  # perf_analyzer insists


def test_a_model_that_has_not_worked_has_done_nothing(registry):
    (told,) = asked(registry, "ModelStatistics", oip.ModelStatisticsRequest(name="curves"))
    (counted,) = told.model_stats
    assert (counted.inference_count, counted.inference_stats.success.ns) == (0, 0)


def test_the_index_tells_what_is_served(changing):
    async def run():
        async with serving(changing) as stub:

            async def index(**fields):
                told = await stub.RepositoryIndex(oip.RepositoryIndexRequest(**fields))
                return [(m.name, m.version, m.state, bool(m.reason)) for m in told.models]

            first = await index()
            await stub.RepositoryModelUnload(oip.RepositoryModelUnloadRequest(model_name="curves"))
            unloaded, ready = await index(), await index(ready=True)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(request({"values": VALUES}))
            await stub.RepositoryModelLoad(oip.RepositoryModelLoadRequest(model_name="curves"))
            await stub.ModelInfer(request({"values": VALUES}))
            return first, unloaded, ready, caught.value.code().name, await index()

    first, unloaded, ready, refused, again = asyncio.run(run())
    assert first == [("curves", "1", "READY", False), ("curves", "2", "READY", False)]
    assert unloaded == [("curves", "1", "UNAVAILABLE", True), ("curves", "2", "UNAVAILABLE", True)]
    assert (ready, refused, again) == ([], "UNAVAILABLE", first)


def test_loading_and_unloading_return_when_all_workers_have_followed(changing):
    """As a worker, asked by another, would find the model in the registry."""
    seen = []

    async def follow():
        await asyncio.sleep(0.05)
        seen.append(changing.models()[0].served)

    async def run():
        async with serving(changing, follow=follow) as stub:
            await stub.RepositoryModelUnload(oip.RepositoryModelUnloadRequest(model_name="curves"))
            assert seen == [False]
            await stub.RepositoryModelLoad(oip.RepositoryModelLoadRequest(model_name="curves"))
            assert seen == [False, True]

    asyncio.run(run())


def test_loading_is_for_administrators(registry):
    user = Known(Scope.PREDICT)
    load = oip.RepositoryModelLoadRequest(model_name="curves")
    unload = oip.RepositoryModelUnloadRequest(model_name="curves")
    for method, made in (("RepositoryModelLoad", load), ("RepositoryModelUnload", unload)):
        ((code, _),) = asked(registry, method, made, gate=user)
        assert code == "PERMISSION_DENIED"


def test_a_load_takes_nothing_that_would_be_ignored(registry):
    made = oip.RepositoryModelLoadRequest(model_name="curves")
    made.parameters["config"].string_param = "{}"
    named = oip.RepositoryModelLoadRequest(model_name="curves", repository_name="mine")
    missing = oip.RepositoryModelLoadRequest(model_name="curve")
    answers = asked(registry, "RepositoryModelLoad", made, named, missing)
    assert [code for code, _ in answers] == ["INVALID_ARGUMENT", "INVALID_ARGUMENT", "NOT_FOUND"]


def test_shared_memory_is_empty_and_stays_so(registry):
    for kind in ("System", "Cuda"):
        name = f"{kind}SharedMemory"
        (status, unknown) = asked(
            registry,
            f"{name}Status",
            getattr(oip, f"{name}StatusRequest")(),
            getattr(oip, f"{name}StatusRequest")(name="mine"),
        )
        assert len(status.regions) == 0
        assert unknown[0] == "NOT_FOUND"
        ((code, _),) = asked(registry, f"{name}Register", getattr(oip, f"{name}RegisterRequest")())
        assert code == "UNIMPLEMENTED"
        gone = asked(registry, f"{name}Unregister", getattr(oip, f"{name}UnregisterRequest")())
        assert gone == [getattr(oip, f"{name}UnregisterResponse")()]


def test_trace_and_log_settings_are_told_and_not_changed(registry):
    same, other, unknown = (oip.TraceSettingRequest() for _ in range(3))
    same.settings["trace_level"].value.append("OFF")
    other.settings["trace_level"].value.append("TIMESTAMPS")
    unknown.settings["colour"].value.append("red")
    told, *refused = asked(registry, "TraceSetting", same, other, unknown)
    assert list(told.settings["trace_level"].value) == ["OFF"]
    assert [code for code, _ in refused] == ["UNIMPLEMENTED", "INVALID_ARGUMENT"]
    changed, unknown = oip.LogSettingsRequest(), oip.LogSettingsRequest()
    changed.settings["log_verbose_level"].uint32_param = 1
    unknown.settings["colour"].bool_param = True
    told, *refused = asked(
        registry, "LogSettings", oip.LogSettingsRequest(), changed, unknown, log="errors"
    )
    assert not told.settings["log_info"].bool_param
    assert told.settings["log_error"].bool_param
    assert [code for code, _ in refused] == ["UNIMPLEMENTED", "INVALID_ARGUMENT"]
