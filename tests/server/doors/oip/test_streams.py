"""ModelStreamInfer: order, errors as answers, cancellation."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest

from foretoken.server.doors.oip.streams import TURNS
from foretoken.server.security.gate import LOOK, TokenGate
from foretoken.server.security.limiter import Limiter
from foretoken.server.security.tokens import Wanted, create
from foretoken.server.settings import load_settings
from tests.server.doors.oip.door import arrays, connected, request, serving
from tests.server.doors.oip.fake import SlowPlane
from tests.server.doors.oip.test_infer import VALUES


async def exchanged(stub, requests, metadata=()):
    """All answers to ``requests``, sent at once."""
    call = stub.ModelStreamInfer(iter(requests), metadata=metadata)
    return [response async for response in call]


def streamed(registry, requests, metadata=()):
    async def run():
        async with serving(registry) as stub:
            return await exchanged(stub, requests, metadata)

    return asyncio.run(run())


def numbered(count):
    return [
        request({"values": VALUES[: 1 + i % 8]}, id=str(i), outputs=["steps"]) for i in range(count)
    ]


def test_answers_come_in_the_order_of_their_requests(registry):
    responses = streamed(registry, numbered(3 * TURNS))
    assert [r.infer_response.id for r in responses] == [str(i) for i in range(3 * TURNS)]
    for i, response in enumerate(responses):
        assert arrays(response.infer_response)["steps"][0] == 2 + i % 8


def test_an_error_is_the_answer_of_its_request_alone(registry):
    requests = numbered(3)
    requests[1].inputs[0].datatype = "INT8"
    first, second, third = streamed(registry, requests)
    assert (first.error_message, third.error_message) == ("", "")
    assert "'values' has the datatype 'INT8'" in second.error_message
    assert second.infer_response.id == "1"


def test_a_stream_of_a_revoked_token_ends_behind_what_it_asked_before(registry, tmp_path):
    secret, _ = create(registry.tokens, Wanted("ann"))
    shown = (("authorization", f"Bearer {secret}"),)

    async def run(limiter):
        gate = TokenGate(registry, load_settings(), limiter)
        async with serving(registry, gate=gate) as stub:
            call = stub.ModelStreamInfer(metadata=shown)
            await call.write(numbered(1)[0])
            assert (await call.read()).infer_response.id == "0"
            registry.tokens.revoke("ann")
            await asyncio.sleep(2 * LOOK)
            await call.write(numbered(1)[0])
            with pytest.raises(grpc.aio.AioRpcError, match="no valid token"):
                await call.read()

    limiter = Limiter(tmp_path / "limits")
    asyncio.run(run(limiter))
    limiter.close()


def test_an_error_ends_the_stream_where_the_caller_wants_it(registry):
    requests = numbered(4)
    requests[2].model_name = "curve"
    seen = []

    async def run():
        async with serving(registry) as stub:
            metadata = (("triton_grpc_error", "true"),)
            async for response in stub.ModelStreamInfer(iter(requests), metadata=metadata):
                seen.append(response.infer_response.id)  # noqa: PERF401 - as far as it came

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        asyncio.run(run())
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert seen == ["0", "1"]


def test_sequences_are_refused_request_by_request(registry):
    requests = numbered(2)
    requests[0].parameters["sequence_id"].int64_param = 3
    refused, answered = streamed(registry, requests)
    assert "sessions are of recurrent models" in refused.error_message
    assert answered.infer_response.id == "1"


def test_the_final_response_is_marked_where_that_is_asked_for(registry):
    requests = numbered(2)
    requests[0].parameters["triton_enable_empty_final_response"].bool_param = True
    marked, unmarked = streamed(registry, requests)
    assert marked.infer_response.parameters["triton_final_response"].bool_param
    assert not unmarked.infer_response.parameters


def test_requests_of_a_stream_run_side_by_side_within_a_bound():
    async def run():
        plane = SlowPlane()
        async with connected(plane, load_settings(), None) as stub:
            call = stub.ModelStreamInfer(iter(numbered(4 * TURNS)))
            await asyncio.wait_for(plane.reached(TURNS), 10)
            await asyncio.sleep(0.1)
            most = plane.running
            plane.release()
            return most, [response.infer_response.id async for response in call]

    most, ids = asyncio.run(run())
    assert TURNS <= most <= TURNS + 2
    assert ids == [str(i) for i in range(4 * TURNS)]


def test_a_cancelled_stream_leaves_nothing_running():
    async def run():
        plane = SlowPlane()
        async with connected(plane, load_settings(), None) as stub:
            call = stub.ModelStreamInfer(iter(numbered(10)))
            await asyncio.wait_for(plane.reached(10), 10)
            call.cancel()
            await asyncio.wait_for(plane.idle(), 10)
            return plane.running, plane.cancelled

    assert asyncio.run(run()) == (0, 10)


def test_the_deadline_of_a_request_in_a_stream_begins_with_it():
    async def run():
        plane = SlowPlane()
        plane.release()
        async with connected(plane, load_settings(deadline=5.0), None) as stub:
            await exchanged(stub, numbered(2))
            return [terms.left for terms in plane.terms]

    assert all(3 < left <= 5 for left in asyncio.run(run()))
    assert np.isfinite(asyncio.run(run())).all()
