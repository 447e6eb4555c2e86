"""Generation over the protocol: prompts in, texts and tokens out; and by Triton's own client."""

from __future__ import annotations

import asyncio
import json
import re

import grpc
import numpy as np
import pytest

from benchmarks.load.peers import ABSENT, PERF_ANALYZER, TRITON
from foretoken.models.cola.vocabulary import VOCABULARY
from foretoken.models.generation import Sampling
from foretoken.models.tasks import GenerationRequest
from foretoken.proto import grpc_service as oip
from foretoken.proto import model_config as config
from tests.asynchronous import awaited
from tests.generating import greedy, registered
from tests.server.doors.oip.door import request, serving
from tests.server.doors.oip.test_triton import output

PROMPT = "12+34="
IDS = VOCABULARY.encode(PROMPT)
TEXT = {"text_input": np.array([PROMPT.encode()], object)}
TOKENS = {"input_ids": np.array(IDS)}


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with registered(tmp_path_factory.mktemp("generation")) as registry:
        yield registry


def answered(response):
    """Text, tokens and their log-probabilities of a response."""
    text, ids, logprobs = response.raw_output_contents
    assert [(t.name, t.datatype) for t in response.outputs] == [
        ("text_output", "BYTES"),
        ("output_ids", "INT64"),
        ("logprobs", "FP32"),
    ]
    count = len(ids) // 8
    assert [list(t.shape) for t in response.outputs] == [[1], [count], [count]]
    assert int.from_bytes(text[:4], "little") == len(text) - 4
    return text[4:].decode(), np.frombuffer(ids, "<i8"), np.frombuffer(logprobs, "<f4")


@awaited
async def test_metadata_tells_the_tensors(registry):
    async with serving(registry) as stub:
        told = await stub.ModelMetadata(oip.ModelMetadataRequest(name="sums"))
        names = ["text_input", "input_ids", "chain", "ends", "stop"]
        kinds = ["BYTES", "INT64", "INT64", "INT64", "BYTES"]
        assert [(t.name, t.datatype) for t in told.inputs] == [*zip(names, kinds, strict=True)]
        assert [list(t.shape) for t in (*told.inputs, *told.outputs)] == [[-1]] * 8
        assert [t.name for t in told.outputs] == ["text_output", "output_ids", "logprobs"]
        assert told.properties["task"] == "generation"
        assert told.properties["limits.text_bytes"] == str(4 << 20)
        made = (await stub.ModelConfig(oip.ModelConfigRequest(name="sums"))).config
        assert all(each.optional for each in made.input)
        assert [each.data_type for each in made.output] == [
            config.TYPE_STRING,
            config.TYPE_INT64,
            config.TYPE_FP32,
        ]
        assert made.max_batch_size == 0


@pytest.mark.parametrize("given", [TEXT, TOKENS], ids=["text", "tokens"])
@awaited
async def test_prompts_are_continued(registry, given):
    async with serving(registry) as stub:
        response = await stub.ModelInfer(request(given, "sums", id="mine"))
        assert (response.model_name, response.model_version, response.id) == ("sums", "1", "mine")
        text, ids, logprobs = answered(response)
        wanted = greedy(IDS, 16)
        assert (text, ids.tolist()) == (VOCABULARY.decode(wanted), wanted)
        (reply,) = (await stub.plane.predict("sums", [GenerationRequest(PROMPT, 16)])).replies
        np.testing.assert_allclose(logprobs, [t.logprob for t in reply.tokens], atol=1e-5)


