"""The registry's commands: tables for people, JSON for programs, one line and a status on error."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from safetensors.numpy import save_file

from foretoken.cli import backup, models, transfer
from foretoken.cli.output import guarded
from foretoken.errors import InvalidInput, NotFound
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.catalog import families
from foretoken.models.recipes import Importer
from foretoken.models.tasks import Task
from foretoken.server.registry.registry import Registry
from tests import boxed

CONFIG = {"bars": 20}
COMMANDS = [
    "list",
    "show",
    "register",
    "alias set",
    "alias delete",
    "alias list",
    "history",
    "rollback",
    "delete",
    "verify",
    "gc",
    "options",
]


@pytest.fixture
def data_dir(tmp_path):
    """A data dir with ``curves``: 1 (champion), 2 from 1, and 3, FAILED."""
    folder = tmp_path / "data"
    with Registry.open(folder) as registry:
        first = registry.register("curves", artefact(tmp_path, 1), tags={"stage": "trial"})
        registry.register(
            "curves", artefact(tmp_path, 2), parent=first, relation="quantised-from", actor="ann"
        )
        with pytest.raises(InvalidInput):
            registry.register("curves", artefact(tmp_path, 3), check=_broken)
    return folder


def _broken(_):
    raise InvalidInput("logits differ by 0.7")


def artefact(tmp_path, value):
    folder = tmp_path / f"artefact-{value}"
    folder.mkdir()
    save_file({"w": np.full(3, value, np.float32)}, folder / WEIGHTS)
    Artefact("lcpfn", CONFIG, {}, serving={"threads": 2}).write(folder)
    return Artefact.read(folder)


@pytest.fixture
def call(data_dir, capsys):
    """Run a command line on the data dir; exit status, stdout and stderr."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.add_typer(models.app, name="models")
    models.app.command("import")(transfer.import_model)
    models.app.command("export")(transfer.export_model)
    app.command("backup")(backup.backup)
    app.command("restore")(backup.restore)

    def run(*words, data=data_dir):
        with pytest.raises(SystemExit) as ended, guarded():
            app([*map(str, words), "--data-dir", str(data)])
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def said(call):
    """Run a command line with ``--json`` that must succeed; what it says."""

    def run(*words, **options):
        status, out, err = call(*words, "--json", **options)
        assert (status, err) == (0, "")
        return json.loads(out)

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_takes_json(call, command):
    status, out, _ = call("models", *command.split(), "--help")
    assert status == 0
    assert "--json" in out
    assert "--data-dir" in out


def test_list_of_models_and_of_versions(call, said):
    models = {model["name"]: model for model in said("models", "list")}
    model = models.pop("curves")
    assert list(models) == boxed.names()
    assert (model["name"], model["versions"], model["latest"]) == ("curves", 2, 2)
    assert model["aliases"] == {"champion": 1}
    assert [v["number"] for v in said("models", "list", "curves")] == [2, 1]
    assert [v["number"] for v in said("models", "list", "curves", "--limit", 1)] == [2]
    assert [v["number"] for v in said("models", "list", "curves", "--after", 2)] == [1]
    every = said("models", "list", "curves", "--all")
    assert (every[0]["number"], every[0]["status"]) == (3, "FAILED")
    status, out, _ = call("models", "list", "curves", "--all")
    assert status == 0
    for text in ("champion", "FAILED", "logits differ by 0.7", "float32"):
        assert text in out
    assert said("models", "list", "--after", "zz") == []
    assert "Models: none" in call("models", "list", "--after", "zz")[1]
    assert call("models", "list", "curves", "--after", "x")[0] == 2


def test_show_tells_all_of_a_version(call, said):
    record = said("models", "show", "curves")
    assert (record["number"], record["tags"], record["aliases"]) == (
        1,
        {"stage": "trial"},
        ["champion"],
    )
    assert record["config"] == CONFIG
    assert record["options"] == {"threads": 2}
    assert record["files"][WEIGHTS]["digest"].startswith("sha256:")
    assert record["signature"]["forward"]["outputs"][0]["dims"] == ["B", "Q", 20]
    assert said("models", "show", "curves:2")["parent"]["relation"] == "quantised-from"
    assert said("models", "show", "curves:3")["reason"] == "logits differ by 0.7"
    out = call("models", "show", "curves:2")[1]
    assert "quantised-from curves:1" in out
    assert "logits float32[B, Q, 20]" in out


