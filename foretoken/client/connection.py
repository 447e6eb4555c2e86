"""How a server is reached: address, credentials, and what gRPC is told about retries."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from foretoken.client.methods import METHODS
from foretoken.client.operations import Budget
from foretoken.errors import InvalidInput, NotFound, Unavailable

__all__ = ["Connection"]

PORT = 8100
TIMEOUT = 60.0  # seconds
_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[\w.-]+)(:(?P<port>\d{1,5}))?")
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|\[::1\]", re.IGNORECASE)
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Connection:
    """Where a server is and how to talk to it; checked when it is made.

    Args:
        address: "host:port", "[ipv6]:port" or "unix:/path"; the port is 8100 unless given.
        token: bearer token; over a network only with TLS, unless ``allow_plaintext_token``.
        tls: encrypt; implied by any of the next three.
        ca: PEM file of the authorities to trust instead of the system's.
        cert, key: PEM files of this client's own certificate; both or neither.
        timeout: seconds that an operation may take unless it says otherwise.
        allow_plaintext_token: send the token unencrypted to another machine.

    Raises:
        InvalidInput: if these do not go together.
        NotFound: if a file is not there.
    """

    address: str
    token: str | None = field(default=None, repr=False)
    tls: bool = False
    ca: Path | str | None = None
    cert: Path | str | None = None
    key: Path | str | None = None
    timeout: float = TIMEOUT
    allow_plaintext_token: bool = False

    def __post_init__(self) -> None:
        Budget(self.timeout)
        if (self.cert is None) != (self.key is None):
            raise InvalidInput("cert and key go together; give both or neither")
        for path in (self.ca, self.cert, self.key):
            if path is not None and not Path(path).is_file():
                raise NotFound(f"no file {path}")
        _target(self.address)
        self._expect_token()

    def _expect_token(self) -> None:
        if self.token is None:
            return
        if not isinstance(self.token, str) or not _TOKEN.fullmatch(self.token):
            raise InvalidInput("token must be printable ASCII without spaces")
        if not (self.encrypted or self.local or self.allow_plaintext_token):
            raise InvalidInput(
                f"a token would go to {self.address} unencrypted: use tls=True, or "
                "allow_plaintext_token=True on a network that you trust"
            )

    @property
    def encrypted(self) -> bool:
        """Whether TLS is used."""
        return self.tls or self.ca is not None or self.cert is not None

    @property
    def local(self) -> bool:
        """Whether the server is on this machine, by its address."""
        host = _target(self.address)[0]
        return host is None or _LOOPBACK.fullmatch(host) is not None

    @property
    def target(self) -> str:
        """As gRPC has it."""
        return _target(self.address)[1]

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)

    def credentials(self) -> grpc.ChannelCredentials | None:
        """For TLS; None without it.

        Raises:
            Unavailable: if a file cannot be read.
        """
        if not self.encrypted:
            return None
        try:
            ca, key, cert = (
                None if path is None else Path(path).read_bytes()
                for path in (self.ca, self.key, self.cert)
            )
        except OSError as e:
            raise Unavailable(f"cannot read {e.filename}: {e.strerror}") from e
        return grpc.ssl_channel_credentials(ca, key, cert)

    def options(self) -> list[tuple[str, Any]]:
        """Of the channel."""
        return [
            ("grpc.service_config", json.dumps(_RETRIES)),
            ("grpc.per_rpc_retry_buffer_size", 32 << 20),  # a larger request is sent once
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            # A worker that died is back within seconds; gRPC would wait up to two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 5000),  # the time that one attempt has
            ("grpc.max_reconnect_backoff_ms", 2000),
            # Workers share a port by connection, so clients must not share connections.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.enable_http_proxy", 0 if self.local else 1),
        ]


# What changes nothing is tried again by gRPC itself, which waits as long as the server says.
_RETRIES = {
    "methodConfig": [
        {
            "name": [
                {"service": method.service, "method": method.name}
                for method in METHODS.values()
                if method.safe
            ],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "3s",
                "backoffMultiplier": 3,  # 4 s in all, longer than a worker's restart
                # CANCELLED: by a server that stops, which gRPC has cancel what came too late.
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
            },
        }
    ],
    # Failures cost 1, successes bring 0.1; below half, nothing is tried again.
    "retryThrottling": {"maxTokens": 500, "tokenRatio": 0.1},
}


def _target(address: str) -> tuple[str | None, str]:
    """Host (None: this machine) and gRPC's target."""
    if isinstance(address, str):
        if address.startswith("unix:") and len(address) > len("unix:"):
            return None, address
        found = _ADDRESS.fullmatch(address)
        port = int(found["port"] or PORT) if found else 0
        if found and 0 < port < 1 << 16:
            return found["host"], f"dns:///{found['host']}:{port}"
    raise InvalidInput(f"no address: {address!r}; expected host:port, [ipv6]:port or unix:/path")
