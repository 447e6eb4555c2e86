"""Asks a server for its health and exits with 0 if it serves: ``python -m foretoken.client.probe``.

For health checks of containers and orchestrators; it asks grpc.health.v1, needs no token, and never
tries for longer than it is told.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from foretoken.client.blocking import Client
from foretoken.errors import ForetokenError

__all__ = ["main"]

SERVING, NOT_SERVING = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m foretoken.client.probe")
    parser.add_argument("--server", default="localhost:8100", help="host:port or unix:/path")
    parser.add_argument("--model", default="", help="ask for one model instead of the server")
    parser.add_argument("--timeout", type=float, default=4.0, help="seconds")
    parser.add_argument("--tls", action="store_true", help="trust the system's authorities")
    parser.add_argument("--ca", help="PEM file of the authorities to trust instead")
    parser.add_argument("--cert", help="PEM file of this client's certificate")
    parser.add_argument("--key", help="PEM file of its key")
    said = parser.parse_args(arguments)
    try:
        with Client(said.server, tls=said.tls, ca=said.ca, cert=said.cert, key=said.key) as client:
            serves = client.ready(said.model, timeout=said.timeout)
    except ForetokenError as e:
        print(f"not serving: {e}", file=sys.stderr)  # noqa: T201 - the command's answer
        return NOT_SERVING
    print("serving" if serves else "not serving", file=sys.stderr)  # noqa: T201
    return SERVING if serves else NOT_SERVING


if __name__ == "__main__":
    sys.exit(main())
