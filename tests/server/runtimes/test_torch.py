"""The torch runtime: precision, threads, errors; its numbers are the conformance suite's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from foretoken.errors import DataLoss, InternalError, InvalidInput, Unsupported
from foretoken.models.artefact import WEIGHTS
from foretoken.server.runtimes import runtime
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


@pytest.mark.parametrize("name", list(SUBJECTS))
def test_bfloat16_is_close_and_answers_in_the_declared_dtypes(published, name):
    family, artefact = SUBJECTS[name], published(name)
    full = TorchRuntime("cpu").load(artefact, family, 1)
    half = TorchRuntime("cpu").load(replace(artefact, precision="bfloat16"), family, 1)
    assert half.nbytes < full.nbytes
    for graph in family.graphs(artefact.config):
        example = list(family.examples(artefact.config, graph.name))[1]
        wanted, made = full.run(graph.name, example), half.run(graph.name, example)
        for tensor in (*graph.outputs, *graph.writes):
            assert made[tensor.name].dtype == tensor.dtype
            np.testing.assert_allclose(made[tensor.name], wanted[tensor.name], atol=0.15, rtol=0.1)
    assert any(
        not np.array_equal(full.run(g.name, e)[t.name], half.run(g.name, e)[t.name])
        for g in family.graphs(artefact.config)
        for e in family.examples(artefact.config, g.name)
        for t in g.outputs
    )


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_other_precisions_are_unsupported(artefact, precision):
    with pytest.raises(Unsupported, match="serve this version with the onnx runtime"):
        TorchRuntime("cpu").load(replace(artefact, precision=precision), FAMILY, 1)


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
