"""Sessions whose observations are told one by one, as tests of their states do it."""

from __future__ import annotations

import numpy as np

from foretoken.server.sessions.session import SessionOptions
from foretoken.server.terms import Terms

ANYONE = Terms()
FIXED = SessionOptions(deterministic=True)
DURABLE = SessionOptions(deterministic=True, durable=True, every=4)


async def outputs(sessions, session, values, *, deliver=True):
    """Outputs of ``values``, one message each; every one is delivered unless it shall not be."""
    made = []
    for row in values:
        made.append((await sessions.step(session, row[None], ANYONE)).outputs["y"])
        if deliver:
            sessions.deliver(session, session.step)
    return np.concatenate(made) if made else np.empty((0, 16), np.float32)
