"""``foretoken generate``, and ``foretoken search`` for chains, as a user calls them."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time

import pytest
import typer

from foretoken.cli import generate, search
from foretoken.cli.chains import Chains, bars
from foretoken.cli.output import guarded
from foretoken.generated import MenuProgress, Tried
from foretoken.models.cola.vocabulary import EOS, VOCABULARY
from foretoken.server.registry.registry import Registry
from tests.serving import COMMAND, serving
from tests.toys import cola

PROMPT = "12+34="
LAYERS = cola.CONFIG["shape"]["layers"]


@pytest.fixture(scope="module")
def model():
    return cola.made()


@pytest.fixture(scope="module")
def home(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("generate")
    with Registry.open(folder) as registry:
        registry.register("sums", cola.written(model, tmp_path_factory.mktemp("sums")))
    return folder


@pytest.fixture(scope="module")
def server(home):
    with serving(data_dir=home) as running:
        yield running


@pytest.fixture
def call(home, capsys):
    """Run a command on the data dir, or with a server; exit status, stdout and stderr."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("generate")(generate.generate)
    app.command("search")(search.search)

    def run(*words):
        where = [] if "--server" in words else ["--data-dir", str(home)]
        with pytest.raises(SystemExit) as ended, guarded():
            app([*map(str, words), *where])
        return ended.value.code or 0, *capsys.readouterr()

    return run


def text_of(model, most, chain=None):
    return VOCABULARY.decode(cola.greedy(model, PROMPT, most, chain))


def test_the_answer_is_told_and_then_what_became_of_it(call, model):
    status, out, err = call("generate", "sums", PROMPT, "--max-tokens", 6)
    assert (status, out) == (0, text_of(model, 6) + "\n")
    note = err.splitlines()[-1]
    assert note.startswith("note: ")
    assert "by sums:1 (" in note
    assert note.endswith("3 layers: 0,1,2")


def test_a_chain_may_be_given(call, model):
    status, out, err = call("generate", "sums", PROMPT, "--chain", "0,0,1,2", "--max-tokens", 6)
    assert (status, out) == (0, text_of(model, 6, (0, 0, 1, 2)) + "\n")
    assert "4 layers: 0,0,1,2" in err


def test_json_is_an_object_for_each_token_and_one_for_the_answer(call, model):
    status, out, _ = call(
        "generate", "sums", PROMPT, "--max-tokens", 4, "--logprobs", 2, "--json", "--chain", "2,1"
    )
    *tokens, answer = map(json.loads, out.splitlines())
    assert status == 0
    assert [token["id"] for token in tokens] == cola.greedy(model, PROMPT, 4, (2, 1))
    assert all(len(token["likeliest"]) == 2 for token in tokens)
    assert answer["text"] == text_of(model, 4, (2, 1))
    assert (answer["model"], answer["version"], answer["chain"]) == ("sums", 1, [2, 1])
    assert answer["answer_tokens"] == len(tokens)
    assert answer["layers_run"] == 2 * (answer["prompt_tokens"] + len(tokens) - 1)


def test_logprobs_are_lines(call, model):
    _, out, _ = call("generate", "sums", PROMPT, "--max-tokens", 4, "--logprobs", 2)
    ids = cola.greedy(model, PROMPT, 4)
    assert [int(line.split()[0]) for line in out.splitlines()] == ids
    assert all(
        f"{i}: {line.split()[1]}" in line for i, line in zip(ids, out.splitlines(), strict=True)
    )


def test_prompts_come_from_files_and_numbers(call, tmp_path, monkeypatch, model):
    wanted = text_of(model, 4) + "\n"
    (tmp_path / "prompt.txt").write_text(PROMPT + "\n", "utf-8")
    options = ("--max-tokens", 4)
    assert call("generate", "sums", "--prompt-file", tmp_path / "prompt.txt", *options)[1] == wanted
    monkeypatch.setattr(sys, "stdin", io.StringIO(PROMPT))
    assert call("generate", "sums", "--prompt-file", "-", *options)[1] == wanted
    ids = ",".join(map(str, VOCABULARY.encode(PROMPT)))
    assert call("generate", "sums", "--ids", ids, *options)[1] == wanted


