"""The torch runtime: precision, threads, errors; its numbers are the conformance suite's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from foretoken.errors import DataLoss, InternalError, InvalidInput, Unsupported
from foretoken.exporters.modules import load_module
from foretoken.models.artefact import WEIGHTS
from foretoken.models.contract import Graph
from foretoken.models.contract import Tensor as Declared
from foretoken.server.engine.batches import BITS
from foretoken.server.runtimes import runtime
from foretoken.server.runtimes import torch as runtimes_torch
from foretoken.server.runtimes.base import fitting, graphs_of
from foretoken.server.runtimes.layers import random_logits
from foretoken.server.runtimes.torch import TorchRuntime
from tests.exporters.single import Single, saved
from tests.published import SUBJECTS
from tests.toys import TOYS

FAMILY = TOYS["stateless"]


@pytest.fixture
def artefact(published):
    return published("stateless")


@pytest.fixture
def example(artefact):
    return list(FAMILY.examples(artefact.config, "forward"))[2]


def test_it_is_the_runtime_of_its_name():
    assert isinstance(runtime("torch"), TorchRuntime)


@pytest.mark.parametrize("name", sorted(set(SUBJECTS) - {"cola", "fastrp", "static_encoder"}))
def test_bfloat16_is_close_and_answers_in_the_declared_dtypes(published, name):
    family, artefact = SUBJECTS[name], published(name)
    full = TorchRuntime("cpu").load(artefact, family, 1)
    half = TorchRuntime("cpu").load(replace(artefact, precision="bfloat16"), family, 1)
    assert half.nbytes < full.nbytes
    for graph in graphs_of(replace(artefact, precision="bfloat16"), family):
        example = list(family.examples(artefact.config, graph.name))[1]
        wanted = full.run(graph.name, example)
        made = half.run(graph.name, fitting(graph, example))
        for tensor in (*graph.outputs, *graph.writes):
            assert made[tensor.name].dtype == BITS.get(tensor.dtype, tensor.dtype)
            values = wide(made[tensor.name])
            np.testing.assert_allclose(values, wanted[tensor.name], atol=0.15, rtol=0.1)
    assert any(
        not np.array_equal(full.run(g.name, e)[t.name], half.run(g.name, e)[t.name])
        for g in family.graphs(artefact.config)
        for e in family.examples(artefact.config, g.name)
        for t in g.outputs
    )


def wide(array):
    """Numbers, of bfloat16's bits too."""
    return (array.astype(np.uint32) << 16).view(np.float32) if array.dtype == np.uint16 else array


def test_contexts_are_kept_in_bfloat16_and_states_of_sequences_are_not(published):
    for name, dtype in (("in_context", "bfloat16"), ("recurrent", "float32")):
        artefact = replace(published(name), precision="bfloat16")
        states = {
            t.name: t.dtype
            for graph in graphs_of(artefact, SUBJECTS[name])
            for t in graph.writes
            if t.dtype != "int64"
        }
        assert set(states.values()) == {dtype}
        assert {t.dtype for g in graphs_of(published(name), SUBJECTS[name]) for t in g.writes} <= {
            "float32",
            "int64",
        }


def test_a_context_in_bfloat16_takes_half_and_answers_alike(published):
    artefact, family = published("tabpfn"), SUBJECTS["tabpfn"]
    half = replace(artefact, precision="bfloat16")
    given = list(family.examples(artefact.config, "encode_context"))[-1]
    asked = np.random.default_rng(1).standard_normal((len(given["n"]), 5, 12), np.float32)
    states, answers = [], []
    for each in (artefact, half):
        executable = TorchRuntime("cpu").load(each, family, 1)
        states.append(executable.run("encode_context", given))
        query = {**states[-1], "n": given["n"], "x": asked}
        raised = np.exp(executable.run("query", query)["logits"])
        answers.append(raised / raised.sum(-1, keepdims=True))
    assert all(states[1][k].dtype == np.uint16 for k in states[1])
    assert 2 * sum(a.nbytes for a in states[1].values()) == sum(
        a.nbytes for a in states[0].values()
    )
    assert 0 < np.abs(answers[0] - answers[1]).max() < 1e-2


