"""Who calls, if it may: tokens, scopes, expiry, revocation, rates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from foretoken.errors import Overloaded, PermissionDenied, Unauthenticated
from foretoken.server.registry.registry import Registry
from foretoken.server.security import gate as module
from foretoken.server.security.gate import ANONYMOUS, TokenGate
from foretoken.server.security.limiter import Limiter
from foretoken.server.security.tokens import Wanted, create, digest
from foretoken.server.settings import Settings
from foretoken.server.terms import LOCAL, Caller, Scope

PEER = "ipv4:1.2.3.4:5"
PREDICT, ADMIN = Scope.PREDICT, Scope.ADMIN


@pytest.fixture
def registry(tmp_path):
    with Registry.open(tmp_path / "data") as registry:
        yield registry


@pytest.fixture
def gate_of(registry, tmp_path):
    limiter = Limiter(tmp_path / "limits")

    def make(host="127.0.0.1", **settings) -> TokenGate:
        said = Settings(data_dir=tmp_path / "data", host=host, **settings)
        return TokenGate(registry, said, limiter, lambda why, peer: told.append((why, peer)))

    told: list[tuple[str, str]] = []
    make.told = told
    yield make
    limiter.close()


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_without_a_token_on_the_loopback(gate_of):
    gate = gate_of()
    assert gate.caller({}, PEER, PREDICT) == ANONYMOUS
    assert ANONYMOUS.tenant is None
    assert gate.caller({}, PEER, ADMIN) == LOCAL
    assert gate.caller({}, PEER, None) == ANONYMOUS


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org", "127.0.0.1.example"])
def test_without_a_token_on_other_hosts_nobody_is_an_administrator(gate_of, host):
    gate = gate_of(host)
    assert gate.caller({}, PEER, PREDICT) == ANONYMOUS
    with pytest.raises(Unauthenticated):
        gate.caller({}, PEER, ADMIN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_what_the_loopback_is(gate_of, host):
    assert gate_of(host).caller({}, PEER, ADMIN) == LOCAL


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_where_tokens_are_required_nothing_goes_without(gate_of, host):
    gate = gate_of(host, require_tokens=True)
    for scope in (PREDICT, ADMIN):
        with pytest.raises(Unauthenticated):
            gate.caller({}, PEER, scope)
    assert gate.caller({}, PEER, None).scopes == frozenset()


def test_a_token_says_who_calls(gate_of, registry):
    secret, _ = create(registry.tokens, Wanted("ci", ["predict", "admin"], "acme"))
    gate = gate_of("0.0.0.0", require_tokens=True)
    known = Caller("ci", frozenset(Scope), "acme")
    for scope in (PREDICT, ADMIN, None):
        assert gate.caller(bearer(secret), PEER, scope) == known
    assert gate.caller({"authorization": f"bearer  {secret} "}, PEER, ADMIN) == known
    assert not gate_of.told


def test_a_scope_that_the_token_has_not(gate_of, registry):
    user, _ = create(registry.tokens, Wanted("user"))
    boss, _ = create(registry.tokens, Wanted("boss", ["admin"]))
    gate = gate_of()
    with pytest.raises(PermissionDenied, match=r"'admin'.*user has predict"):
        gate.caller(bearer(user), PEER, ADMIN)
    with pytest.raises(PermissionDenied, match=r"'predict'.*boss has admin"):
        gate.caller(bearer(boss), PEER, PREDICT)
    assert gate_of.told == [("scope", PEER)] * 2


def test_every_refusal_has_the_same_words_and_its_own_reason_in_the_log(gate_of, registry):
    expired, _ = create(registry.tokens, Wanted("expired", lifetime=timedelta(microseconds=1)))
    revoked, _ = create(registry.tokens, Wanted("revoked"))
    registry.tokens.revoke("revoked")
    gate = gate_of("0.0.0.0", require_tokens=True)
    shown = [
        ({}, "missing"),
        (bearer("ftk_" + "x" * 43), "unknown"),
        (bearer(""), "unknown"),
        (bearer(revoked[:-1]), "unknown"),
        (bearer("y" * 100_000), "unknown"),
        (bearer("\ud800"), "unknown"),
        ({"authorization": "Basic dXNlcjpwYXNz"}, "unknown"),
        ({"authorization": revoked}, "unknown"),
        (bearer(expired), "expired"),
        (bearer(revoked), "revoked"),
    ]
    words = set()
    for metadata, _ in shown:
        with pytest.raises(Unauthenticated) as refused:
            gate.caller(metadata, PEER, PREDICT)
        words.add(str(refused.value))
    assert len(words) == 1
    assert gate_of.told == [(why, PEER) for _, why in shown]
    assert gate.refusals == {"missing": 1, "unknown": 7, "expired": 1, "revoked": 1}
    assert "ftk_" not in f"{words}{gate_of.told}{gate.refusals}"


def test_a_wrong_token_is_no_better_than_none_where_none_is_needed(gate_of):
    for scope in (None, PREDICT, ADMIN):
        with pytest.raises(Unauthenticated):
            gate_of().caller(bearer("ftk_wrong"), PEER, scope)


def test_the_digest_is_no_token(gate_of, registry):
    secret, _ = create(registry.tokens, Wanted("a"))
    with pytest.raises(Unauthenticated):
        gate_of().caller(bearer(digest(secret)), PEER, PREDICT)


def test_changes_by_other_processes_count_at_once_or_nearly(gate_of, tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    gate = gate_of()
    with Registry.open(tmp_path / "data") as other:
        assert gate.caller({}, PEER, PREDICT) == ANONYMOUS
        secret, _ = create(other.tokens, Wanted("late"))
        assert gate.caller(bearer(secret), PEER, PREDICT).name == "late", "a new one at once"
        other.tokens.revoke("late")
        now[0] += module.LOOK
        with pytest.raises(Unauthenticated):
            gate.caller(bearer(secret), PEER, PREDICT)


def test_an_expiry_counts_for_tokens_that_are_known(gate_of, registry, monkeypatch):
    secret, _ = create(registry.tokens, Wanted("short", lifetime=timedelta(hours=1)))
    gate = gate_of()
    assert gate.caller(bearer(secret), PEER, PREDICT).name == "short"
    later = (datetime.now(UTC) + timedelta(hours=1, seconds=1)).timestamp()
    monkeypatch.setattr(module.time, "time", lambda: later)
    with pytest.raises(Unauthenticated):
        gate.caller(bearer(secret), PEER, PREDICT)


def test_known_tokens_cost_no_look_into_the_catalogue(gate_of, registry, monkeypatch):
    secret, _ = create(registry.tokens, Wanted("a"))
    gate = gate_of()
    gate.caller(bearer(secret), PEER, PREDICT)
    looks = []
    monkeypatch.setattr(registry.tokens, "find", looks.append)
    registry.tokens.state = lambda: looks.append("state")
    for _ in range(100):
        gate.caller(bearer(secret), PEER, PREDICT)
    assert looks == []


def test_what_is_remembered_is_bounded(gate_of, registry, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 3)
    gate = gate_of()
    for n in range(10):
        secret, _ = create(registry.tokens, Wanted(f"t{n}"))
        assert gate.caller(bearer(secret), PEER, PREDICT).name == f"t{n}"
        assert len(gate._bearers) <= 3


def test_a_rate_is_for_each_token_and_says_when_to_come_back(gate_of, registry):
    slow, _ = create(registry.tokens, Wanted("slow", rate=0.01, burst=2))
    same, _ = create(registry.tokens, Wanted("same", rate=0.01, burst=2))
    free, _ = create(registry.tokens, Wanted("free"))
    gate, second = gate_of(), gate_of()
    for _ in range(50):
        gate.caller(bearer(slow), PEER, None)  # such as health checks
    gate.caller(bearer(slow), PEER, PREDICT)
    second.caller(bearer(slow), PEER, PREDICT)
    for each in (gate, second):
        with pytest.raises(Overloaded, match=r"slow may make 0.01 calls per second") as refused:
            each.caller(bearer(slow), PEER, PREDICT)
        assert 90 < refused.value.retry_after <= 100
    assert gate_of.told == [("rate", PEER)] * 2
    gate.caller(bearer(same), PEER, PREDICT)
    for _ in range(20):
        gate.caller(bearer(free), PEER, PREDICT)


def test_calls_beyond_a_scope_count_too(gate_of, registry):
    secret, _ = create(registry.tokens, Wanted("prober", rate=0.01, burst=1))
    with pytest.raises(PermissionDenied):
        gate_of().caller(bearer(secret), PEER, ADMIN)
    with pytest.raises(Overloaded):
        gate_of().caller(bearer(secret), PEER, ADMIN)
