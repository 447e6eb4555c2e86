"""Texts of mixed length: Python's docstrings, and what the machine's packages say of themselves.

Every kind of text that a service of embeddings is sent has its share: words and short queries,
sentences, paragraphs, whole docstrings, and passages far beyond what the model reads.
"""

from __future__ import annotations

import gzip
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.similarity import documented

__all__ = ["texts"]

DOC = Path("/usr/share/doc")
NAMES = ("README*", "NEWS*", "*.txt", "*.md", "*.rst", "copyright")
FILES = 400  # that are read, of those there are
LARGEST = 1 << 18  # bytes of a file
PASSAGE = 400  # words of the longest texts, which all models of this size cut
SHARES = {"words": 0.15, "lines": 0.3, "paragraphs": 0.35, "docstrings": 0.15, "passages": 0.05}
SEED = 0


def texts(count: int) -> list[str]:
    """So many different texts, the same ones in the same order as long as the documentation is."""
    found = {kind: sorted(set(each)) for kind, each in _sources().items()}
    rng = np.random.default_rng(SEED)
    chosen: dict[str, None] = {}
    for kind, share in SHARES.items():
        order = rng.permutation(len(found[kind]))[: round(share * count)]
        chosen.update(dict.fromkeys(found[kind][i] for i in order))
    every = sorted(set().union(*found.values()))
    for i in rng.permutation(len(every)):  # where a kind has too few
        if len(chosen) >= count:
            break
        chosen[every[i]] = None
    given = list(chosen)
    return [given[i] for i in rng.permutation(len(given))][:count]


def _sources() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {kind: [] for kind in SHARES}
    docstrings = [inspect.cleandoc(said) for said in documented()]
    documents = list(_documents())
    for said in docstrings:
        line, _, body = said.partition("\n")
        found["lines"].append(" ".join(line.split()))
        found["docstrings" if body.strip() else "lines"].append(" ".join(said.split()))
        found["words"] += _short(line.split())
    for document in documents:
        found["paragraphs"] += [" ".join(p.split()) for p in document.split("\n\n")]
    for said in [*docstrings, *documents]:
        words = said.split()
        starts = range(0, len(words) - PASSAGE + 1, PASSAGE)
        found["passages"] += [" ".join(words[i : i + PASSAGE]) for i in starts]
    return {kind: [text for text in each if text] for kind, each in found.items()}


def _short(words: Sequence[str]) -> Iterator[str]:
    """The beginnings of a line that somebody may look for: a word, two, three."""
    for n in range(1, min(4, len(words))):
        yield " ".join(words[:n]).strip(".,:;()")


def _documents() -> Iterator[str]:
    """Texts of files in UTF-8, packed ones included; nothing where there is no documentation."""
    paths = {path for name in NAMES for end in ("", ".gz") for path in DOC.rglob(name + end)}
    files = sorted(p for p in paths if p.is_file() and p.stat().st_size <= LARGEST)
    for i in np.random.default_rng(SEED).permutation(len(files))[:FILES]:
        try:
            data = files[i].read_bytes()
            yield (gzip.decompress(data) if files[i].suffix == ".gz" else data).decode()
        except (OSError, EOFError, UnicodeDecodeError):
            continue