def test_what_is_drawn_is_drawn_again_by_its_seed(call):
    drawn = ("generate", "sums", PROMPT, "--temperature", 3, "--json", "--max-tokens", 12)
    first = json.loads(call(*drawn)[1].splitlines()[-1])
    second = json.loads(call(*drawn, "--seed", first["seed"])[1].splitlines()[-1])
    assert (first["text"], first["answer_tokens"]) == (second["text"], second["answer_tokens"])
    other = json.loads(call(*drawn)[1].splitlines()[-1])
    assert other["seed"] != first["seed"]


def test_a_server_answers_the_same(call, server):
    words = ("generate", "sums", PROMPT, "--max-tokens", 5, "--chain", "0,1,1,2", "--json")
    here, there = call(*words), call(*words, "--server", server.address)
    assert here[0] == there[0] == 0
    ours, theirs = ([json.loads(line) for line in said[1].splitlines()] for said in (here, there))
    assert [token["id"] for token in ours[:-1]] == [token["id"] for token in theirs[:-1]]
    kept = ("text", "chain", "layers_run", "prompt_tokens", "finish", "model", "version")
    assert [ours[-1][name] for name in kept] == [theirs[-1][name] for name in kept]


def test_a_search_finds_a_chain(call):
    status, out, err = call(
        "generate", "sums", PROMPT, "--policy", "search", "--pattern", "[0-9]",
        "--simulations", 60, "--max-tokens", 2,
    )  # fmt: skip
    assert status == 0
    assert any(c.isdigit() for c in out)
    assert "layers: " in err


@pytest.mark.parametrize("where", ["here", "there"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sums"], "give one prompt: PROMPT, --prompt-file or --ids"),
        (["sums", "1", "--ids", "1"], "give one prompt"),
        (["sums", "--ids", "1,b"], "--ids takes integers with commas between, not '1,b'"),
        (["sums", "1", "--chain", "x"], "--chain takes integers"),
        (["sums", "1", "--chain", ""], "a chain has 1 to 12 layers, not 0"),
        (["sums", "1", "--chain", "3"], "layers are 0 to 2"),
        (["sums", "1", "--max-tokens", "64"], "positions for 64"),
        (["sums", "1", "--temperature", "-1"], "temperature must be 0 or more"),
        (["sums", "1", "--policy", "deep"], "policy is one of"),
        (["sums", "1", "--answer", "1"], "a verifier and the policy 'search' go together"),
        (["sums", "1", "--answer", "1", "--confident"], "one of answer, pattern and confident"),
        (["sums", "--prompt-file", "/no/such"], "no file /no/such"),
        (["nobody", "1"], "nobody"),
    ],
)
def test_what_is_refused_in_one_line(call, server, where, words, said):
    there = ["--server", server.address] if where == "there" else []
    status, out, err = call("generate", *words, *there)
    assert (status, out) == (2, "")
    assert said in err.splitlines()[-1]


def test_ctrl_c_ends_it(home):
    said = [*COMMAND[:-1], "generate", "sums", PROMPT, "--data-dir", str(home)]
    said += ["--policy", "search", "--pattern", "never", "--simulations", "100000"]
    process = subprocess.Popen(said, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


# -- chains of labelled prompts -------------------------------------------------------------------


def labelled(model, count):
    """Prompts that the chain (1, 2) answers, and their answers."""
    rows = []
    for i in range(1000):
        prompt = f"{i}+{i * 7 % 13}="
        ids = cola.greedy(model, prompt, 3, (1, 2))
        if ids[-1] == EOS and len(ids) > 1:
            rows.append({"prompt": prompt, "answer": VOCABULARY.decode(ids)})
        if len(rows) == count:
            return rows
    raise AssertionError("too few of the answers end")


@pytest.fixture(scope="module")
def problems(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("problems") / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in labelled(model, 12)), "utf-8")
    return path


