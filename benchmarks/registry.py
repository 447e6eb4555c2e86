"""List and resolve in a large catalogue, beside a catalogue that is one JSON file.

    python -m benchmarks.registry [--versions N] [--questions N] [--out FILE]

Two shapes of N versions: all of one model, and N models of one version each. Both sides hold the
same facts and answer the same questions in one run; the other side reads and scans its file, as a
catalogue without an index does. Before each timed question somebody else commits a change, so that
nothing that was remembered counts; "again" asks with nothing changed. Rows are written straight
into the tables: what is timed is reading.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, insert

from foretoken.server.registry import schema
from foretoken.server.registry.migrate import migrate
from foretoken.server.registry.registry import CATALOGUE, Registry
from foretoken.server.registry.sqlite import Database

RESULT = Path(__file__).parent / "results" / "registry.json"
AIM = 50.0  # milliseconds
PAGE = 100
THEIRS = 5  # times that each question is put to the other side
Row = dict[str, Any]


def rows(models: int, versions: int) -> Iterator[Row]:
    """One row a version: ``models`` models of ``versions`` versions each."""
    for m in range(models):
        for v in range(1, versions + 1):
            digest = f"sha256:{m * versions + v:064x}"
            yield {"name": f"model-{m:06d}", "version": v, "manifest_digest": digest}


def fill(data_dir: Path, models: int, versions: int) -> None:
    """Write a catalogue whose champions are the newest versions."""
    data_dir.mkdir()
    database = Database(data_dir / CATALOGUE)
    migrate(database, data_dir / "backups")
    now = datetime.now(UTC)
    made = list(rows(models, versions))
    facts = {
        "status": "READY",
        "reason": "",
        "family": "toy",
        "precision": "float32",
        "size": 1 << 20,
        "created": now,
        "origin": "user",
    }
    names = [row["name"] for row in made if row["version"] == versions]
    aliases = [
        {"name": n, "alias": "champion", "version": versions, "generation": 1} for n in names
    ]
    event = {"at": now, "actor": "x", "action": "set", "to_version": versions}
    tables: list[tuple[Table, list[Row]]] = [
        (
            schema.registered_models,
            [{"name": n, "created": now, "last_version": versions} for n in names],
        ),
        (schema.model_versions, [{**row, **facts} for row in made]),
        (
            schema.blobs,
            [{"digest": r["manifest_digest"], "size": 900, "media_type": "x"} for r in made],
        ),
        (
            schema.version_files,
            [
                {
                    "name": row["name"],
                    "version": row["version"],
                    "file": "model.safetensors",
                    "digest": row["manifest_digest"],
                }
                for row in made
            ],
        ),
        (schema.aliases, aliases),
        (
            schema.alias_events,
            [{"name": n, "alias": "champion", "generation": 1, **event} for n in names],
        ),
    ]
    with database.write() as connection:
        for table, content in tables:
            connection.execute(insert(table), content)
    database.close()


class JsonCatalogue:
    """The same facts as one JSON line a version; every question reads them all."""

    def __init__(self, path: Path, models: int, versions: int) -> None:
        self._path = path
        with path.open("w", encoding="utf-8") as file:
            for row in rows(models, versions):
                aliases = ["champion"] if row["version"] == versions else []
                facts = {"status": "READY", "family": "toy", "precision": "float32"}
                file.write(json.dumps({**row, **facts, "aliases": aliases}) + "\n")

    def _all(self) -> list[Row]:
        return [json.loads(line) for line in self._path.read_text("utf-8").splitlines()]

    def resolve(self, name: str) -> Row:
        return next(r for r in self._all() if r["name"] == name and "champion" in r["aliases"])

    def versions(self, name: str, after: int) -> list[Row]:
        found = [row for row in self._all() if row["name"] == name and row["version"] < after]
        return sorted(found, key=lambda row: -int(row["version"]))[:PAGE]

    def models(self, after: str) -> list[str]:
        return sorted({row["name"] for row in self._all() if row["name"] > after})[:PAGE]


def measure(ask: Callable[[], Any], times: int, before: Callable[[], Any] = lambda: None) -> Row:
    """Median and worst milliseconds of ``times`` questions, each after an untimed ``before``."""
    taken = []
    for _ in range(times):
        before()
        start = time.perf_counter()
        ask()
        taken.append(1e3 * (time.perf_counter() - start))
    return {"median_ms": statistics.median(taken), "worst_ms": max(taken)}


def compare(folder: Path, models: int, versions: int, times: int) -> dict[str, Row]:
    """Every question, put to both sides, ``times`` to ours; both must give the same answer."""
    fill(folder / "data", models, versions)
    theirs = JsonCatalogue(folder / "catalogue.jsonl", models, versions)
    name, halfway = f"model-{models // 2:06d}", f"model-{models // 4:06d}"
    middle = versions // 2 + 1
    with Registry.open(folder / "data") as ours, Registry.open(folder / "data") as other:
        turn = iter(range(1, 1_000_000))

        def change() -> None:
            other.set_alias("model-000000", f"other-{next(turn)}", 1)

        questions: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "resolve the champion": (lambda: ours.resolve(name), lambda: theirs.resolve(name)),
            "list newest versions": (
                lambda: ours.versions(name, limit=PAGE),
                lambda: theirs.versions(name, versions + 1),
            ),
            "list versions from the middle": (
                lambda: ours.versions(name, after=middle, limit=PAGE),
                lambda: theirs.versions(name, middle),
            ),
            "list first models": (lambda: ours.models(limit=PAGE), lambda: theirs.models("")),
            "list models from the middle": (
                lambda: ours.models(after=halfway, limit=PAGE),
                lambda: theirs.models(halfway),
            ),
        }
        answers = {}
        for question, (mine, reference) in questions.items():
            assert key_of(mine()) == key_of(reference()), question
            answers[question] = {
                "registry": measure(mine, times, change),
                "json file": measure(reference, THEIRS),
            }
        again = measure(questions["resolve the champion"][0], 10 * times)
        answers["resolve the champion again"] = {
            "registry": again,
            "json file": answers["resolve the champion"]["json file"],
        }
    return answers


def key_of(answer: Any) -> Any:
    """What must be equal of two answers."""
    if isinstance(answer, list):
        return [key_of(item) for item in answer]
    if isinstance(answer, dict):
        return answer["name"], answer["version"]
    if isinstance(answer, str):
        return answer
    return (answer.name, answer.number) if hasattr(answer, "number") else answer.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--versions", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=100, help="of each kind, to the registry")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    shapes = {"one model": (1, args.versions), "one version each": (args.versions, 1)}
    result: Row = {"versions": args.versions, "questions": args.questions, "aim_ms": AIM}
    result["shapes"] = {}
    worst = 0.0
    for shape, (models, versions) in shapes.items():
        with tempfile.TemporaryDirectory() as folder:
            answers = compare(Path(folder), models, versions, args.questions)
        result["shapes"][shape] = answers
        print(f"\n{args.versions} versions, {shape}: median (worst) ms")
        for question, sides in answers.items():
            ours, theirs = sides["registry"], sides["json file"]
            ratio = theirs["median_ms"] / ours["median_ms"]
            worst = max(worst, ours["median_ms"])
            print(
                f"  {question:32} registry {ours['median_ms']:8.3f} ({ours['worst_ms']:7.2f})   "
                f"json file {theirs['median_ms']:8.1f} ({theirs['worst_ms']:7.1f})   {ratio:9.0f}x"
            )
    result["worst_median_ms"] = worst
    args.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(f"\nworst median {worst:.2f} ms, aim {AIM:.0f} ms; written to {args.out}")
    if worst > AIM:
        raise SystemExit("the aim is missed")


if __name__ == "__main__":
    main()
