"""Depth policies: from a request of a generative family to continuations by chains, and its reply.

A family says how a request becomes a ``Continuation``; which chain it passes is said here.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.contract import Emit, Host, Steps
from foretoken.models.depth.adaptive import Adaptive
from foretoken.models.depth.chains import Chain
from foretoken.models.depth.mcts import TreeSearch
from foretoken.models.depth.menus import agreed
from foretoken.models.depth.requests import SearchProgress, SearchReply, SearchRequest, Tried
from foretoken.models.depth.trials import GREEDY, Trial, trial
from foretoken.models.generation import Chat, Continuation, Together
from foretoken.models.tasks import GenerationReply, GenerationRequest, Policy, ScoreRequest

__all__ = ["answered", "searched"]

ASKED = 16  # chains that a tree is asked for at a time: each may take it milliseconds


def answered(model: Adaptive, request: GenerationRequest | ScoreRequest | SearchRequest) -> Steps:
    """Steps to the reply of a request; see ``contract.Predictor.predict``.

    Raises:
        InvalidInput: the request is not acceptable to the model.
        Unsupported: it asks for a menu, and the version has none.
    """
    if isinstance(request, ScoreRequest):
        return (yield model.scoring(request))
    if isinstance(request, SearchRequest):
        return (yield from searched(model, request))
    chain = request.chain
    if request.depth is Policy.SEARCH:
        return (yield (yield from _found(model, request)))
    if request.depth is Policy.MENU:
        chain = yield from _picked(model, request)
    return (yield model.continuation(_along(request, chain)))


def searched(model: Adaptive, request: SearchRequest, *, told: bool = True) -> Steps:
    """Steps to a ``SearchReply``; after each round, the progress is emitted if ``told``.

    Raises:
        InvalidInput: the request is not acceptable to the model.
    """
    tries: Trial = yield Host(partial(trial, model, request))  # which reads the prompt
    if request.chains is not None:
        return (yield from _listed(model.layers, tries, request, told=told))
    search = TreeSearch(model.layers, request.options)
    if search.longest > model.longest:
        raise InvalidInput(f"longest is at most {model.longest} here, not {search.longest}")
    while chains := (yield from _asked(search, request.options.together)):
        rewards: list[float] = yield from tries.run(chains)
        for chain, reward in zip(chains, rewards, strict=True):
            search.tell(chain, reward)
        if told and search.best is not None:
            yield Emit(SearchProgress(search.simulations, len(search.tried), search.best))
    return search.reply


def _asked(search: TreeSearch, most: int) -> Steps:
    """Chains to be run next, as of ``TreeSearch.ask``, in pieces that others can wait for."""
    chains: list[Chain] = []
    while len(chains) < most:
        some: list[Chain] = yield Host(partial(search.ask, min(ASKED, most - len(chains))))
        if not some:
            break
        chains += some
    return chains


def _along(request: GenerationRequest, chain: Chain | None) -> GenerationRequest:
    """The same by a chain, whatever its policy was."""
    return replace(request, chain=chain, policy=None, verifier=None)


def _found(model: Adaptive, request: GenerationRequest) -> Steps:
    """What the request asks for by the best chain that a search for its prompt finds.

    That is the whole one, if none is right. The search reads the prompt's own text: how an answer
    is written may depend on what is before it.
    """
    if request.verifier is None:
        raise InvalidInput("a search needs a verifier")
    # Says what is wrong before the search.
    plain: Continuation = yield Host(partial(model.continuation, _along(request, None)))
    prompt = np.array(plain.ids) if isinstance(request.prompt, Chat) else request.prompt
    search = SearchRequest(prompt, request.verifier, plain.most, request.search)
    found: SearchReply = yield from searched(model, search, told=False)
    return replace(plain, chain=found.best.chain)


def _picked(model: Adaptive, request: GenerationRequest) -> Steps:
    """The chain of the version's menu for this prompt: the chooser's, or that of most answers."""
    menu, plain = model.menu, _along(request, None)
    if menu is None:
        raise Unsupported(
            "this version has no menu of chains; `foretoken search DATA.jsonl` makes one from "
            "labelled rows, and stores it as a version of its own"
        )
    work = model.continuation(plain)
    if menu.chooser is not None:
        return menu.chains[menu.chooser.choice(work.ids)]
    most = min(menu.short, work.most)
    short = replace(plain, prompt=np.array(work.ids), max_tokens=most, sampling=GREEDY, logprobs=0)
    works = [model.continuation(replace(short, chain=chain)) for chain in menu.chains]
    replies: list[GenerationReply] = yield Together(tuple(works))
    return menu.chains[agreed([tuple(token.id for token in reply.tokens) for reply in replies])]


def _listed(layers: int, tries: Trial, request: SearchRequest, *, told: bool) -> Steps:
    """The same as a search, of chains that the request lists."""
    chains, found = request.chains or (), list[Tried]()
    while left := chains[len(found) : len(found) + request.options.together]:
        rewards: list[float] = yield from tries.run(left)
        for chain, reward in zip(left, rewards, strict=True):
            found.append(Tried(chain, reward, len(found)))
        reply = SearchReply(layers, tuple(found))
        if told:
            yield Emit(SearchProgress(len(found), len(found), reply.best))
    return reply
