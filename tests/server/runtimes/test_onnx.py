"""The ONNX runtime: what it refuses and how, threads, shared pages, and no torch."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from foretoken.errors import DataLoss, ForetokenError, InternalError, InvalidInput, Unsupported
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.server.runtimes import runtime
from foretoken.server.runtimes.onnx import OnnxRuntime
from tests.toys import TOYS

ROOT = Path(__file__).resolve().parents[3]
FAMILY = TOYS["in_context"]


@pytest.fixture
def artefact(published) -> Artefact:
    return published("in_context")


@pytest.fixture
def example(artefact):
    return list(FAMILY.examples(artefact.config, "query"))[1]


def load(artefact: Artefact):
    return OnnxRuntime().load(artefact, FAMILY, 1)


def with_graph(artefact: Artefact, folder: Path, data: bytes) -> Artefact:
    (folder / "query.onnx").write_bytes(data)
    return replace(artefact, files={**artefact.files, "query.onnx": folder / "query.onnx"})


def edited(artefact: Artefact, folder: Path, edit) -> Artefact:
    model = onnx.load_model_from_string(artefact.files["query.onnx"].read_bytes())
    edit(model.graph)
    return with_graph(artefact, folder, model.SerializeToString())


def test_it_is_the_runtime_of_its_name():
    assert isinstance(runtime("onnx"), OnnxRuntime)
    with pytest.raises(InvalidInput, match="there are onnx, torch"):
        runtime("tensorrt")


@pytest.mark.parametrize("data", [b"hello", b"\x08\x0a\x12", b"\x80\x04K\x01."])
def test_what_is_no_graph_is_data_loss(artefact, tmp_path, data):
    with pytest.raises(DataLoss, match=r"query\.onnx cannot be read"):
        load(with_graph(artefact, tmp_path, data))


def test_a_truncated_graph_is_data_loss(artefact, tmp_path):
    data = artefact.files["query.onnx"].read_bytes()
    with pytest.raises(DataLoss, match=r"query\.onnx cannot be read"):
        load(with_graph(artefact, tmp_path, data[: len(data) // 2]))


def test_a_missing_file_is_data_loss(artefact, tmp_path):
    files = {**artefact.files, "query.onnx": tmp_path / "gone.onnx"}
    with pytest.raises(DataLoss, match=r"gone\.onnx cannot be read"):
        load(replace(artefact, files=files))


def test_a_version_without_graphs_is_unsupported(artefact):
    files = {WEIGHTS: artefact.files[WEIGHTS]}
    with pytest.raises(Unsupported, match="models export"):
        load(replace(artefact, files=files, export={}))


@pytest.mark.parametrize("said", [{}, {"weights": "out.weight"}, [], None])
def test_a_description_that_does_not_say_the_weights_is_refused(artefact, said):
    with pytest.raises(InvalidInput, match="which weights graph 'query' uses"):
        load(replace(artefact, export={**artefact.export, "query": said}))


def test_another_precision_is_unsupported(artefact):
    with pytest.raises(Unsupported, match="bfloat16; serve this version with the torch runtime"):
        load(replace(artefact, precision="bfloat16"))


def _rename_input(graph):
    graph.input[0].name = "rows"
    for node in graph.node:
        node.input[:] = ["rows" if name == "x" else name for name in node.input]


def _add_output(graph):
    graph.output.add().CopyFrom(graph.output[0])
    graph.node.add(op_type="Identity", input=["logits"], output=["more"])
    graph.output[-1].name = "more"


def _unknown_operator(graph):
    graph.node[-1].op_type = "NoSuchOperator"


def _dangling(graph):
    graph.node[-1].input[0] = "nowhere"


def _other_shape(graph):
    weight = next(t for t in graph.initializer if t.name == "out.weight")
    weight.dims[0] += 1


def _other_name(graph):
    weight = next(t for t in graph.initializer if t.name == "out.weight")
    weight.name = "out.weights"


def _nothing(graph):
    graph.Clear()


@pytest.mark.parametrize(
    "edit",
    [_nothing, _rename_input, _add_output, _unknown_operator, _dangling, _other_shape, _other_name],
)
def test_a_foreign_graph_is_refused_with_a_cure(artefact, tmp_path, edit):
    with pytest.raises(InvalidInput, match=r"query\.onnx is not the graph .* models export"):
        load(edited(artefact, tmp_path, edit))


def test_a_graph_cannot_make_the_runtime_read_another_file(artefact, tmp_path, monkeypatch):
    np.zeros((3, 16), np.float32).tofile(tmp_path / "secret")
    monkeypatch.chdir(tmp_path)

    def steal(graph):
        stolen = graph.initializer.add()
        stolen.CopyFrom(next(t for t in graph.initializer if t.name == "out.weight"))
        stolen.name = "stolen"
        next(e for e in stolen.external_data if e.key == "location").value = "secret"
        graph.node.add(op_type="Identity", input=["stolen"], output=["loot"])

    with pytest.raises(InvalidInput, match="External data path"):
        load(edited(artefact, tmp_path, steal))


def test_missing_weights_are_named(artefact, tmp_path):
    weights = load_file(artefact.files[WEIGHTS])
    del weights["out.weight"]
    save_file(weights, tmp_path / WEIGHTS)
    files = {**artefact.files, WEIGHTS: tmp_path / WEIGHTS}
    with pytest.raises(InvalidInput, match=re.escape("['out.weight']")):
        load(replace(artefact, files=files))


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_weights_are_data_loss(artefact, tmp_path, kept):
    path = tmp_path / WEIGHTS
    path.write_bytes(artefact.files[WEIGHTS].read_bytes()[:kept])
    with pytest.raises(DataLoss, match=r"model\.safetensors cannot be read"):
        load(replace(artefact, files={**artefact.files, WEIGHTS: path}))


def test_a_missing_input_is_named(artefact, example):
    given = {name: array for name, array in example.items() if name != "keys"}
    with pytest.raises(InvalidInput, match="'keys'"):
        load(artefact).run("query", given)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x[0],
        lambda x: x[..., :2],
        lambda x: x.astype(np.float64),
        lambda x: np.full(x.shape, "a"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(artefact, example, wrong):
    with pytest.raises(InvalidInput, match="'query'"):
        load(artefact).run("query", {**example, "x": wrong(example["x"])})


def test_lengths_that_contradict_each_other_raise_one_of_ours(artefact, example):
    with pytest.raises((InternalError, InvalidInput)) as caught:
        load(artefact).run("query", {**example, "values": example["values"][:, :2]})
    assert isinstance(caught.value, ForetokenError)


def test_what_it_does_not_take_is_ignored(artefact, example):
    executable = load(artefact)
    made = executable.run("query", {**example, "more": np.zeros(3)})
    np.testing.assert_array_equal(made["logits"], executable.run("query", example)["logits"])


def test_an_unknown_graph_is_unsupported(artefact):
    with pytest.raises(Unsupported, match="loaded are forward, encode_context, query"):
        load(artefact).run("backward", {})


def test_after_close_nothing_runs(artefact, example):
    executable = load(artefact)
    executable.close()
    with pytest.raises(Unsupported):
        executable.run("query", example)


def test_threads_may_run_at_once(artefact):
    executable = OnnxRuntime().load(artefact, FAMILY, 2)
    calls = [
        (g.name, e)
        for g in FAMILY.graphs(artefact.config)
        for e in FAMILY.examples(artefact.config, g.name)
    ] * 20
    alone = [executable.run(*call) for call in calls]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda call: executable.run(*call), calls))
    for a, b in zip(alone, together, strict=True):
        assert all(np.array_equal(a[name], b[name]) for name in a)


def test_memory_of_the_weights_is_told(artefact):
    weights = load_file(artefact.files[WEIGHTS])
    used = [w for graph in artefact.export.values() for w in graph["weights"]]
    assert load(artefact).nbytes == sum(weights[w].nbytes for w in used)


def test_weights_outlive_the_load(artefact, example):
    """Small tensors are read from the mapping at every run; it must not be unmapped."""
    import gc

    executable = load(artefact)
    first = executable.run("query", example)["logits"]
    for _ in range(3):
        gc.collect()
        load(artefact).close()
    np.testing.assert_array_equal(executable.run("query", example)["logits"], first)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_pages_of_the_weights_are_shared_and_never_written(tmp_path):
    from foretoken.models.weights import mapped

    path = tmp_path / WEIGHTS
    save_file({"w": np.ones((512, 512), np.float32)}, path)
    stored = mapped(path)
    assert stored["w"].array.sum() == 512 * 512
    blocks = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
    (block,) = [b for b in blocks if str(path) in b.splitlines()[0]]
    sizes = dict(re.findall(r"(\w+): +(\d+) kB", block))
    assert int(sizes["Rss"]) >= 1024
    assert sizes["Anonymous"] == "0", "a page was copied"


def test_torch_is_never_imported(artefact):
    folder = artefact.files[WEIGHTS].parent
    code = f"""
import sys
from pathlib import Path
from foretoken.models.artefact import Artefact
from foretoken.server.runtimes import runtime
from tests.toys import TOYS
artefact, family = Artefact.read(Path({str(folder)!r})), TOYS["in_context"]
executable = runtime("onnx").load(artefact, family, 1)
for graph in family.graphs(artefact.config):
    for example in family.examples(artefact.config, graph.name):
        assert executable.run(graph.name, example)
heavy = {{"torch", "onnx", "onnxscript"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