@awaited
async def test_parameters_chains_and_outputs_are_chosen(registry):
    async with serving(registry) as stub:
        given = {**TEXT, "chain": np.array([0, 0, 2], np.int32), "ends": np.array([9])}
        said = {"max_tokens": 8, "temperature": 0.9, "top_k": 30, "top_p": 0.95, "min_p": 0.01}
        said |= {"repetition_penalty": 1.1, "seed": 11}
        _, ids, _ = answered(await stub.ModelInfer(request(given, "sums", parameters=said)))
        drawn = Sampling(0.9, 30, 0.95, 0.01, 1.1, 11)
        wanted = GenerationRequest(PROMPT, 8, drawn, (0, 0, 2), ends=(9,))
        (reply,) = (await stub.plane.predict("sums", [wanted])).replies
        assert ids.tolist() == [token.id for token in reply.tokens]
        response = await stub.ModelInfer(request(TEXT, "sums", outputs=["output_ids"]))
        assert [each.name for each in response.outputs] == ["output_ids"]
        whole, _, _ = answered(await stub.ModelInfer(request(TEXT, "sums")))
        stop = whole[4:6]
        many = {**TEXT, "stop": np.array([b"never", stop.encode()], object)}
        for made in (request(TEXT, "sums", parameters={"stop": stop}), request(many, "sums")):
            text, _, _ = answered(await stub.ModelInfer(made))
            assert text == whole[: whole.index(stop)]


@awaited
async def test_streams_answer_each_request_once(registry):
    async with serving(registry) as stub:
        prompts = ["1+2=", "é", "3*4="]
        asked = [
            request({"text_input": np.array([each.encode()], object)}, "sums", id=str(i))
            for i, each in enumerate(prompts)
        ]
        first, refused, last = [each async for each in stub.ModelStreamInfer(iter(asked))]
        for i, each in ((0, first), (2, last)):
            assert (each.error_message, each.infer_response.id) == ("", str(i))
            wanted = greedy(VOCABULARY.encode(prompts[i]), 16)
            assert answered(each.infer_response)[1].tolist() == wanted
        assert "cannot be told in this model's tokens" in refused.error_message


@pytest.mark.parametrize(
    ("given", "parameters", "told"),
    [
        ({}, {}, "a prompt is the tensor 'text_input'"),
        ({**TEXT, **TOKENS}, {}, "give one of them"),
        ({"text_input": np.array([b"1", b"2"], object)}, {}, "2 elements; give one"),
        ({"text_input": np.array([b"\xff"], object)}, {}, "element 0 is not UTF-8"),
        ({"text_input": np.array([b"1" * 301], object)}, {}, "300 (text_bytes)"),
        ({"text_input": np.array([b"1" * 100], object)}, {}, "positions for 64"),
        ({"input_ids": np.array([], np.int64)}, {}, "at least one token"),
        ({"input_ids": np.array([1, 99])}, {}, "tokens are 0 to"),
        ({"input_ids": np.ones(201, np.int64)}, {}, "at most 200 tokens"),
        ({**TEXT, "chain": np.array([], np.int64)}, {}, "a chain has 1 to 12 layers, not 0"),
        ({**TEXT, "chain": np.array([0] * 13)}, {}, "a chain has 1 to 12 layers, not 13"),
        ({**TEXT, "chain": np.array([0, 3])}, {}, "position 1 is 3; layers are 0 to 2"),
        ({**TEXT, "chain": np.array([-1])}, {}, "layers are 0 to 2"),
        ({**TEXT, "chain": np.array([1.0])}, {}, "datatype 'FP64'"),
        ({**TEXT, "chain": np.zeros(201, np.int64)}, {}, "'chain' has 201 elements"),
        ({**TEXT, "ends": np.array([99])}, {}, "ends holds 99"),
        ({**TEXT, "stop": np.array([b""], object)}, {}, "none of them empty"),
        ({**TEXT, "stop": np.array([b"a"], object)}, {"stop": "b"}, "give one of them"),
        (TEXT, {"stop": 3}, "'stop' must be a string"),
        (TEXT, {"max_tokens": 0}, "max_tokens must be at least 1"),
        (TEXT, {"max_tokens": 64}, "positions for 64"),
        (TEXT, {"max_tokens": 1.5}, "'max_tokens' must be an integer"),
        (TEXT, {"max_tokens": True}, "'max_tokens' must be an integer"),
        (TEXT, {"temperature": -1.0}, "temperature must be 0 or more"),
        (TEXT, {"temperature": float("nan")}, "temperature must be 0 or more"),
        (TEXT, {"temperature": "hot"}, "'temperature' must be a number"),
        (TEXT, {"top_k": -1}, "top_k must be an integer of 0 or more"),
        (TEXT, {"top_p": 1.5}, "top_p must be above 0 and at most 1"),
        (TEXT, {"min_p": -0.5}, "min_p must be 0 to 1"),
        (TEXT, {"repetition_penalty": 0.0}, "repetition_penalty must be above 0"),
        (TEXT, {"seed": -1}, "seed must be an integer of 0"),
        (TEXT, {"echo": True}, "no such parameters: echo"),
    ],
)
def test_what_is_refused(registry, given, parameters, told):
    async def ended():
        async with serving(registry, text_bytes=300, request_tokens=200) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(request(given, "sums", parameters=parameters))
            return caught.value

    error = asyncio.run(ended())
    assert error.code().name == "INVALID_ARGUMENT"
    assert told in error.details()


