"""A run that is followed, on ``grpc``."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from foretoken.client.blocking_transport import Stream, Transport
from foretoken.client.methods import method
from foretoken.client.operations import Action, Budget, Exchange, Pause, Steps, drive
from foretoken.client.watching import Outlook, Watched

__all__ = ["Watch"]


class Watch:
    """A run that is followed; made by ``Client.watch``, for one thread at a time.

    It survives the loss of its connection: the server is then told the run anew.
    """

    def __init__(self, transport: Transport, watched: Watched, timeout: float) -> None:
        self._transport = transport
        self._watched = watched
        self._timeout = timeout
        self._stream: Stream | None = None

    @property
    def outlook(self) -> Outlook | None:
        """After the last observation; None before the run is begun."""
        return self._watched.outlook

    def push(self, step: float, value: float, best: float | None = None) -> Outlook:
        """Tell one evaluation, and perhaps a new value to beat; see ``Outlook`` for the answer.

        Raises:
            InvalidInput: if ``step`` does not lie behind the last, or ``value`` is out of bounds;
                the run stays as it was.
        """
        return self._run(self._watched.push(step, value, best))

    def close(self) -> None:
        """End the stream."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _run(self, steps: Steps[Outlook]) -> Outlook:
        budget = Budget(self._timeout)
        return drive(steps, lambda action: self._perform(action, budget))

    def _perform(self, action: Action, budget: Budget) -> Any:
        if isinstance(action, Pause):
            return self._transport.perform(action, budget)
        assert isinstance(action, Exchange)
        if action.fresh or self._stream is None:
            self.close()
            self._stream = self._transport.stream(method("Curves.Watch"))
        try:
            return self._stream.exchange(action.request, budget)
        except BaseException:
            self._stream.cancel()
            self._stream = None
            raise

    def __enter__(self) -> Self:
        self._run(self._watched.begin())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