def test_register_from_a_folder(call, said, tiny_lcpfn):
    record = said(
        "models", "register", "curves", tiny_lcpfn, "--tag", "a=b", "-t", "c=d=e",
        "--parent", "curves:1", "--relation", "fine-tuned-from",
    )  # fmt: skip
    assert (record["number"], record["tags"]) == (4, {"a": "b", "c": "d=e"})
    assert record["parent"]["number"] == 1
    assert "Registered new:1" in call("models", "register", "new", tiny_lcpfn)[1]
    assert said("models", "show", "new")["aliases"] == ["champion"]


def test_a_folder_as_training_leaves_it_is_exported_first(call, said, tmp_path, tiny_lcpfn):
    trained = tmp_path / "trained"
    trained.mkdir()
    shutil.copy(tiny_lcpfn / WEIGHTS, trained)
    replace(Artefact.read(tiny_lcpfn), files={}, export={}).write(trained)
    record = said("models", "register", "trained", trained)
    shown = said("models", "show", record["name"])
    assert shown["export"]["forward"]["parity"]["largest"] < 1e-4
    assert "forward.onnx" in shown["files"]


def test_a_graph_that_is_not_the_familys_is_refused(call, said, tmp_path, tiny_lcpfn):
    foreign = tmp_path / "foreign"
    shutil.copytree(tiny_lcpfn, foreign)
    (foreign / "forward.onnx").write_bytes(b"not a graph")
    status, _, err = call("models", "register", "foreign", foreign)
    assert status == 1  # damaged bytes are not the caller's mistake
    assert "forward.onnx" in err or "ONNX" in err
    assert "foreign" not in [model["name"] for model in said("models", "list")]


def test_export_writes_a_folder_that_registers_again(call, said, tmp_path, tiny_lcpfn):
    said("models", "register", "tiny", tiny_lcpfn)
    said("models", "export", "tiny", "--out", tmp_path / "out")
    again = said("models", "register", "again", tmp_path / "out")
    assert again["manifest_digest"] == said("models", "show", "tiny")["manifest_digest"]
    assert call("models", "export", "tiny", "--out", tmp_path / "out")[0] == 2


def test_an_int8_export_is_a_child_with_its_loss(call, said, tmp_path, tiny_lcpfn):
    said("models", "register", "tiny", tiny_lcpfn)
    said("models", "export", "tiny", "--out", tmp_path / "small", "--precision", "int8")
    shown = said("models", "show", "tiny:2")
    assert (shown["precision"], shown["parent"]["relation"]) == ("int8", "quantised-from")
    assert 0 < shown["export"]["forward"]["loss"]["rms"] < 0.2
    assert "loss" in call("models", "show", "tiny:2")[1]
    assert call("models", "export", "tiny", "--out", tmp_path / "x", "--precision", "int3")[0] == 2


def test_a_bfloat16_export_is_a_child_that_torch_serves(call, said, tmp_path, tiny_lcpfn):
    said("models", "register", "tiny", tiny_lcpfn)
    said("models", "export", "tiny", "--out", tmp_path / "half", "--precision", "bfloat16")
    shown = said("models", "show", "tiny:2")
    assert (shown["precision"], shown["parent"]["relation"]) == ("bfloat16", "quantised-from")
    assert Artefact.read(tmp_path / "half").serving["runtime"] == "torch"
    assert 0.9 < shown["training"]["bfloat16"]["forward"]["cosine"] < 1
    words = ("models", "export", "tiny:1", "--out", tmp_path / "x", "--precision")
    for precision, accepted in (
        ("float16", "lcpfn become bfloat16 or int8"),
        ("fp8", "int8, bfloat16, float16 or left out"),
    ):
        status, _, err = call(*words, precision)
        assert status != 0
        assert accepted in " ".join(err.split())


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8"])
def test_models_without_graphs_have_children_of_every_precision(call, said, tmp_path, precision):
    family = families()["cola"]
    shape = {**family.small["shape"], "width": 64, "mlp": 64, "vocab": 64}
    config = {**family.small, "shape": shape}
    tensors = {n: t.numpy() for n, t in family.module(config).state_dict().items()}
    (tmp_path / "made").mkdir()
    save_file(tensors, tmp_path / "made" / WEIGHTS)
    Artefact("cola", config, {}).write(tmp_path / "made")
    said("models", "register", "made", tmp_path / "made")
    said("models", "export", "made", "--out", tmp_path / "small", "--precision", precision)
    shown = said("models", "show", "made:2")
    assert (shown["precision"], shown["parent"]["relation"]) == (precision, "quantised-from")
    assert shown["training"][precision]["likeliest"] > 0.9
    assert "divergence" in call("models", "show", "made:2")[1]
    assert call("models", "verify", "made:2")[0] == 0


