"""Triton kernels compile for GPUs that need not be there: the interpreter checks no types."""

from __future__ import annotations

import importlib
import os

import pytest
import torch

STATE = dict.fromkeys(("m_at", "u_at", "w_at", "m_to", "u_to", "w_to", "S_at", "S_to"), "*fp32")
INDICES = dict.fromkeys(("slots_at", "length_at", "n_at", "tables_at", "places_at"), "*i64")
FLOATS = dict.fromkeys(("lse_at", "part_at", "cos_at", "sin_at"), "*fp32")
POINTERS = STATE | INDICES | FLOATS
OUTPUTS = ("out_to", "total_to", "q_to", "k_to", "v_to")  # in the dtype of inputs
SCALARS = dict.fromkeys(("scale", "eps"), "fp32")
PART = dict.fromkeys(("DECAY", "SLOTS", "LENGTH", "GATE", "ADD", "KEEP"), True)
NONE = dict.fromkeys(PART, False)
ATTEND = {"ROWS": 16, "KEYS": 64, "WIDTH": 64, "PRECISION": "tf32x3", "WIDE": False}
KERNELS: dict[tuple[str, str], dict[str, object]] = {
    ("aaren.triton", "_step"): {"ROWS": 16, "WIDTH": 64},
    ("aaren.triton", "_scan"): {"STEPS": 32, "WIDTH": 64},
    ("delta_rule.triton", "_step"): {"KEYS": 64, "COLUMNS": 64},
    ("delta_rule.triton", "_chunk"): {"STEPS": 16, "LEVELS": 4, "KEYS": 64, "COLUMNS": 32},
    ("context_attention.triton", "_attend"): ATTEND,
    ("decode_attention.triton", "_attend"): ATTEND | {"SIZE": 16},
    ("parts", "_combine"): {"PARTS": 32, "WIDTH": 64},
    ("rmsnorm.triton", "_norm"): {"ROWS": 2, "WIDTH": 1024},
    ("rope.triton", "_turn"): {"ROWS": 16, "WIDTH": 32},
    ("swiglu.triton", "_gate"): {"ROWS": 1, "COLUMNS": 1024},
}


SHARED = 163 << 10  # bytes that a program may have on the least of these GPUs
compiled = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="Triton is to interpret"
)


@pytest.mark.slow
@compiled
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("inputs", "parts"), [("*fp32", NONE), ("*bf16", PART)])
@pytest.mark.parametrize(("module", "name"), list(KERNELS))
def test_a_kernel_compiles(module, name, inputs, parts, capability):
    expect_compiled(module, name, inputs, KERNELS[module, name] | parts, capability)


@pytest.mark.slow
@compiled
@pytest.mark.parametrize("D", [64, 128, 256])
@pytest.mark.parametrize("R", [1, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_attention_holds_of_wide_heads_fits(dtype, R, D):
    pytest.importorskip("triton", reason="there is no Triton on this platform")
    from foretoken.kernels.decode_attention.triton import tile

    rows, keys, width = tile(R, D, dtype)
    inputs = "*fp32" if dtype == torch.float32 else "*bf16"
    parts = ATTEND | {"SIZE": 16, "ROWS": rows, "KEYS": keys, "WIDTH": width}
    made = expect_compiled("decode_attention.triton", "_attend", inputs, parts, 80)
    assert made.metadata.shared <= SHARED


def expect_compiled(module, name, inputs, constants, capability):
    """The kernel, compiled for GPUs of a ``capability``."""
    triton = pytest.importorskip("triton", reason="there is no Triton on this platform")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(importlib.import_module(f"foretoken.kernels.{module}"), name)
    # What a launch makes constants of: flags, and every integer that is 1.
    constants = constants | {"H": 1}
    signature, fixed = {}, {}
    for place, argument in enumerate(kernel.arg_names):
        if argument in constants:
            signature[argument], fixed[place,] = "constexpr", constants[argument]
        elif argument.endswith("_at") or argument in POINTERS or argument in OUTPUTS:
            signature[argument] = POINTERS.get(argument, inputs)
        else:
            signature[argument] = SCALARS.get(argument, "i32")
    source = ASTSource(kernel, signature, fixed)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert f".target sm_{capability}" in made.asm["ptx"]
    assert made.asm["cubin"]
    return made
