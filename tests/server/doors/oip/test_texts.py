"""Texts over the protocol, by a real model; and by Triton's own client."""

from __future__ import annotations

import asyncio
import json

import grpc
import numpy as np
import pytest

from benchmarks.load.peers import ABSENT, TRITON
from foretoken.models.tasks import TextRequest
from foretoken.proto import grpc_service as oip
from foretoken.proto import model_config as config
from foretoken.server.registry.registry import Registry
from tests.asynchronous import awaited
from tests.server.doors.oip.door import arrays, request, serving
from tests.server.doors.oip.test_triton import output
from tests.toy_families import toy_families

TEXTS = np.array([b"one", "zw\u00f6lf".encode(), b"", b"a long text " * 4], object)
WIDTH, LIMIT = 16, 32  # of the toy


@pytest.fixture(scope="module")
def texts(tmp_path_factory, published):
    folder = tmp_path_factory.mktemp("texts")
    with toy_families(folder), Registry.open(folder / "data") as registry:
        registry.register("toy", published("stateless"))
        yield registry


async def expected(stub, **fields):
    asked = TextRequest(tuple(text.decode() for text in TEXTS), **fields)
    return (await stub.plane.predict("toy", [asked])).replies[0]


@awaited
async def test_metadata_tells_the_tensor_and_the_limits(texts):
    async with serving(texts, texts=9) as stub:
        metadata = await stub.ModelMetadata(oip.ModelMetadataRequest(name="toy"))
        assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [
            ("text", "BYTES", [-1])
        ]
        assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [
            ("embedding", "FP32", [-1, -1]),
            ("tokens", "INT64", [-1]),
            ("cut", "INT64", [-1]),
        ]
        told = metadata.properties
        assert (told["task"], told["limits.texts"]) == ("text", "9")
        assert told["limits.text_bytes"] == str(4 << 20)
        made = (await stub.ModelConfig(oip.ModelConfigRequest(name="toy"))).config
        assert [each.data_type for each in made.input] == [config.TYPE_STRING]
        assert [list(each.dims) for each in made.output] == [[-1, -1], [-1], [-1]]


@pytest.mark.parametrize("raw", [True, False])
@awaited
async def test_texts_are_embedded(texts, raw):
    async with serving(texts) as stub:
        made = request({"text": TEXTS}, "toy", id="mine")
        if not raw:
            made.inputs[0].contents.bytes_contents.extend(TEXTS.tolist())
            del made.raw_input_contents[:]
        response = await stub.ModelInfer(made)
        assert (response.model_name, response.model_version, response.id) == ("toy", "1", "mine")
        found, wanted = arrays(response), await expected(stub)
        np.testing.assert_allclose(found["embedding"], wanted.vectors, atol=1e-6)
        assert found["tokens"].tolist() == [3, 6, 0, LIMIT]
        assert found["cut"].tolist() == [0, 0, 0, 16]


@awaited
async def test_parameters_and_outputs_are_chosen(texts):
    async with serving(texts) as stub:
        given = {"dimensions": WIDTH // 2, "prompt": "query: "}
        made = request({"text": TEXTS}, "toy", outputs=["embedding"], parameters=given)
        found, wanted = arrays(await stub.ModelInfer(made)), await expected(stub, **given)
        assert list(found) == ["embedding"]
        np.testing.assert_allclose(found["embedding"], wanted.vectors, atol=1e-6)


@awaited
async def test_streams_embed_too(texts):
    async with serving(texts) as stub:
        asked = [request({"text": TEXTS[i : i + 1]}, "toy", id=str(i)) for i in range(len(TEXTS))]
        wanted = (await expected(stub)).vectors
        answers = [answer async for answer in stub.ModelStreamInfer(iter(asked))]
        for i, answer in enumerate(answers):
            assert (answer.error_message, answer.infer_response.id) == ("", str(i))
            found = arrays(answer.infer_response)["embedding"]
            np.testing.assert_allclose(found, wanted[i : i + 1], atol=1e-6)


@pytest.mark.parametrize(
    ("given", "parameters", "told"),
    [
        (TEXTS[:0], {}, "texts must not be empty"),
        (np.array([b"a", b"\xff"], object), {}, "element 1 is not UTF-8"),
        (TEXTS, {"dimensions": 5}, "dimensions are 16 or 8, not 5"),
        (TEXTS, {"dimensions": -1}, "dimensions must be 1 or more"),
        (TEXTS, {"truncate": "error"}, "text 3 has 48 tokens, of which toy reads 32"),
        (TEXTS, {"truncate": "start"}, "'end' or 'error'"),
        (TEXTS, {"normalise": True}, "no such parameters: normalise"),
        (np.array([b"a"] * 10, object), {}, "10 texts are more than this server takes, 9 (texts)"),
        (np.array([b"a" * 400], object), {}, "300 (text_bytes)"),
    ],
)
def test_what_is_refused(texts, given, parameters, told):
    async def ended():
        async with serving(texts, texts=9, text_bytes=300) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(request({"text": given}, "toy", parameters=parameters))
            return caught.value

    error = asyncio.run(ended())
    assert error.code().name == "INVALID_ARGUMENT"
    assert told in error.details()


SESSION = """
import json, sys
import numpy as np
import tritonclient.grpc as triton

client = triton.InferenceServerClient(sys.argv[1])
texts = np.array(["one", "zw\\u00f6lf", ""], dtype=object)
given = triton.InferInput("text", [3], "BYTES")
given.set_data_from_numpy(texts)
answer = client.infer("toy", [given], parameters={"dimensions": 8})
print(json.dumps({
    "inputs": client.get_model_metadata("toy", as_json=True)["inputs"],
    "embedding": answer.as_numpy("embedding").tolist(),
    "tokens": answer.as_numpy("tokens").tolist(),
    "cut": answer.as_numpy("cut").tolist(),
}))
"""


@pytest.mark.peers
@pytest.mark.skipif(not TRITON.exists(), reason=ABSENT)
@awaited
async def test_triton_s_client_embeds(texts):
    async with serving(texts) as stub:
        told = json.loads(await output(TRITON, "-c", SESSION, stub.address))
        wanted = (await expected(stub, dimensions=8)).vectors[:3]
    assert told["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}]
    np.testing.assert_allclose(told["embedding"], wanted, atol=1e-6)
    assert (told["tokens"], told["cut"]) == ([3, 6, 0], [0, 0, 0])
