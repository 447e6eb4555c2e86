"""What other processes do with the claims of sequences, where they can import it."""

from __future__ import annotations

from foretoken.server.sessions.owners import Owners


def compete(path, number, keys, won):
    claims = Owners(path, number)
    for key in keys:
        if claims.add(key, str(number)) or (
            (found := claims.find(key)).worker <= 0 and claims.take(key, found)
        ):
            won.put((key, number))
    claims.close()


def claim_for_ever(path):
    claims = Owners(path, 5)
    i = 0
    while True:
        claims.add(f"key-{i}", "s")
        i += 1
