"""Requests of sequences, unary and streamed, as clients of the protocol send them."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest

from foretoken.proto import grpc_service as oip
from foretoken.server.registry.registry import Registry
from tests.server.doors.oip.door import arrays, request, serving, set_parameters
from tests.toy_families import toy_families

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def registry(tmp_path_factory, published, tiny_lcpfn):
    """A recurrent "toy", and "curves", which keep no state."""
    from foretoken.models.artefact import Artefact

    folder = tmp_path_factory.mktemp("sequences")
    with toy_families(folder), Registry.open(folder / "data") as registry:
        registry.register("toy", published("recurrent"))
        registry.register("curves", Artefact.read(tiny_lcpfn))
        yield registry


@pytest.fixture
def series():
    return np.random.default_rng(3).standard_normal((40, 2))


def of(values, sequence=7, model="toy", *, outputs=(), request_id="", **parameters):
    """A request of a sequence; ``start``, ``end`` and ``step`` stand for their parameters."""
    made = request({"values": np.atleast_2d(values)}, model, outputs=outputs, id=request_id)
    given = {"sequence_id": sequence} if sequence is not None else {}
    for name, value in parameters.items():
        given[f"sequence_{name}" if name in ("start", "end", "step") else name] = value
    set_parameters(made, given)
    return made


async def whole(stub, values):
    """What the model answers to a whole sequence at once."""
    answer = await stub.ModelInfer(of(values, None))
    return arrays(answer)["y"]


async def refused(coming):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await coming
    return caught.value.code().name, caught.value.details()


def test_a_sequence_is_answered_request_by_request(registry, series):
    async def run():
        async with serving(registry) as stub:
            flags = [{"start": True}, {}, {}, {"end": True}]
            parts = [series[:1], series[1:2], series[2:9], series[9:10]]
            answers = [
                await stub.ModelInfer(of(part, request_id=str(i), **flag))
                for i, (part, flag) in enumerate(zip(parts, flags, strict=True))
            ]
            got = np.concatenate([arrays(answer)["y"] for answer in answers])
            np.testing.assert_allclose(got, await whole(stub, series[:10]), **CLOSE)
            assert [answer.id for answer in answers] == ["0", "1", "2", "3"]
            assert {(a.model_name, a.model_version) for a in answers} == {("toy", "1")}
            steps = [answer.parameters["sequence_step"].int64_param for answer in answers]
            assert steps == [1, 2, 9, 10]
            assert stub.plane.sessions.live == 0

    asyncio.run(run())


@pytest.mark.parametrize("sequence", [7, "seven", 1 << 62])
def test_starts_and_ends_mean_what_they_say(registry, series, sequence):
    async def run():
        async with serving(registry) as stub:

            async def ask(values, **flags):
                return arrays(await stub.ModelInfer(of(values, sequence, **flags)))["y"]

            code, details = await refused(ask(series[0]))
            assert (code, "sequence_start = true" in details) == ("INVALID_ARGUMENT", True)
            await ask(series[5:9], start=True)
            first = await ask(series[0], start=True)
            np.testing.assert_allclose(first, await whole(stub, series[:1]), **CLOSE)
            assert stub.plane.sessions.live == 1
            both = await ask(series[:3], start=True, end=True)
            np.testing.assert_allclose(both, await whole(stub, series[:3]), **CLOSE)
            assert stub.plane.sessions.live == 0
            assert (await refused(ask(series[0], end=True)))[0] == "INVALID_ARGUMENT"

    asyncio.run(run())


def test_a_stream_answers_in_order_and_outlives_refusals(registry, series):
    """Sequences side by side, and errors as answers of their own requests."""

    async def run():
        async with serving(registry) as stub:
            requests = [
                of(series[i], each, request_id=f"{each}-{i}", start=i == 0, end=i == 7)
                for i in range(8)
                for each in (1, 2, "three")
            ]
            requests.insert(11, of(series[0], 9, request_id="unknown"))
            requests.insert(17, of([0.0, np.nan], 1, request_id="wrong", colour="red"))
            answers = [each async for each in stub.ModelStreamInfer(iter(requests))]
            assert [each.infer_response.id for each in answers] == [each.id for each in requests]
            errors = {a.infer_response.id: a.error_message for a in answers if a.error_message}
            assert set(errors) == {"unknown", "wrong"}
            assert "there is no sequence 9 of model 'toy'" in errors["unknown"]
            assert "by the request that starts it" in errors["wrong"]
            wanted = await whole(stub, series[:8])
            for each in ("1", "2", "three"):
                got = [
                    arrays(answer.infer_response)["y"]
                    for answer in answers
                    if answer.infer_response.id.startswith(f"{each}-")
                ]
                np.testing.assert_allclose(np.concatenate(got), wanted, **CLOSE)
            assert stub.plane.sessions.live == 0

    asyncio.run(run())


def test_options_come_with_the_start(registry, series):
    async def run():
        async with serving(registry) as stub:
            wanted = await whole(stub, series[:2])
            started = of(series[0], start=True, scale=3, deterministic=True)
            first = await stub.ModelInfer(started)
            second = await stub.ModelInfer(of(series[1]))
            got = np.concatenate([arrays(first)["y"], arrays(second)["y"]])
            np.testing.assert_allclose(got, 3 * wanted, **CLOSE)
            for given, told in (
                ({"scale": 2.0}, "by the request that starts it"),
                ({"start": True, "colour": "red"}, "no such options: colour; there is scale"),
                ({"start": True, "deterministic": 1}, "'deterministic' must be a bool"),
                ({"start": True, "durable": "yes"}, "'durable' must be a bool"),
                ({"start": True, "checkpoint_every": -1}, "'checkpoint_every' must be an integer"),
                ({"start": True, "scale": True}, "'scale' must be a number or a string"),
            ):
                code, details = await refused(stub.ModelInfer(of(series[2], **given)))
                assert (code, told in details) == ("INVALID_ARGUMENT", True), details
            third = await stub.ModelInfer(of(series[2], end=True))
            got = arrays(third)["y"]
            np.testing.assert_allclose(got, 3 * (await whole(stub, series[:3]))[2:], **CLOSE)

    asyncio.run(run())


def test_a_whole_sequence_takes_options_too(registry, series):
    async def run():
        async with serving(registry) as stub:
            plain, scaled = [
                arrays(await stub.ModelInfer(of(series, None, **given)))["y"]
                for given in ({}, {"scale": 2.0})
            ]
            np.testing.assert_allclose(scaled, 2 * plain, **CLOSE)
            code, details = await refused(stub.ModelInfer(of(series, None, colour="red")))
            assert (code, "no such options: colour" in details) == ("INVALID_ARGUMENT", True)

    asyncio.run(run())


def test_a_durable_sequence_says_which_step_is_safe(registry, series):
    async def run():
        async with serving(registry) as stub:
            made = of(series[0], start=True, durable=True, checkpoint_every=2)
            answers = [await stub.ModelInfer(made)]
            for row in series[1:6]:
                answers.append(await stub.ModelInfer(of(row, step=len(answers))))
                await asyncio.sleep(0.05)
            safe = [answer.parameters["sequence_durable_step"].int64_param for answer in answers]
            assert safe == sorted(safe)
            assert 2 <= safe[-1] < 6
            code, details = await refused(stub.ModelInfer(of(series[6], step=5)))
            assert (code, "has had 6 observations" in details) == ("FAILED_PRECONDITION", True)
            await stub.ModelInfer(of(series[6], end=True))
            assert stub.plane.sessions.open_sessions == 0

    asyncio.run(run())


def test_outputs_are_chosen_as_always(registry, series):
    async def run():
        async with serving(registry) as stub:
            answer = await stub.ModelInfer(of(series[0], start=True, outputs=["y"]))
            assert list(arrays(answer)) == ["y"]
            wrong = of(series[1], outputs=["z"])
            code, details = await refused(stub.ModelInfer(wrong))
            assert code == "INVALID_ARGUMENT"
            assert details.startswith("no output 'z'; there are y.")
            assert "the sequence is at step 2" in details

    asyncio.run(run())


def test_models_without_a_state_keep_no_sequences(registry):
    async def run():
        async with serving(registry) as stub:
            for start in (True, False):
                made = of(np.zeros((1, 1)), 7, "curves", start=start)
                code, details = await refused(stub.ModelInfer(made))
                assert (code, "recurrent" in details) == ("UNIMPLEMENTED", True)
            code, details = await refused(stub.ModelInfer(of([0.0, 0], 7, "none", start=True)))
            assert (code, "no model 'none'" in details) == ("NOT_FOUND", True)

    asyncio.run(run())


def test_recurrent_models_say_that_they_batch_sequences(registry):
    async def run():
        async with serving(registry, session_ttl=60.0) as stub:
            asked = [
                await stub.ModelConfig(oip.ModelConfigRequest(name=name))
                for name in ("toy", "curves")
            ]
            return [each.config for each in asked]

    toy, curves = asyncio.run(run())
    assert toy.WhichOneof("scheduling_choice") == "sequence_batching"
    assert toy.sequence_batching.max_sequence_idle_microseconds == 60_000_000
    assert toy.sequence_batching.WhichOneof("strategy_choice") == "oldest"
    assert curves.WhichOneof("scheduling_choice") == "dynamic_batching"
