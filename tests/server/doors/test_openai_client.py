"""OpenAI's API on the HTTP port, by OpenAI's own client."""

from __future__ import annotations

import asyncio
import base64

import numpy as np
import pytest

from tests.server.doors.openai_port import port, registered, vectors


@pytest.fixture(scope="module")
def registry(tmp_path_factory, published):
    with registered(tmp_path_factory.mktemp("openai"), published) as registry:
        yield registry


@pytest.fixture
def openai():
    return pytest.importorskip("openai", reason="openai, which is a development package, is absent")


def by_client(registry, openai, ask, key="unused", **given):
    """What ``ask`` gives for a client of OpenAI's of a port."""

    async def answer():
        async with port(registry, **given) as running:
            client = openai.OpenAI(base_url=running.url, api_key=key, max_retries=0)
            expected = await vectors(running, "one", "two")
            with client:
                return await asyncio.to_thread(ask, client), expected

    return asyncio.run(answer())


@pytest.mark.parametrize("form", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_openai_s_client_gets_the_vectors(registry, openai, form):
    made, expected = by_client(
        registry,
        openai,
        lambda client: client.embeddings.create(model="toy", input=["one", "two"], **form),
    )
    found = [each.embedding for each in made.data]
    if form.get("encoding_format") == "base64":
        found = [np.frombuffer(base64.b64decode(each), "<f4") for each in found]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (made.usage.prompt_tokens, made.usage.total_tokens) == (6, 6)
    assert (made.model, [each.index for each in made.data]) == ("toy:1", [0, 1])


def test_openai_s_client_has_options_models_and_a_request_id(registry, openai):
    def ask(client):
        made = client.embeddings.create(
            model="toy",
            input="x" * 40,
            dimensions=8,
            user="me",
            extra_body={"truncate": "end", "prompt": "q"},
        )
        raw = client.embeddings.with_raw_response.create(model="toy", input="a")
        return made, [model.id for model in client.models.list()], raw.headers["x-request-id"]

    (made, models, request_id), _ = by_client(registry, openai, ask, key="ftk_good")
    assert (len(made.data[0].embedding), made.cut) == (8, [9])
    assert models == ["curves", "theirs", "toy"]
    assert request_id


@pytest.mark.parametrize(
    ("fields", "key", "kind", "param", "code"),
    [
        ({"input": [1, 2, 3]}, "unused", "BadRequestError", "input", None),
        ({"input": [[1, 2]]}, "unused", "BadRequestError", "input", None),
        ({"input": []}, "unused", "BadRequestError", "input", None),
        ({"dimensions": 5}, "unused", "BadRequestError", None, None),
        ({"input": "x" * 50}, "unused", "BadRequestError", None, None),
        ({"model": "nobody"}, "unused", "NotFoundError", None, "model_not_found"),
        ({}, "ftk_bad", "AuthenticationError", None, "invalid_api_key"),
        ({}, "ftk_other", "PermissionDeniedError", None, None),
        ({}, "ftk_often", "RateLimitError", None, "rate_limit_exceeded"),
    ],
)
def test_openai_s_client_raises_what_it_would(registry, openai, fields, key, kind, param, code):
    def ask(client):
        with pytest.raises(openai.APIStatusError) as caught:
            client.embeddings.create(**{"model": "toy", "input": "a", **fields})
        return caught.value

    error, _ = by_client(registry, openai, ask, key)
    assert type(error).__name__ == kind
    assert (error.type, error.param, error.code) == ("invalid_request_error", param, code)
    assert error.body["message"]
