"""Requests decoded by the Triton kernels on DEVICE; ``test_generation`` runs this file."""

from __future__ import annotations

import importlib
import os
from copy import deepcopy

import pytest
import torch

from foretoken.kernels.served import by_kernel
from foretoken.server.engine.generation.generator import Generator, Sizes
from tests.server.engine.generation import continuation, model, uncached

DEVICE = os.environ["DEVICE"]
PACKAGES = ("decode_attention", "rmsnorm", "rope", "swiglu")
pytestmark = pytest.mark.usefixtures("poisoned")


@pytest.fixture(autouse=True)
def served(monkeypatch):
    """Names of the packages whose kernels ran; on a CPU, which they serve for once."""
    found = set()
    for name in PACKAGES:

        def serves(*tensors, name=name):
            if DEVICE == "cpu" or by_kernel(*tensors):
                found.add(name)
                return True
            return False

        package = importlib.import_module(f"foretoken.kernels.{name}")
        monkeypatch.setattr(package, "by_kernel", serves)
    return found


@pytest.mark.parametrize("block", [1, 16])
def test_requests_of_any_chains_are_decoded_as_alone_without_a_cache(block, served):
    asked = [([3, 1, 4, 1, 5], (0, 1, 2, 3)), ([2], (1, 1, 0)), ([7, 3] * 11, (3, 0, 2, 2, 1))]
    works = [continuation(ids, chain, 4) for ids, chain in asked]
    wanted = [list(greedy(work)) for work in works]
    sizes = Sizes(blocks=400, block=block, chunk=8)
    made = Generator(deepcopy(model()).to(DEVICE), sizes, device=DEVICE)
    made.pool.keys.fill_(torch.nan)
    made.pool.values.fill_(torch.nan)
    served.clear()
    ongoing = [made.add(work) for work in works]
    for _ in made.run():
        pass
    assert served == set(PACKAGES)
    for one, its in zip(ongoing, wanted, strict=True):
        assert [token.id for token in one.answer] == [token for token, _ in its]
        logprobs = torch.tensor([token.logprob for token in one.answer])
        torch.testing.assert_close(logprobs, torch.tensor([p for _, p in its]), rtol=0, atol=1e-4)


def greedy(work):
    """The likeliest tokens, and what each is worth, by plain torch without a cache."""
    ids = work.ids
    with pytest.MonkeyPatch.context() as patch:
        for name in PACKAGES:
            package = importlib.import_module(f"foretoken.kernels.{name}")
            patch.setattr(package, "by_kernel", lambda *_: False)
        for _ in range(work.most):
            logprobs = uncached(ids, work.chain)
            token = int(logprobs.argmax())
            yield token, float(logprobs[token])
            ids = (*ids, token)