@pytest.mark.parametrize("where", ["here", "there"])
def test_a_menu_is_searched_told_drawn_and_stored(call, server, problems, tmp_path, where):
    there = ["--server", server.address] if where == "there" else []
    options = ("--simulations", 30, "--chains", 4, "--max-tokens", 3, *there)
    picture = tmp_path / "chains.png"
    status, out, err = call("search", problems, "sums:1", *options, "--plot", picture)
    assert status == 0, err
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "For 6 of 6 prompts a right chain was found" in out
    for said in ("layers of the chain (3 in the whole one)", "runs of the layer", "█", "Menu of"):
        assert said in out
    status, out, _ = call("search", problems, "sums:1", *options, "--json")
    made = json.loads(out)
    assert status == 0
    assert (made["model"], made["searched"], made["found"]) == ("sums", 6, 6)
    assert 1 <= len(made["chains"]) <= 4
    assert made["figures"]["rows"] == {"chosen_by": 6, "held_out": 6}
    assert sum(made["lengths"].values()) == 6
    ref = f"sums:{made['version']}"
    status, out, err = call(
        "generate", ref, PROMPT, "--policy", "menu", "--max-tokens", 3, "--json", *there
    )
    assert status == 0, err
    assert json.loads(out.splitlines()[-1])["chain"] in made["chains"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--top", "3"], "--top and --prompt are for texts"),
        (["--prompt", "q: "], "--top and --prompt are for texts"),
        (["--plot", "chains.gif"], "must end in one of .png, .svg, .pdf"),
        (["--simulations", "0"], "simulations is 1 to"),
        (["--held-out", "1.5"], "held_out is a share between 0 and 1"),
        (["--chains", "0"], "chains is"),
    ],
)
def test_options_that_cannot_be(call, problems, words, said):
    status, _, err = call("search", problems, "sums", *words)
    assert status == 2
    assert said.lower() in err.lower()


def test_files_that_are_no_labelled_prompts(call, tmp_path):
    path = tmp_path / "rows.jsonl"
    for text, said in (
        ('{"prompt": "1", "answer": "2"}\n{"prompt": "1"}\n', "line 2: a row has"),
        ("no\n", "line 1: "),
        ("", "a menu takes 2 to"),
    ):
        path.write_text(text, "utf-8")
        status, _, err = call("search", path, "sums")
        assert status == 2
        assert said in err
    row = {"prompt": "1", "pattern": "a\u2028b\x85"}
    path.write_text(2 * (json.dumps(row, ensure_ascii=False) + "\n"), "utf-8")
    assert "no model 'none'" in call("search", path, "none")[2], "such texts end no line"
    assert "no file" in call("search", tmp_path / "none.jsonl", "sums")[2]
    status, _, err = call("search", tmp_path / "a.parquet", "what", "--simulations", 3)
    assert status == 2
    assert "are for labelled prompts, files that end in .jsonl or .ndjson" in err


def test_what_a_picture_is_drawn_of():
    chains = Chains()
    chains.add(MenuProgress("choose", 1, 2))
    chains.add(MenuProgress("search", 1, 2, 0, 3, (Tried((0, 1, 2), 0, 0), Tried((2, 2), 1, 1))))
    chains.add(MenuProgress("search", 2, 2, 1, 3, (Tried((0, 1, 2), 1, 0), Tried((2,), 0, 1))))
    chains.add(MenuProgress("search", 2, 2, 1, 3, (Tried((0, 1, 2), 0, 0),)))
    assert (chains.prompts, chains.found) == (3, [(2, 2), (0, 1, 2)])
    assert chains.lengths == {2: 1, 3: 1}
    assert chains.usage == {0: 0.5, 1: 0.5, 2: 1.5}
    assert [line.count("█") for line in bars([(0, 1.0), (1, 0.0), (2, 2.0)])] == [20, 0, 40]
    assert Chains().lengths == {}