def test_import_of_the_authors_layout(call, said, tmp_path, shared_data):
    fixture = np.load(shared_data / "parity/lcpfn_small_random.npz")
    state = {name[3:]: fixture[name] for name in fixture.files if name.startswith("sd/")}
    save_file(state, tmp_path / "theirs.safetensors")
    words = ("models", "import", "lcpfn-official", tmp_path / "theirs.safetensors", "--name", "t")
    assert said(*words, "-o", "heads=2")["family"] == "lcpfn"
    assert said("models", "show", "t")["config"]["width"] == 64
    for bad in (("-o", "heads"), ("-o", "heads=two"), ("-o", "tails=2")):
        assert call(*words, *bad)[0] == 2
    assert call("models", "import", "keras", tmp_path, "--name", "t")[0] == 2


def test_a_format_of_several_families_is_told_apart_by_the_task(monkeypatch):
    read = {name: Importer(name, (), lambda *_: None) for name in ("encoder", "decoder")}
    found = {
        "encoder": SimpleNamespace(
            name="encoder", task=Task.TEXT, importers={"hf": read["encoder"]}
        ),
        "decoder": SimpleNamespace(
            name="decoder", task=Task.GENERATION, importers={"hf": read["decoder"]}
        ),
    }
    monkeypatch.setattr(transfer, "families", lambda: found)
    assert transfer._importer("hf", "embedding") is read["encoder"]
    assert transfer._importer("hf", "generation") is read["decoder"]
    for task in (None, "tabular"):
        with pytest.raises(InvalidInput, match=r"embedding \(encoder\), generation \(decoder\)"):
            transfer._importer("hf", task)
    with pytest.raises(InvalidInput, match="'painting'"):
        transfer._importer("hf", "painting")
    with pytest.raises(NotFound, match="hf"):
        transfer._importer("keras", "embedding")


def test_what_cannot_be_registered(call, tmp_path):
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / "model.pt").write_bytes(b"x")
    artefact(tmp_path, 5)
    good = tmp_path / "artefact-5"
    for words in (
        ("m", folder),
        ("m", tmp_path / "nothing"),
        ("../m", good),
        ("m", good, "--tag", "x"),
        ("m", good, "--parent", "curves:1"),
        ("m", good, "--parent", "curves:9", "--relation", "exported-from"),
    ):
        status, out, err = call("models", "register", *words)
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1


def test_an_alias_moves_by_degrees_and_back(call, said):
    moved = said("models", "alias", "set", "champion@curves", 2, "--canary", "10%")
    assert moved["target"] == {"version": 1, "canary": {"version": 2, "percent": 10.0}}
    assert "1, 10% to 2" in call("models", "alias", "list", "curves")[1]
    moved = said("models", "alias", "set", "curves", 2, "--expect-generation", 2, "--actor", "bob")
    assert (moved["target"], moved["generation"]) == ({"version": 2, "canary": None}, 3)
    status, _, err = call("models", "alias", "set", "curves", 1, "--expect-generation", 2)
    assert status == 2
    assert "has generation 3, not 2" in err
    assert said("models", "rollback", "curves")["target"]["canary"]["version"] == 2
    assert said("models", "rollback", "champion@curves")["target"]["version"] == 1
    events = said("models", "history", "curves")
    assert [e["action"] for e in events] == ["set", "set", "set", "rollback", "rollback"]
    assert events[2]["actor"] == "bob"
    assert (
        call("models", "history", "curves", "--alias", "shadow")[1] == "History of curves: none\n"
    )


def test_aliases_are_made_listed_and_deleted(call, said):
    said("models", "alias", "set", "shadow@curves", 2)
    assert [a["alias"] for a in said("models", "alias", "list", "curves")] == ["champion", "shadow"]
    assert said("models", "alias", "delete", "shadow@curves") == {"deleted": "shadow@curves"}
    assert call("models", "alias", "delete", "shadow@curves")[0] == 2
    for words in (("set", "curves:1", 2), ("set", "x@curves", 9), ("list", "nothing")):
        assert call("models", "alias", *words)[0] == 2
    for canary in ("x", "0", "100%", "nan"):
        assert call("models", "alias", "set", "curves", 2, "--canary", canary)[0] == 2


