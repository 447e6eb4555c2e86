"""A token is told once; what is kept is its digest, and its name for good."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from foretoken.errors import AlreadyExists, InvalidInput, NotFound
from foretoken.server.registry.backup import backup
from foretoken.server.registry.registry import CATALOGUE, Registry
from foretoken.server.registry.restore import restore
from foretoken.server.security.tokens import Wanted, create, status


@pytest.fixture
def registry(tmp_path):
    with Registry.open(tmp_path / "data") as registry:
        yield registry


def test_a_secret_has_256_bits_and_a_prefix_and_is_not_kept(registry, tmp_path):
    secrets = {create(registry.tokens, Wanted(f"t{n}"))[0] for n in range(20)}
    assert len(secrets) == 20
    assert {secret[:4] for secret in secrets} == {"ftk_"}
    assert {len(secret) for secret in secrets} == {4 + 43}, "32 bytes in base64, url-safe"
    written = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*sqlite3*"))
    for secret in secrets:
        assert secret.encode() not in written
        assert secret[4:].encode() not in written
        assert hashlib.sha256(secret.encode()).hexdigest().encode() in written


def test_a_token_is_what_was_wanted(registry):
    wanted = Wanted("ci", ["admin", "predict"], "acme", 2.5, None, timedelta(days=30))
    before = datetime.now(UTC)
    _, token = create(registry.tokens, wanted, actor="ann")
    assert (token.name, token.scopes, token.tenant) == ("ci", ("predict", "admin"), "acme")
    assert (token.rate, token.burst, token.actor) == (2.5, 3, "ann")
    assert before <= token.expires - timedelta(days=30) <= datetime.now(UTC)
    assert registry.tokens.list() == [token]
    assert status(token) == "valid"
    assert status(replace(token, expires=before)) == "expired"


def test_a_name_is_given_once_even_after_it_is_revoked(registry):
    create(registry.tokens, Wanted("ci"))
    with pytest.raises(AlreadyExists, match=r"'ci'.*choose another"):
        create(registry.tokens, Wanted("ci"))
    revoked = registry.tokens.revoke("ci")
    assert status(revoked) == "revoked"
    assert registry.tokens.revoke("ci") == revoked, "the first time stands"
    with pytest.raises(AlreadyExists):
        create(registry.tokens, Wanted("ci"))
    with pytest.raises(NotFound, match="no token 'other'"):
        registry.tokens.revoke("other")


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted("../x"),
        Wanted("", ()),
        Wanted("x", ()),
        Wanted("x", ["predict", "root"]),
        Wanted("x", tenant="a b"),
        Wanted("x", rate=0),
        Wanted("x", rate=-1),
        Wanted("x", rate=float("nan")),
        Wanted("x", rate=float("inf")),
        Wanted("x", burst=5),
        Wanted("x", rate=5, burst=0),
        Wanted("x", lifetime=timedelta()),
        Wanted("x", lifetime=timedelta(days=10_000)),
    ],
)
def test_what_makes_no_sense_is_refused(registry, wanted):
    with pytest.raises(InvalidInput):
        create(registry.tokens, wanted)
    assert registry.tokens.list() == []


def test_what_the_gate_watches_changes_with_the_tokens_alone(registry):
    seen = [registry.tokens.state()]
    create(registry.tokens, Wanted("a"))
    seen.append(registry.tokens.state())
    create(registry.tokens, Wanted("b"))
    seen.append(registry.tokens.state())
    registry.tokens.revoke("a")
    seen.append(registry.tokens.state())
    assert len(set(seen)) == 4
    assert registry.tokens.state() == seen[-1]


def test_a_restored_backup_knows_the_tokens(registry, tmp_path):
    secret, token = create(registry.tokens, Wanted("a", rate=5))
    backup(tmp_path / "data", tmp_path / "b.tar")
    registry.tokens.revoke("a")
    restore(tmp_path / "b.tar", tmp_path / "new")
    with Registry.open(tmp_path / "new") as restored:
        assert restored.tokens.find(hashlib.sha256(secret.encode()).hexdigest()) == token
    assert secret.encode() not in (tmp_path / "new" / CATALOGUE).read_bytes()
