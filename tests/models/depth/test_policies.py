"""Policies decide which chains are run, for any family that says how one of them is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foretoken.errors import InvalidInput, Unsupported
from foretoken.generated import best_of
from foretoken.models.contract import Emit, Host
from foretoken.models.depth import policies, requests
from foretoken.models.depth.chains import full
from foretoken.models.depth.chooser import BUCKETS, Chooser
from foretoken.models.depth.mcts import TreeSearch
from foretoken.models.depth.menus import Menu
from foretoken.models.depth.policies import ASKED, answered
from foretoken.models.depth.requests import SearchOptions, SearchRequest
from foretoken.models.depth.verifiers import Confident, Exact, Matches
from foretoken.models.generation import Continuation, Sampling, Together
from foretoken.models.layers.texts.reading import Unread
from foretoken.models.tasks import (
    GenerationReply,
    GenerationRequest,
    ScoreReply,
    ScoreRequest,
    Token,
)

END = 0


class Sums:
    """Answers with the digits of the sum of its chain, as tokens 1 to 10, then ends."""

    layers, longest = 4, 12

    def __init__(self, menu=None, ends=(END,)):
        self.menu, self.ends = menu, frozenset(ends)

    def continuation(self, request):
        if isinstance(request.prompt, str):
            ids = self.written("", request.prompt)
        else:
            ids = tuple(request.prompt.tolist())
        chain, sampling = request.chain or full(4), request.sampling.over({})
        return Continuation(ids, chain, request.max_tokens, sampling, self.ends, Unread())

    def scoring(self, request):
        ids = tuple(request.prompt.tolist())
        return Continuation(ids, full(4), 0, Sampling().over({}), frozenset(), Unread(), 0, True)

    def written(self, prompt, answer):
        if not answer.isdigit():
            raise InvalidInput("digits alone have tokens")
        return tuple(int(digit) + 1 for digit in answer)


class Engine:
    """Drives steps, and keeps what was asked for."""

    def __init__(self):
        self.asked, self.told = [], []

    def drive(self, steps):
        sent = None
        try:
            while True:
                what = steps.send(sent)
                if isinstance(what, Emit):
                    self.told.append(what.reply)
                    sent = ()
                elif isinstance(what, Host):
                    sent = what.work()
                elif isinstance(what, Together):
                    self.asked.append(what.works)
                    sent = [self.run(work) for work in what.works]
                else:
                    self.asked.append(what)
                    sent = self.run(what)
        except StopIteration as end:
            return end.value

    @staticmethod
    def run(work):
        said = [int(digit) + 1 for digit in str(sum(work.chain))]
        if work.scored:
            prompt = 3
            after = (said + [END] * len(work.ids))[: len(work.ids) - prompt]
            likeliest = np.array([END] * (prompt - 1) + after)
            ids = np.array(work.ids)
            return ScoreReply(ids, np.zeros(len(ids) - 1), likeliest, work.chain)
        tokens = [Token(i, str(i - 1), -0.5 / len(work.chain)) for i in said]
        whole = [*tokens, Token(END, "", -0.1)][: work.most]
        finish = "stop" if whole[-1].id == END else "length"
        return GenerationReply(tuple(whole), finish, work.chain)


def test_chains_are_chosen_in_threads_few_at_a_time(monkeypatch):
    calls, inside, ask = [], [], TreeSearch.ask

    def watched(self, most=1):
        calls.append((most, bool(inside)))
        return ask(self, most)

    def host(work):
        def run():
            inside.append(True)
            made = work()
            inside.clear()
            return made

        return Host(run)

    monkeypatch.setattr(TreeSearch, "ask", watched)
    monkeypatch.setattr(policies, "Host", host)
    options = SearchOptions(together=40, simulations=100)
    Engine().drive(answered(Sums(), SearchRequest("123", Exact("11"), options=options)))
    assert calls[:3] == [(ASKED, True), (ASKED, True), (40 - 2 * ASKED, True)]
    assert all(in_thread for _, in_thread in calls)


@pytest.mark.parametrize("ends", [(END,), ()])
@pytest.mark.parametrize("together", [1, 8])
def test_exact_answers_are_scored(ends, together):
    engine = Engine()
    options = SearchOptions(together=together, simulations=150)
    request = SearchRequest("123", Exact("11"), options=options)
    reply = engine.drive(answered(Sums(ends=ends), request))
    assert {t.reward for t in reply.tried} == {0.0, 1.0}
    assert all((t.reward == 1.0) == (sum(t.chain) == 11) for t in reply.tried)
    assert sum(reply.best.chain) == 11
    works = [work for batch in engine.asked for work in batch]
    assert all(work.scored for work in works)
    assert {work.ids for work in works} == {(2, 3, 4, 2, 2, *ends)}
    assert [work.chain for work in works] == [t.chain for t in reply.tried]
    assert max(map(len, engine.asked)) == together
    assert engine.told[-1].best == reply.best
    assert [told.tried for told in engine.told] == [*range(together, 150, together), 150]


def test_an_exact_answer_ends_where_it_should():
    request = SearchRequest("123", Exact("1"), options=SearchOptions(simulations=60))
    reply = Engine().drive(answered(Sums(), request))
    assert {sum(t.chain) for t in reply.tried if t.reward} == {1}
    loose = Engine().drive(answered(Sums(ends=()), request))
    assert {str(sum(t.chain))[0] for t in loose.tried if t.reward} == {"1"}


@pytest.mark.parametrize(
    ("verifier", "worth"),
    [
        (Matches("^1[01]$"), lambda t: float(sum(t.chain) in (10, 11))),
        (lambda text: len(text) / 2, lambda t: len(str(sum(t.chain))) / 2),
    ],
)
def test_other_answers_are_generated(verifier, worth):
    engine = Engine()
    request = SearchRequest("123", verifier, 4, SearchOptions(simulations=50, together=5))
    reply = engine.drive(answered(Sums(), request))
    assert [t.reward for t in reply.tried] == [worth(t) for t in reply.tried]
    assert not any(work.scored for batch in engine.asked for work in batch)


def test_confidence_is_a_mean_of_logprobs():
    request = SearchRequest("123", Confident(), 4, SearchOptions(simulations=20))
    tried = Engine().drive(answered(Sums(), request)).tried
    chain = max((t for t in tried if sum(t.chain) > 9), key=lambda t: len(t.chain))
    own = 0.5 / len(chain.chain)
    assert chain.reward == pytest.approx(np.exp(-(own + own + 0.1) / 3))


def test_listed_chains_are_tried_and_no_others():
    chains = ((3,), (1, 2), (0, 3, 3))
    request = SearchRequest("123", Exact("3"), options=SearchOptions(together=2), chains=chains)
    engine = Engine()
    reply = engine.drive(answered(Sums(), request))
    assert [(t.chain, t.reward) for t in reply.tried] == [((3,), 1), ((1, 2), 1), ((0, 3, 3), 0)]
    assert [len(batch) for batch in engine.asked] == [2, 1]
    assert reply.best.chain == (3,)
    with pytest.raises(InvalidInput, match="layers are 0 to 3"):
        Engine().drive(answered(Sums(), replace(request, chains=((4,),))))
    with pytest.raises(InvalidInput, match="each comes once"):
        replace(request, chains=((1,), (1,)))


def test_chains_are_no_longer_than_the_model_runs():
    request = SearchRequest("123", Exact("3"), options=SearchOptions(longest=13))
    with pytest.raises(InvalidInput, match="longest is at most 12 here, not 13"):
        Engine().drive(answered(Sums(), request))


def test_what_a_search_finds_is_continued():
    engine = Engine()
    request = GenerationRequest(
        "123", 5, Sampling(0.7, seed=2), policy="search", verifier=Matches("^11$"), logprobs=0
    )
    reply = engine.drive(answered(Sums(), request))
    assert (reply.text, sum(reply.chain)) == ("11", 11)
    assert engine.told == []
    last = engine.asked[-1]
    assert (last.chain, last.sampling.temperature, last.most) == (reply.chain, 0.7, 5)
    hopeless = replace(request, verifier=Matches("x"))
    assert Engine().drive(answered(Sums(), hopeless)).chain == full(4)


def test_most_chains_of_a_menu_win():
    # Sums 9, 3, 6, 3: two agree, and the first of them is continued.
    menu = Menu(((0, 3, 3, 3), (3,), (0, 1, 2, 3), (1, 2)), 1)
    engine = Engine()
    reply = engine.drive(answered(Sums(menu), GenerationRequest("123", 5, policy="menu")))
    assert (reply.text, reply.chain) == ("3", (3,))
    short, last = engine.asked
    assert [(work.chain, work.most) for work in short] == [(chain, 1) for chain in menu.chains]
    assert (last.chain, last.most) == ((3,), 5)


def test_a_chooser_says_which_chain():
    weights = np.zeros((2, BUCKETS + 1))
    weights[1, -1] = 1.0  # of the length: longer prompts go to the second
    menu = Menu(((1,), (2,)), 1, Chooser(weights, np.array([np.log1p(3) + 1e-6, 0.0])))
    for prompt, chain in (("123", (1,)), ("1234", (2,))):
        engine = Engine()
        reply = engine.drive(answered(Sums(menu), GenerationRequest(prompt, 5, policy="menu")))
        assert reply.chain == chain
        assert len(engine.asked) == 1


def test_without_a_menu_there_is_no_such_policy():
    with pytest.raises(Unsupported, match="foretoken search"):
        Engine().drive(answered(Sums(), GenerationRequest("123", 5, policy="menu")))


def test_plain_requests_and_scores_pass():
    engine = Engine()
    assert engine.drive(answered(Sums(), GenerationRequest("123", 5))).chain == full(4)
    assert engine.drive(answered(Sums(), GenerationRequest("123", 5, chain=(2,)))).chain == (2,)
    reply = engine.drive(answered(Sums(), ScoreRequest(np.array([1, 2, 3, 7]))))
    assert reply.likeliest.tolist() == [END, END, 7]


def test_progress_takes_no_longer_the_more_was_tried(monkeypatch):
    def all_of_them(tried):
        raise AssertionError(f"{len(tried)} chains are looked through")

    monkeypatch.setattr(requests, "best_of", all_of_them)
    engine = Engine()
    options = SearchOptions(simulations=40)
    reply = engine.drive(answered(Sums(), SearchRequest("123", Exact("11"), options=options)))
    for i, told in enumerate(engine.told, 1):
        assert (told.simulations, told.tried) == (i, i)
        assert told.best == best_of(reply.tried[:i])