def test_bits_are_those_that_torch_rounds_to():
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    values[:4] = [0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8]
    graph = Graph("g", (), (), reads=(Declared("k", "bfloat16", ("B",)),))
    bits = fitting(graph, {"k": values})["k"]
    np.testing.assert_array_equal(wide(bits), torch.from_numpy(values).bfloat16().float().numpy())


def test_arrays_that_may_not_be_written_are_read_where_they_lie(published):
    family, artefact = SUBJECTS["stateless"], published("stateless")
    executable = TorchRuntime("cpu").load(artefact, family, 1)
    example = list(family.examples(artefact.config, "forward"))[1]
    rows = 1 + runtimes_torch._LARGE // min(a.nbytes // len(a) for a in example.values())
    many = {name: np.repeat(array[:1], rows, axis=0) for name, array in example.items()}
    wanted = executable.run("forward", many)
    for array in many.values():
        array.flags.writeable = False
        same = runtimes_torch._writable(array)
        assert same.flags.writeable
        assert np.shares_memory(same, array) == (array.nbytes >= runtimes_torch._LARGE)
    for name, array in executable.run("forward", many).items():
        np.testing.assert_array_equal(array, wanted[name])


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_other_precisions_are_unsupported(artefact, published, precision):
    with pytest.raises(Unsupported, match="serve this version with the onnx runtime"):
        TorchRuntime("cpu").load(replace(artefact, precision=precision), FAMILY, 1)
    layered = replace(published("cola"), precision="int4")
    with pytest.raises(Unsupported, match="cola in float32, bfloat16, float16, int8, not int4"):
        TorchRuntime("cpu").load(layered, SUBJECTS["cola"], 1)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_layers_run_in_what_their_weights_are_narrowed_to(published, precision):
    artefact, family = published("cola"), SUBJECTS["cola"]
    full = TorchRuntime("cpu").load(artefact, family, 1)
    half = TorchRuntime("cpu").load(replace(artefact, precision=precision), family, 1)
    module = half.layered
    assert half.dtype == getattr(torch, precision)
    with half.computing("layer"):
        h, turned = module.embed(torch.tensor([1, 5])), module.turned(torch.arange(2))
        h = module.layer(2, h, turned, lambda q, k, v: v.repeat_interleave(2, 1))
    assert h.dtype == half.dtype
    assert half.nbytes < full.nbytes
    wanted, made = random_logits(full), random_logits(half)
    assert (wanted.shape, made.dtype) == ((256, 12), torch.float32)
    assert torch.equal(made, random_logits(half))
    assert 0 < (wanted - made).abs().max() < 0.15


def test_int8_is_widened_to_what_the_device_multiplies(published, monkeypatch):
    artefact, family = replace(published("cola"), precision="int8"), SUBJECTS["cola"]
    full = TorchRuntime("cpu").load(published("cola"), family, 1)
    for able, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(runtimes_torch, "multiplies_bfloat16", lambda device, able=able: able)
        executable = TorchRuntime("cpu").load(artefact, family, 1)
        assert executable.dtype == dtype
        # Matrices of the small configuration are too small for int8: what is lost is bfloat16's.
        assert torch.equal(random_logits(executable), random_logits(full)) is not able


def test_random_logits_are_those_of_the_module(published):
    artefact, family = published("cola"), SUBJECTS["cola"]
    made = random_logits(TorchRuntime("cpu").load(artefact, family, 1), R=3, T=7)
    ids = torch.randint(12, (21,), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = load_module(artefact, family)(ids.view(3, 7)).flatten(0, 1)
    torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-5)


def test_it_needs_no_graphs(artefact, example):
    bare = replace(artefact, files={WEIGHTS: artefact.files[WEIGHTS]}, export={})
    made = TorchRuntime("cpu").load(bare, FAMILY, 1).run("forward", example)
    assert made["vector"].shape == (2, 16)


