"""Tokens are scored in company as they are alone, and keep nothing."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import torch

from foretoken.server.engine.generation.executor import SCORED
from tests.server.engine.generation import VOCAB, assert_uncached, continuation, generator, model


def test_scores_are_those_of_an_uncached_run_whatever_the_company():
    rng = random.Random(0)
    made = generator(chunk=4, active=64)
    writing = [made.add(continuation([i, 2, 3], (0, 1, 1, 2), 12)) for i in range(4)]
    asked = []
    for _ in range(12):
        ids = [rng.randrange(VOCAB) for _ in range(rng.randint(2, 30))]
        chain = [rng.randrange(4) for _ in range(rng.randint(1, 6))]
        asked.append(made.add(replace(continuation(ids, chain, 0), scored=True)))
        made.turn()
    for _ in made.run():
        pass
    for one in asked:
        with torch.no_grad():
            logits = model()(torch.tensor([one.work.ids]), one.work.chain)[0, :-1]
        wanted = logits.log_softmax(-1)
        ids = torch.tensor(one.work.ids)
        own = wanted.gather(1, ids[1:, None])[:, 0].numpy()
        np.testing.assert_allclose(one.reply.logprobs, own, atol=1e-5)
        assert one.reply.likeliest.tolist() == wanted.argmax(-1).tolist()
        assert one.reply.ids.tolist() == list(one.work.ids)
        assert one.reply.chain == one.work.chain
    for one in writing:
        assert_uncached(one.work, one.answer)
    assert made.blocks.free == made.blocks.count


def test_scoring_takes_no_blocks_and_reads_none_that_were_kept():
    made = generator(blocks=12)
    first = made.add(continuation(list(range(16)), (0, 1), 1))
    for _ in made.run():
        pass
    assert first.answer
    made.pool.keys.fill_(torch.nan)  # whoever reads what was kept would tell
    made.pool.values.fill_(torch.nan)
    scored = made.add(replace(continuation([*range(16), *range(16)] * 3, (0, 1), 0), scored=True))
    for _ in made.run():
        assert made.blocks.free == made.blocks.count
    assert np.isfinite(scored.reply.logprobs).all()


def test_long_texts_are_scored_without_the_logits_of_all_their_tokens(monkeypatch):
    rows = []
    module, logits = model(), model().logits

    def counted(h):
        rows.append(len(h))
        return logits(h)

    monkeypatch.setattr(module, "logits", counted)
    ids = [i % VOCAB for i in range(2 * SCORED + 2)]
    made = generator()
    one = made.add(replace(continuation(ids, (0, 1), 0), scored=True))
    for _ in made.run():
        pass
    assert rows == [SCORED, SCORED, 1]
    with torch.no_grad():
        wanted = module(torch.tensor([ids]), (0, 1))[0, :-1].log_softmax(-1)
    own = wanted.gather(1, torch.tensor(ids)[1:, None])[:, 0].numpy()
    np.testing.assert_allclose(one.reply.logprobs, own, atol=1e-5)
