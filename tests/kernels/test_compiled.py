"""Triton kernels compile for GPUs that need not be there: the interpreter checks no types."""

from __future__ import annotations

import importlib
import os

import pytest

STATE = dict.fromkeys(("m_at", "u_at", "w_at", "m_to", "u_to", "w_to", "S_at", "S_to"), "*fp32")
POINTERS = STATE | {"slots_at": "*i64", "length_at": "*i64", "n_at": "*i64", "lse_at": "*fp32"}
PART = {"DECAY": True, "SLOTS": True, "LENGTH": True, "GATE": True}
NONE = dict.fromkeys(PART, False)
ATTEND = {"ROWS": 16, "KEYS": 64, "WIDTH": 64, "PRECISION": "tf32x3", "WIDE": False}
KERNELS = {
    ("aaren", "_step"): {"ROWS": 16, "WIDTH": 64},
    ("aaren", "_scan"): {"STEPS": 32, "WIDTH": 64},
    ("delta_rule", "_step"): {"KEYS": 64, "COLUMNS": 64},
    ("delta_rule", "_chunk"): {"STEPS": 16, "LEVELS": 4, "KEYS": 64, "COLUMNS": 32},
    ("context_attention", "_attend"): ATTEND,
}


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="Triton is to interpret")
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("inputs", "parts"), [("*fp32", NONE), ("*bf16", PART)])
@pytest.mark.parametrize(("op", "name"), list(KERNELS))
def test_a_kernel_compiles(op, name, inputs, parts, capability):
    triton = pytest.importorskip("triton", reason="there is no Triton on this platform")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(importlib.import_module(f"foretoken.kernels.{op}.triton"), name)
    # What a launch makes constants of: flags, and every integer that is 1.
    constants = KERNELS[op, name] | parts | {"H": 1}
    signature, fixed = {}, {}
    for place, argument in enumerate(kernel.arg_names):
        if argument in constants:
            signature[argument], fixed[place,] = "constexpr", constants[argument]
        elif argument.endswith("_at") or argument in POINTERS:
            signature[argument] = POINTERS.get(argument, inputs)
        else:
            signature[argument] = "fp32" if argument == "scale" else "i32"
    source = ASTSource(kernel, signature, fixed)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert f".target sm_{capability}" in made.asm["ptx"]
    assert made.asm["cubin"]
