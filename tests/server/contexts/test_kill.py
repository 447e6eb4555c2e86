"""What was acknowledged before kill -9 holds after it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from foretoken.errors import NotFound
from tests.server.contexts.tables import inline, rows, same, table, with_context

RESULT = Path(__file__).resolve().parents[3] / "benchmarks/results/context_kill.json"
TOIL = """
import random, sys
from pathlib import Path
from foretoken.server.local import LocalPlane
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings
from tests.server.contexts.tables import table
data, seed = Path(sys.argv[1]), int(sys.argv[2])
choice = random.Random(seed)
with Registry.open(data) as registry, LocalPlane(registry, load_settings(data_dir=data)) as plane:
    print("ready", flush=True)
    mine = {}
    while True:
        number = seed * 1000 + choice.randrange(8)
        if number in mine and choice.random() < 0.5:
            plane.delete_context(mine.pop(number))
            print("deleted", number, flush=True)
        else:
            mine[number] = plane.fit("toy", table(number)).context.id
            print("fitted", number, mine[number], flush=True)
"""


def killed(data_dir, env, seed, lines):
    """What a process said until it was killed, behind that many lines."""
    said = []
    process = subprocess.Popen(
        [sys.executable, "-c", TOIL, str(data_dir), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )
    with process:
        for line in process.stdout:
            said.append(line.split())
            if len(said) == lines:
                process.send_signal(signal.SIGKILL)
                break
        said += [line.split() for line in process.stdout if line.endswith("\n")]
    assert process.returncode == -signal.SIGKILL
    return said[1:]


def look(planes, registry, said) -> Counter[str]:
    """Each context, as the last line about it has it; counts of what was found."""
    plane = planes()
    last = {words[1]: words for words in said}
    ids = {words[1]: words[2] for words in said if words[0] == "fitted"}
    # The process may have begun to do more than it has said, with one table.
    doubtful, found_so = 0, Counter({"kills": 1})
    for number, words in last.items():
        request = with_context(ids[number], rows())
        try:
            found = plane.answer("", [request])
        except NotFound:
            doubtful += words[0] == "fitted"
            found_so["deletes acknowledged, not found after the kill"] += words[0] == "deleted"
            continue
        doubtful += words[0] == "deleted"
        assert found.hits == (True,)
        kept = registry.contexts.find(ids[number], None)
        plane.delete_context(kept.record.id)
        plain = plane.answer("toy", [inline(table(int(number)), rows())])
        assert plain.hits == (False,)
        same(found, plain)
        found_so["fits acknowledged, answered with HIT after the kill"] += words[0] == "fitted"
    assert doubtful <= 1
    found_so["done but not yet said"] += doubtful
    return found_so


def rounds(planes, registry, toys, count) -> Counter[str]:
    choice, found = random.Random(count), Counter()
    for seed in range(count):
        said = killed(registry.data_dir, toys, seed, choice.randint(3, 20))
        found += look(planes, registry, said)
        for record in planes().contexts():
            planes().delete_context(record.id)  # fitted, but not said any more
        registry.gc(0)
        assert not list((registry.data_dir / "contexts").rglob("*/*")), "nothing is left over"
    return found


def test_a_context_that_was_acknowledged_is_there_after_a_kill(planes, registry, toys):
    rounds(planes, registry, toys, 2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_kills(planes, registry, toys):
    found = rounds(planes, registry, toys, 60)
    RESULT.write_text(json.dumps(dict(found), indent=1) + "\n", "utf-8")