class _Counts(nn.Module):
    """Answers with the number of threads that it is run with."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, torch.get_num_threads())


def test_each_executable_has_its_own_number_of_threads_and_leaves_the_callers(tmp_path):
    family = Single(lambda: nn.Sequential(nn.Linear(8, 8), _Counts()))
    artefact = saved(family, tmp_path)
    one, two = (TorchRuntime("cpu").load(artefact, family, n) for n in (1, 2))
    before = torch.get_num_threads()
    for executable, threads in ((one, 1), (two, 2), (one, 1)):
        made = executable.run("forward", {"x": np.zeros((1, 1, 8), np.float32)})
        assert (made["y"] == threads).all()
        assert torch.get_num_threads() == before


def test_read_only_and_strided_inputs_are_fine(artefact, example):
    executable = TorchRuntime("cpu").load(artefact, FAMILY, 1)
    wanted = executable.run("forward", example)["vector"]
    tokens = np.asfortranarray(example["tokens"])
    tokens.flags.writeable = False
    made = executable.run("forward", {**example, "tokens": tokens})["vector"]
    np.testing.assert_array_equal(made, wanted)


def test_threads_may_run_at_once(artefact):
    executable = TorchRuntime("cpu").load(artefact, FAMILY, 1)
    calls = list(FAMILY.examples(artefact.config, "forward")) * 20
    alone = [executable.run("forward", call)["vector"] for call in calls]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda call: executable.run("forward", call)["vector"], calls))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_missing_input_is_named(artefact):
    with pytest.raises(InvalidInput, match="'length'"):
        TorchRuntime("cpu").load(artefact, FAMILY, 1).run(
            "forward", {"tokens": np.zeros((1, 1), np.int64)}
        )


def test_unknown_graphs_and_closed_ones_are_unsupported(artefact, example):
    executable = TorchRuntime("cpu").load(artefact, FAMILY, 1)
    with pytest.raises(Unsupported, match="loaded are forward"):
        executable.run("backward", example)
    executable.close()
    with pytest.raises(Unsupported):
        executable.run("forward", example)


def test_what_goes_wrong_inside_is_one_of_ours(tmp_path):
    family = Single(lambda: nn.Linear(8, 8))
    executable = TorchRuntime("cpu").load(saved(family, tmp_path), family, 1)
    with pytest.raises(InternalError, match="'forward' failed in torch"):
        executable.run("forward", {"x": np.zeros((1, 2, 7), np.float32)})


def test_truncated_weights_are_data_loss(artefact, tmp_path):
    path = tmp_path / WEIGHTS
    path.write_bytes(artefact.files[WEIGHTS].read_bytes()[:-1])
    with pytest.raises(DataLoss, match=r"model\.safetensors"):
        TorchRuntime("cpu").load(replace(artefact, files={WEIGHTS: path}), FAMILY, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", list(SUBJECTS))
def test_the_gpu_says_what_the_cpu_says(published, name):
    family, artefact = SUBJECTS[name], published(name)
    cpu, gpu = (TorchRuntime(device).load(artefact, family, 1) for device in ("cpu", "cuda"))
    for graph in family.graphs(artefact.config):
        for example in family.examples(artefact.config, graph.name):
            wanted, made = cpu.run(graph.name, example), gpu.run(graph.name, example)
            for tensor in wanted:
                np.testing.assert_allclose(made[tensor], wanted[tensor], atol=1e-4)


def test_rows_that_are_half_changed_are_told(published, monkeypatch):
    artefact, family = published("deltanet"), SUBJECTS["deltanet"]
    executable = TorchRuntime("cpu").load(artefact, family, 1)
    start = family.predictor(artefact.config, {}).start()
    rows = executable.rows(start, 4)

    def broken(x, S, conv, slots):
        S.index_fill_(0, slots, 1.0)
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(executable._module, "step_", broken)
    with pytest.raises(DataLoss, match="half changed: step_ failed: the device is gone"):
        rows.run(executable.declared("step"), {"x": np.zeros((2, 1), np.int64)}, [1, 2])
