"""Our server, started as a user starts it, with everything switched on."""

from __future__ import annotations

import re
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load.echo import PLUGINS
from benchmarks.load.generator import Job
from benchmarks.load.messages import INFER
from benchmarks.load.processes import SERVER, Watched, free_port, started
from foretoken.models.artefact import Artefact
from foretoken.server.registry.bundled import register_bundled
from foretoken.server.registry.registry import Registry
from foretoken.server.security.tokens import Wanted, create

__all__ = ["Server", "prepared", "serving"]

Labels = frozenset[tuple[str, str]]
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def prepared(data_dir: Path, models: Mapping[str, Sequence[Path]] | None = None) -> str:
    """Fill a data dir with the bundled models and ``models``, versions in order; gives a token."""
    with Registry.open(data_dir) as registry:
        register_bundled(registry)
        for name, folders in (models or {}).items():
            for folder in folders:
                version = registry.register(name, Artefact.read(folder))
                registry.set_alias(name, "champion", version.number)
        return create(registry.tokens, Wanted("benchmark", ("predict", "admin")))[0]


@dataclass(frozen=True)
class Server:
    """Our server, running.

    Args:
        port: of gRPC.
        http_port: of metrics.
        data_dir: that it serves.
        token: with all scopes; "" if there is none.
        watched: its processes.
        log: what it writes to standard error.
    """

    port: int
    http_port: int
    data_dir: Path
    token: str
    watched: Watched
    log: Path

    @property
    def target(self) -> str:
        """host:port of gRPC."""
        return f"127.0.0.1:{self.port}"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a careful client sends with a call."""
        shown = (("authorization", f"Bearer {self.token}"),) if self.token else ()
        return (*shown, ("x-request-id", "benchmark-0001"))

    def job(self, *payloads: bytes, method: str = INFER, **job: Any) -> Job:
        """Load for this server."""
        return Job(self.target, method, payloads, metadata=self.metadata, **job)

    def metrics(self) -> dict[str, dict[Labels, float]]:
        """All samples, by name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=10) as r:
            text = r.read().decode()
        samples: dict[str, dict[Labels, float]] = {}
        for line in text.splitlines():
            if match := _SAMPLE.match(line):
                labels = frozenset(_LABEL.findall(match[2] or ""))
                samples.setdefault(match[1], {})[labels] = float(match[3])
        return samples

    def total(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples that have these labels."""
        wanted = set(labels.items())
        return sum(v for k, v in self.metrics().get(name, {}).items() if wanted <= k)


@contextmanager
def serving(
    folder: Path,
    models: Mapping[str, Sequence[Path]] | None = None,
    cores: Sequence[int] = (SERVER,),
    plugins: bool = False,
    tokens: bool = True,
    **settings: object,
) -> Iterator[Server]:
    """Serve the bundled models and ``models`` until the block ends.

    Args:
        folder: for the data dir and the log; a data dir that is there is served as it is.
        models: artefact folders by name, a version each.
        cores: to run on.
        plugins: whether families of this folder's plug-ins are found.
        tokens: make a token, and the data dir with it; else the server does the latter.
        settings: of ``foretoken.server.settings``.
    """
    data_dir, secret = folder / "data", folder / "token"
    if tokens and not secret.exists():
        secret.write_text(prepared(data_dir, models))
    port, http_port = free_port(), free_port()
    chosen = {"grpc_port": port, "http_port": http_port, "data_dir": data_dir, **settings}
    env = {f"FORETOKEN_{name.upper()}": str(value) for name, value in chosen.items()}
    if plugins:
        env["PYTHONPATH"] = str(PLUGINS)
    command: list[str | Path] = [Path(sys.executable).parent / "foretoken", "serve"]
    log = folder / "log"
    with started(command, port, cores, env, log) as watched:
        token = secret.read_text() if tokens else ""
        yield Server(port, http_port, data_dir, token, watched, log)
