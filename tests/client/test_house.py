"""What the client needs, and with whom it shares a process."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.load.peers import ABSENT, TRITON
from foretoken import AsyncClient, Client
from foretoken.client import (
    AsyncGenerating,
    AsyncSession,
    AsyncWatch,
    Generating,
    Session,
    Watch,
)

ROOT = Path(__file__).parents[2]
ALLOWED = {"grpc", "google", "numpy", "foretoken", "typing_extensions"}

BARE = """
import sys
class Only:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in %r:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Only())
import numpy as np
from foretoken import AsyncClient, Client, CurveExtrapolator
server = sys.argv[1]
with Client(server) as client:
    posterior = client.extrapolate("lcpfn", [0.1, 0.3, 0.4], at=[50.0])
    estimator = CurveExtrapolator(server=server).extrapolate([0.1, 0.3, 0.4], at=[50.0])
assert (posterior.mean == estimator.mean).all()
rooms = sorted({".".join(m.split(".")[:2]) for m in sys.modules if m.startswith("foretoken.")})
print(" ".join(rooms))
"""

# What tritonclient does when it is imported: the same symbols, in the pool that all share.
SYMBOLS = """
def others():
    from google.protobuf import descriptor_pool
    from foretoken.proto.loading import descriptor_set
    for file in descriptor_set("inference").file:
        descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    descriptor_pool.Default().FindServiceByName("inference.GRPCInferenceService")
"""

TRITONS = """
def others():
    import tritonclient.grpc
    client = tritonclient.grpc.InferenceServerClient(sys.argv[1])
    assert client.is_model_ready("lcpfn")
    assert client.get_model_metadata("lcpfn").name == "lcpfn"
"""

OURS = """
import sys
def ours():
    from foretoken import Client
    import foretoken.client
    with Client(sys.argv[1]) as client:
        assert client.extrapolate("lcpfn", [0.1, 0.3, 0.4], at=[50.0]).mean.shape == (1,)
        assert client.model("lcpfn").task == "curve"
"""


def run(source, server, python=sys.executable):
    return subprocess.run(
        [python, "-c", source, server.address],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )


def test_grpc_protobuf_and_numpy_are_enough(server):
    done = run(BARE % ALLOWED, server)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {
        "foretoken.arrays",
        "foretoken.client",
        "foretoken.distributions",
        "foretoken.embeddings",
        "foretoken.errors",
        "foretoken.estimators",
        "foretoken.generated",
        "foretoken.normalise",
        "foretoken.posterior",
        "foretoken.proto",
        "foretoken.records",
        "foretoken.stopping",
    }


@pytest.mark.parametrize("order", ["ours(); others()", "others(); ours()"])
def test_the_same_symbols_may_be_known_to_the_process(server, order):
    done = run(f"{OURS}{SYMBOLS}\n{order}; ours()", server)
    assert done.returncode == 0, done.stderr


@pytest.mark.peers
@pytest.mark.skipif(not TRITON.exists(), reason=ABSENT)
@pytest.mark.parametrize("order", ["ours(); others()", "others(); ours()"])
def test_tritonclient_shares_the_process(server, order):
    done = run(f"{OURS}{TRITONS}\n{order}; {order}", server, TRITON)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Client, AsyncClient),
        (Generating, AsyncGenerating),
        (Session, AsyncSession),
        (Watch, AsyncWatch),
    ],
)
def test_both_clients_take_the_same(one, other):
    def public(kind):
        return {
            name: [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
            for name, f in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_") or name == "__init__"
        }

    assert public(one) == public(other)