def test_delete_and_collect(call, said):
    status, _, err = call("models", "delete", "curves:1")
    assert status == 2
    assert "models alias set champion@curves VERSION" in err
    assert said("models", "delete", "curves:2") == {"deleted": "curves:2"}
    assert said("models", "gc", "--dry-run", "--grace", 0)["blobs"] == 4
    assert said("models", "gc")["blobs"] == 0
    assert said("models", "gc", "--grace", 0)["blobs"] == 4
    assert "Collected" in call("models", "gc")[1]
    assert "Deleted curves:3" in call("models", "delete", "curves:3")[1]


def test_verify_reports_each_file_and_fails_when_one_is_damaged(call, said, data_dir):
    assert {row["ok"] for row in said("models", "verify")} == {True}
    digest = said("models", "show", "curves:2")["files"][WEIGHTS]["digest"]
    path = data_dir / "blobs/sha256" / digest.removeprefix("sha256:")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    status, out, err = call("models", "verify", "--json")
    assert status == 1
    bad = [(row["version"], row["file"]) for row in json.loads(out) if not row["ok"]]
    assert bad == [("curves:2", WEIGHTS)]
    assert re.search(r"1 of \d+ files", err)
    assert {row["ok"] for row in said("models", "verify", "curves:1")} == {True}


def test_options_are_shown_set_and_taken_back(call, said):
    assert set(said("models", "options", "curves").values()) == {None}
    set_ = said("models", "options", "curves", "threads=4", "batch_tokens=512", "runtime=onnx")
    assert (set_["threads"], set_["batch_tokens"], set_["runtime"]) == (4, 512, "onnx")
    assert said("models", "show", "curves")["options"]["threads"] == 4
    assert said("models", "options", "curves", "threads=")["threads"] is None
    assert said("models", "show", "curves")["options"] == {
        "threads": 2,
        "batch_tokens": 512,
        "runtime": "onnx",
    }
    for wrong in ("threads=0", "threads=x", "thread=1", "thread=", "threads", "runtime=2"):
        assert call("models", "options", "curves", wrong)[0] == 2


@pytest.mark.parametrize("name", ["b.tar", "folder"])
def test_backup_and_restore(call, said, tmp_path, name):
    out = tmp_path / name
    summary = said("backup", out)
    assert summary["blobs"] == 4
    assert "error: " in call("backup", out)[2]
    assert call("restore", out)[0] == 2, "the data dir is not empty"
    assert said("restore", out, data=tmp_path / "new") == summary
    assert said("models", "list", "curves", data=tmp_path / "new") == said(
        "models", "list", "curves"
    )
    said("models", "alias", "set", "curves", 2)
    assert said("restore", out, "--overwrite") == summary
    assert said("models", "show", "curves")["number"] == 1
    assert "Restored" in call("restore", out, data=tmp_path / "again")[1]


def test_ctrl_c_ends_a_backup_without_a_trace(call, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("foretoken.server.registry.backup._add", interrupt)
    status, out, _ = call("backup", tmp_path / "out" / "b.tar")
    assert status != 0
    assert out == ""
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("list", "curves", "--after", 10**20),
        ("list", "curves", "--after", "9" * 5000),
        ("alias", "set", "curves", 10**20),
        ("alias", "set", "shadow@curves", 10**20, "--expect-generation", 10**20),
        ("gc", "--grace", "inf"),
        ("gc", "--grace", "1e12"),
    ],
)
def test_numbers_beyond_all_bounds_are_refused_in_a_line(call, words):
    status, out, err = call("models", *words)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_the_largest_numbers_are_taken(call, said):
    assert [v["number"] for v in said("models", "list", "curves", "--after", 10**18 - 1)] == [2, 1]
    _, _, err = call("models", "alias", "set", "curves", 10**18 - 1)
    assert "no version 999999999999999999" in err


def test_text_from_users_is_shown_as_it_is(call, said, tiny_lcpfn):
    """Square brackets are not taken for markup."""
    said("models", "register", "x", tiny_lcpfn, "--tag", "note=[red]hot[/red]")
    assert "[red]hot[/red]" in call("models", "show", "x")[1]
    assert "'[bold]'" in call("models", "show", "[bold]")[2]


def test_a_new_data_dir_gets_the_bundled_models(call, said, tmp_path):
    names = [model["name"] for model in said("models", "list", data=tmp_path / "fresh")]
    assert names == boxed.names()
