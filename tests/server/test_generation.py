"""Generation by a plane: from a folder or a training run, over the registry, to tokens."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.cola import FAMILY
from foretoken.models.cola.model import ColaConfig, ColaModel
from foretoken.models.cola.vocabulary import EOS, VOCABULARY
from foretoken.models.generation import Sampling
from foretoken.models.tasks import GenerationRequest, Token
from foretoken.server.local import LocalPlane
from foretoken.server.publish import check, halved, publish, quantised
from foretoken.server.registry.options import ServingOptions
from foretoken.server.registry.registry import Registry
from foretoken.server.runtimes.torch import TorchRuntime
from foretoken.server.settings import load_settings

CONFIG = {
    **FAMILY.small,
    "shape": {**FAMILY.small["shape"], "vocab": len(VOCABULARY)},
    "tokenizer": len(VOCABULARY.tokenizer_json()),
    "generation": {"ends": [EOS], "sample": False},
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(4)
    made = ColaModel(ColaConfig.of(CONFIG)).eval()
    for weights in made.parameters():
        torch.nn.init.normal_(weights, std=0.4)
    kept = torch.frombuffer(bytearray(VOCABULARY.tokenizer_json()), dtype=torch.uint8)
    made.tokenizer.json.copy_(kept)
    return made


@pytest.fixture(scope="module")
def artefact(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cola")
    save_file(model.state_dict(), folder / WEIGHTS)
    Artefact("cola", CONFIG, {}).write(folder)
    return Artefact.read(folder)


@pytest.fixture
def registry(tmp_path, artefact):
    with Registry.open(tmp_path / "data") as registry:
        registry.register("sums", artefact)
        yield registry


@pytest.fixture
def plane(registry):
    with LocalPlane(registry, load_settings()) as plane:
        yield plane


@torch.no_grad()
def greedy(model, prompt, most, chain=None):
    ids = VOCABULARY.encode(prompt)
    for _ in range(most):
        ids.append(int(model(torch.tensor([ids]), chain)[0, -1].argmax()))
        if ids[-1] == EOS:
            break
    return ids[len(VOCABULARY.encode(prompt)) :]


def test_prompts_are_continued_by_their_own_chains(plane, model):
    chains = [None, (0, 0, 1, 2), (2,), (1, 0)]
    asked = [GenerationRequest("12+34=", 9, chain=chain, logprobs=2) for chain in chains]
    for request, reply in zip(asked, plane.predict("sums", asked), strict=True):
        ids = greedy(model, "12+34=", 9, request.chain)
        assert [token.id for token in reply.tokens] == ids
        assert reply.text == VOCABULARY.decode(ids)
        assert reply.chain == (request.chain or (0, 1, 2))
        assert reply.finish == ("stop" if ids[-1] == EOS else "length")
        assert all(len(token.likeliest) == 2 for token in reply.tokens)
    (again,) = plane.predict("sums", [GenerationRequest("12+34=" * 4, 2)])
    (hit,) = plane.predict("sums", [GenerationRequest("12+34=" * 4, 2)])
    assert (again.reused, hit.reused) == (0, 16)
    assert hit.tokens == again.tokens or [t.id for t in hit.tokens] == [t.id for t in again.tokens]


def test_tokens_are_told_as_they_come(plane):
    heard: list[tuple[int, Token]] = []
    asked = [GenerationRequest("1+2=", 5), GenerationRequest("7*8=", 5, Sampling(1.0, seed=3))]
    work = plane.plane.predict("sums", asked, emit=lambda i, token: heard.append((i, token)))
    replies = plane.run(work).replies
    for i, reply in enumerate(replies):
        assert [token for j, token in heard if j == i] == list(reply.tokens)


def test_bad_requests_are_refused_and_leave_nothing(plane):
    for request, message in (
        (GenerationRequest("1", 64), "positions for 64"),
        (GenerationRequest("1", 3, chain=(3,)), "layers are 0 to 2"),
        (GenerationRequest("é", 3), "cannot be told"),
    ):
        with pytest.raises(InvalidInput, match=message):
            plane.predict("sums", [request])
    generator = plane.run(plane.plane.describe("sums")).generator
    assert generator.blocks.free == generator.blocks.count


def test_a_caller_that_goes_frees_its_blocks(plane):
    loaded = plane.run(plane.plane.describe("sums"))

    async def left():
        began = asyncio.Event()
        asked = GenerationRequest(np.array([1, 2]), 60, chain=(0, 1, 2) * 4)
        task = asyncio.ensure_future(
            plane.plane.predict("sums", [asked], emit=lambda _i, _token: began.set())
        )
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while loaded.generator.busy:
            await asyncio.sleep(0.005)

    plane.run(left())
    assert loaded.generator.blocks.free == loaded.generator.blocks.count


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8"])
def test_narrower_versions_are_close(registry, tmp_path, precision):
    parent = registry.register("wide", wide(tmp_path))
    source, out = registry.artefact(parent), tmp_path / "out"
    made = (
        quantised(source, out) if precision == "int8" else halved(source, out, precision=precision)
    )
    registry.register("narrow", made, parent=parent, relation="quantised-from", check=check)
    request = GenerationRequest("12+34=", 6, chain=(0, 1, 1, 2), logprobs=20)
    prompt = GenerationRequest("12+34=", 1, logprobs=20)
    with LocalPlane(registry, load_settings()) as plane:
        full, half = (plane.predict(name, [prompt])[0] for name in ("wide", "narrow"))
        wanted, got = dict(full.tokens[0].likeliest), dict(half.tokens[0].likeliest)
        both = wanted.keys() & got.keys()
        assert len(both) > 12
        assert 0 < max(abs(wanted[i] - got[i]) for i in both) < 0.3
        pool = plane.run(plane.plane.describe("narrow")).generator.pool
        assert pool.keys.dtype == TorchRuntime("cpu").load(made, FAMILY, 1).dtype
        # Other company, other chains and what is kept change nothing that is heard.
        alone = plane.predict("narrow", [request])[0]
        again = plane.predict("narrow", [request, prompt])[0]
        assert [len(alone.tokens), alone.chain] == [6, (0, 1, 1, 2)]
        for one, other in zip(alone.tokens, again.tokens, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=0.1)
    registry.set_options("narrow", ServingOptions(runtime="onnx"))
    with LocalPlane(registry, load_settings()) as plane, pytest.raises(Unsupported, match="torch"):
        plane.predict("narrow", [prompt])


def wide(folder):
    """A model like the others', with matrices that are large enough for int8."""
    shape = {**CONFIG["shape"], "width": 64, "head_width": 16, "mlp": 96}
    config = {**CONFIG, "shape": shape, "generation": {"ends": [], "sample": False}}
    torch.manual_seed(5)
    made = ColaModel(ColaConfig.of(config)).eval()
    for weights in made.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    kept = torch.frombuffer(bytearray(VOCABULARY.tokenizer_json()), dtype=torch.uint8)
    made.tokenizer.json.copy_(kept)
    save_file(made.state_dict(), folder / WEIGHTS)
    return Artefact("cola", config, {WEIGHTS: folder / WEIGHTS})


def test_only_torch_runs_layers(registry):
    version = registry.resolve("sums")
    registry.set_options("sums", ServingOptions(runtime="onnx"))
    with LocalPlane(registry, load_settings()) as plane, pytest.raises(Unsupported, match="torch"):
        plane.predict(version.ref, [GenerationRequest("1", 1)])


def test_it_is_published_without_graphs_and_checked_by_its_module(artefact, tmp_path):
    made = publish(artefact, tmp_path / "published")
    assert set(made.files) == {WEIGHTS}
    check(made)
    wider = {**CONFIG, "shape": {**CONFIG["shape"], "mlp": 25}}
    with pytest.raises(InvalidInput, match="does not hold the weights"):
        check(replace(made, config=wider))


def test_a_version_decodes_a_token_before_it_serves(plane):
    loaded = plane.run(plane.plane.describe("sums"))
    assert loaded.generator.turns > 0
