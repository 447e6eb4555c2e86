"""Uploads: announced, bounded, hashed; nothing is left of one that breaks off."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretoken.errors import DataLoss, FailedPrecondition, InvalidInput, Unavailable
from foretoken.server.uploads import Announced, Upload, check_announced

WEIGHTS = "model.safetensors"
FILES = {WEIGHTS: b"weights" * 100, "empty.md": b"", "card.md": b"# card", "last.json": b""}


def announced(name: str, data: bytes) -> Announced:
    return Announced(name, len(data), f"sha256:{hashlib.sha256(data).hexdigest()}")


ALL = [announced(name, data) for name, data in FILES.items()]
BYTES = b"".join(FILES.values())


def upload(folder, files=ALL) -> Upload:
    made = iter(range(100))
    return Upload(files, lambda: folder / str(next(made)))


@given(st.lists(st.integers(0, len(BYTES)), max_size=12))
def test_bytes_may_be_cut_anywhere(tmp_path_factory, cuts):
    folder = tmp_path_factory.mktemp("u")
    taking = upload(folder)
    edges = [0, *sorted(cuts), len(BYTES)]
    for start, end in pairwise(edges):
        taking.write(BYTES[start:end])
    assert {name: path.read_bytes() for name, path in taking.finish().items()} == FILES
    taking.discard()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("sent", "error", "says"),
    [
        (BYTES + b"x", InvalidInput, "more bytes"),
        (BYTES[:-1] + b"?", DataLoss, "card.md: its bytes hash to sha256:"),
        (b"W" + BYTES[1:], DataLoss, "model.safetensors"),
        (BYTES[:-1], InvalidInput, "1 bytes before the end of card.md"),
        (b"", InvalidInput, "700 bytes before the end of model.safetensors"),
    ],
)
def test_other_bytes_than_were_announced(tmp_path, sent, error, says):
    taking = upload(tmp_path)

    def send():
        for start in range(0, len(sent), 64):
            taking.write(sent[start : start + 64])
        taking.finish()

    with pytest.raises(error, match=says):
        send()
    taking.discard()
    assert list(tmp_path.iterdir()) == []


def test_never_a_byte_more_than_announced_is_written(tmp_path):
    taking = upload(tmp_path, [announced(WEIGHTS, b"abc")])
    with pytest.raises(InvalidInput):
        taking.write(b"abc" + bytes(1 << 20))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 3


def test_an_empty_file_has_a_digest_too(tmp_path):
    with pytest.raises(DataLoss, match=r"empty\.md"):
        upload(tmp_path, [Announced("empty.md", 0, f"sha256:{'0' * 64}")]).finish()


def test_after_a_discard_nothing_is_taken_or_left(tmp_path):
    """A thread may still be writing when the caller has gone."""
    taking = upload(tmp_path)
    taking.write(BYTES[:10])
    taking.discard()
    taking.discard()
    for late in (lambda: taking.write(b"x"), taking.finish):
        with pytest.raises(FailedPrecondition):
            late()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_nobodys_mistake(tmp_path):
    with pytest.raises(Unavailable, match="cannot be kept"):
        upload(tmp_path / "gone").write(b"x")


GOOD = announced(WEIGHTS, b"x")
BAD_NAMES = [
    "../escape.md",
    "/etc/passwd.json",
    "a/b.md",
    "a\\b.md",
    "..",
    ".hidden.md",
    "nul\0.md",
    "new\nline.md",
    "",
    "x" * 200 + ".md",
    "code.py",
    "weights.pkl",
    "weights.pt",
    "artefact.json",
    WEIGHTS,
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_no_artefact_has(name):
    with pytest.raises(InvalidInput):
        check_announced([GOOD, announced(name, b"y")], 100)


@pytest.mark.parametrize(
    "files",
    [
        [],
        [announced("card.md", b"x")],
        [Announced(WEIGHTS, -1, GOOD.digest)],
        [Announced(WEIGHTS, 101, GOOD.digest)],
        [GOOD, Announced("card.md", 100, GOOD.digest)],
        [Announced(WEIGHTS, 1, "sha256:xyz")],
        [Announced(WEIGHTS, 1, "md5:" + "0" * 32)],
        [Announced(WEIGHTS, 1, GOOD.digest + "\n")],
        [GOOD, *(announced(f"f{n}.md", b"") for n in range(300))],
    ],
)
def test_announcements_that_are_refused(files):
    with pytest.raises(InvalidInput):
        check_announced(files, 100)


def test_what_is_accepted():
    check_announced(ALL, len(BYTES))
    with pytest.raises(InvalidInput, match=r"706 bytes; this server takes at most 705"):
        check_announced(ALL, len(BYTES) - 1)
