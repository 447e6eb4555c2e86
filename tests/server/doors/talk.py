"""A stream without a network, for tests of how doors read and write."""

from __future__ import annotations

import asyncio

from foretoken.server.terms import Terms


class Talk:
    """A stream and a call that says ``messages``, and notes how far it was read and let go."""

    def __init__(self, *messages):
        self.terms = Terms()
        self.metadata = {}
        self.written = []
        self.kept = self.most = self.read_ = 0
        self._messages = list(messages)
        self.gate = asyncio.Event()
        self.gate.set()

    def answered(self, answers):
        pass

    def keep(self):
        self.kept += 1
        self.most = max(self.most, self.kept)
        return 1

    def let_go(self, size):
        self.kept -= size

    async def read(self):
        if not self._messages:
            return None
        self.read_ += 1
        message = self._messages.pop(0)
        if isinstance(message, BaseException):
            raise message
        return message

    async def write(self, message):
        await self.gate.wait()
        self.written.append(message)