@awaited
async def test_a_call_that_is_cancelled_frees_its_blocks(registry):
    async with serving(registry) as stub:
        generator = (await stub.plane.describe("sums")).generator
        given = {"input_ids": np.array([1]), "chain": np.array([0, 1, 2] * 4)}
        said = {"max_tokens": 63, "temperature": 2.0}
        call = stub.ModelInfer(request(given, "sums", parameters=said))
        async with asyncio.timeout(10):
            while generator.blocks.free == generator.blocks.count:
                await asyncio.sleep(0)
            call.cancel()
            while generator.busy or generator.blocks.free < generator.blocks.count:
                await asyncio.sleep(0.005)
        assert call.cancelled()


SESSION = """
import json, sys
import numpy as np
import tritonclient.grpc as triton

client = triton.InferenceServerClient(sys.argv[1])
text = triton.InferInput("text_input", [1], "BYTES")
text.set_data_from_numpy(np.array(["12+34="], dtype=object))
chain = triton.InferInput("chain", [2], "INT64")
chain.set_data_from_numpy(np.array([0, 2]))
said = {"max_tokens": 5, "temperature": 0.0, "top_k": 3}
answer = client.infer("sums", [text, chain], parameters=said)
ids = triton.InferInput("input_ids", [1], "INT64")
ids.set_data_from_numpy(np.array([1]))
wanted = [triton.InferRequestedOutput("output_ids")]
other = client.infer("sums", [ids], outputs=wanted, parameters={"max_tokens": 2})
print(json.dumps({
    "inputs": [i["name"] for i in client.get_model_metadata("sums", as_json=True)["inputs"]],
    "decoupled": client.get_model_config("sums").config.model_transaction_policy.decoupled,
    "text": answer.as_numpy("text_output")[0].decode(),
    "ids": answer.as_numpy("output_ids").tolist(),
    "logprobs": answer.as_numpy("logprobs").tolist(),
    "other": other.as_numpy("output_ids").tolist(),
}))
"""
DATA = {"data": [{"text_input": {"content": [PROMPT], "shape": [1]}}]}


@pytest.mark.peers
@pytest.mark.skipif(not TRITON.exists(), reason=ABSENT)
@awaited
async def test_triton_s_client_generates(registry):
    async with serving(registry) as stub:
        told = json.loads(await output(TRITON, "-c", SESSION, stub.address))
    wanted = greedy(IDS, 5, (0, 2))
    assert told["inputs"][0] == "text_input"
    assert not told["decoupled"]
    assert (told["text"], told["ids"]) == (VOCABULARY.decode(wanted), wanted)
    assert len(told["logprobs"]) == len(wanted)
    assert max(told["logprobs"]) < 0
    assert told["other"] == greedy([1], 2)


@pytest.mark.peers
@pytest.mark.skipif(not TRITON.exists(), reason=ABSENT)
@pytest.mark.parametrize("streaming", [False, True], ids=["unary", "stream"])
@awaited
async def test_perf_analyzer_generates(registry, tmp_path, streaming):
    (tmp_path / "prompts.json").write_text(json.dumps(DATA))
    async with serving(registry, log="errors") as stub:
        options = ["-p", "500", "-r", "3", "-s", "999", *(["--streaming"] if streaming else [])]
        given = ["--input-data", tmp_path / "prompts.json"]
        where = ["-m", "sums", "-u", stub.address, "-i", "grpc"]
        told = (await output(PERF_ANALYZER, *where, *given, *options)).decode()
    (throughput,) = re.findall(r"throughput: ([\d.]+) infer/sec", told)
    assert float(throughput) > 0
