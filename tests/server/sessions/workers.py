"""Workers of one server that share a data dir, in one event loop: sequences without processes."""

from __future__ import annotations

import pickle
from contextlib import asynccontextmanager

import numpy as np

from foretoken.server.plane import Plane
from foretoken.server.sessions.asked import Asked, key_of
from foretoken.server.sessions.others import Gone
from foretoken.server.sessions.owners import FILE, Owners
from foretoken.server.sessions.sequences import Sequences
from foretoken.server.sessions.session import SessionOptions
from foretoken.server.settings import load_settings
from foretoken.server.terms import Caller, Scope, Terms

ANYONE = Terms()


def tenant(name):
    return Terms(Caller(name, frozenset(Scope), name))


class Worker:
    """One of them."""

    def __init__(self, house, number, settings):
        self.number = number
        self.house = house
        self.settings = settings
        self.plane = Plane(house.registry, settings)
        self.owners = Owners(house.path, number)
        engine, describe = self.plane.sessions, self.plane.describe
        ttl = settings.session_ttl
        self.sequences = Sequences(engine, describe, ttl, self.owners, Wired(house))
        self.forwarded = 0  # requests that others sent here

    async def ask(self, values, id_=7, terms=ANYONE, model="toy", options=None, **flags):
        """What the sequence answers; ``values`` [T, D]."""
        values = np.asarray(values, float).reshape(-1, 2)
        given = options or SessionOptions()
        key = key_of(terms.caller.tenant, model, id_)
        told = {"key": key, "model": model, "id": id_, "options": given, **flags}
        packed = pickle.dumps((told, values))
        asked = Asked(values=lambda: values, packed=lambda: packed, **told)
        answer = await self.sequences.ask(asked, terms)
        return pickle.loads(answer) if isinstance(answer, bytes) else answer

    async def answer(self, terms, packed):
        self.forwarded += 1
        told, values = pickle.loads(packed)
        stepped = await self.sequences.ask(Asked(values=lambda: values, **told), terms)
        return pickle.dumps(stepped)

    @property
    def live(self):
        return self.plane.sessions.open_sessions


class Wired:
    """The other workers, without a wire."""

    def __init__(self, house):
        self._house = house

    def _worker(self, number):
        if number not in self._house.workers:
            raise Gone(f"no worker {number}")
        return self._house.workers[number]

    async def ask(self, worker, terms, packed):
        return await self._worker(worker).answer(terms, packed)

    async def drop(self, worker, key, terms):
        await self._worker(worker).sequences.drop(key, terms)

    def alive(self, worker):
        return worker in self._house.workers


class House:
    """All of them, by number."""

    def __init__(self, registry, path):
        self.registry = registry
        self.path = path
        self.workers = {}
        self._all = []

    def worker(self, **settings):
        number = len(self._all) + 1
        worker = Worker(self, number, load_settings(**settings))
        self.workers[number] = worker
        self._all.append(worker)
        return worker

    def kill(self, worker):
        """Nobody can ask it any more, and it has said nothing."""
        del self.workers[worker.number]

    async def close(self):
        for worker in self._all:
            await worker.plane.close()
            worker.owners.close()


@asynccontextmanager
async def house(registry, folder, count=1, **settings):
    """A house with so many workers."""
    made = House(registry, folder / FILE)
    for _ in range(count):
        made.worker(**settings)
    try:
        yield made
    finally:
        await made.close()
