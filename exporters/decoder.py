"""A decoder block as two ONNX graphs, before attention and after it: what is paged is not theirs.

They are written node by node: a block is a handful of operators, and tracing one would take seconds
for each start of a server. ``tests/server/runtimes/test_blocks.py`` holds them to the module.

Letters: N tokens, W width, H heads of queries, K heads of keys and values, D head width, F hidden
width of the gated MLP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from foretoken.models.contract import Array
from foretoken.models.layers.decoder import DecoderShape

__all__ = ["enter", "leave", "product"]

OPSET, IR = 20, 10
FLOAT = TensorProto.FLOAT


def enter(shape: DecoderShape) -> bytes:
    """h [N, W], cos and sin [N, D / 2] -> q [N, H, D], k and v [N, K, D].

    Weights are external: norm [W], matrices w_q, w_k and w_v [W, heads D] and, where the shape has
    biases, b_q, b_k and b_v [heads D].
    """
    s, half = shape, shape.head_width // 2
    heads = {"q": s.heads, "k": s.kv_heads, "v": s.kv_heads}
    nodes = [
        _normalised("h", "norm", "x", s.eps),
        helper.make_node("Unsqueeze", ["cos", "one"], ["cosines"]),
        helper.make_node("Unsqueeze", ["sin", "one"], ["sines"]),
    ]
    weights: dict[str, tuple[int, ...]] = {"norm": (s.width,)}
    constants = {"one": np.array([1]), "halves": np.array([half, half])}
    for name, count in heads.items():
        weights[f"w_{name}"] = (s.width, count * s.head_width)
        flat = f"{name}_flat"
        nodes.append(helper.make_node("MatMul", ["x", f"w_{name}"], [flat]))
        if s.qkv_bias:
            weights[f"b_{name}"] = (count * s.head_width,)
            nodes.append(helper.make_node("Add", [flat, f"b_{name}"], [f"{name}_sum"]))
            flat = f"{name}_sum"
        constants[f"{name}_shape"] = np.array([-1, count, s.head_width])
        as_heads = name if name == "v" else f"{name}_heads"
        nodes.append(helper.make_node("Reshape", [flat, f"{name}_shape"], [as_heads]))
        if name != "v":
            nodes += _rotated(as_heads, name)
    takes = {"h": ("N", s.width), "cos": ("N", half), "sin": ("N", half)}
    gives = {name: ("N", count, s.head_width) for name, count in heads.items()}
    return _model("enter", nodes, takes, gives, weights, constants)


def leave(shape: DecoderShape) -> bytes:
    """h [N, W], seen [N, H D] -> out [N, W].

    Weights are external: w_out [H D, W], norm [W], w_gate and w_up [W, F], w_down [F, W].
    """
    s = shape
    nodes = [
        helper.make_node("MatMul", ["seen", "w_out"], ["attended"]),
        helper.make_node("Add", ["h", "attended"], ["between"]),
        _normalised("between", "norm", "x", s.eps),
        helper.make_node("MatMul", ["x", "w_gate"], ["gate"]),
        helper.make_node("MatMul", ["x", "w_up"], ["up"]),
        helper.make_node("Sigmoid", ["gate"], ["open"]),
        helper.make_node("Mul", ["gate", "open"], ["silu"]),
        helper.make_node("Mul", ["silu", "up"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "w_down"], ["down"]),
        helper.make_node("Add", ["between", "down"], ["out"]),
    ]
    inner = s.heads * s.head_width
    weights = {
        "w_out": (inner, s.width),
        "norm": (s.width,),
        "w_gate": (s.width, s.mlp),
        "w_up": (s.width, s.mlp),
        "w_down": (s.mlp, s.width),
    }
    takes = {"h": ("N", s.width), "seen": ("N", inner)}
    return _model("leave", nodes, takes, {"out": ("N", s.width)}, weights, {})


def product(inputs: int, outputs: int) -> bytes:
    """x [N, inputs] -> y [N, outputs], with the external matrix w [inputs, outputs]."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    takes, gives = {"x": ("N", inputs)}, {"y": ("N", outputs)}
    return _model("product", nodes, takes, gives, {"w": (inputs, outputs)}, {})


def _normalised(x: str, weight: str, out: str, eps: float) -> NodeProto:
    """RMSNorm, by the name that ONNX Runtime's fused kernel has."""
    return helper.make_node(
        "SimplifiedLayerNormalization", [x, weight], [out], axis=-1, epsilon=eps, stash_type=1
    )


def _rotated(x: str, out: str) -> list[NodeProto]:
    a, b = f"{out}_first", f"{out}_second"
    return [
        helper.make_node("Split", [x, "halves"], [a, b], axis=-1),
        helper.make_node("Mul", [a, "cosines"], [f"{a}_cos"]),
        helper.make_node("Mul", [b, "sines"], [f"{b}_sin"]),
        helper.make_node("Sub", [f"{a}_cos", f"{b}_sin"], [f"{out}_low"]),
        helper.make_node("Mul", [b, "cosines"], [f"{b}_cos"]),
        helper.make_node("Mul", [a, "sines"], [f"{a}_sin"]),
        helper.make_node("Add", [f"{b}_cos", f"{a}_sin"], [f"{out}_high"]),
        helper.make_node("Concat", [f"{out}_low", f"{out}_high"], [out], axis=-1),
    ]


def _model(
    name: str,
    nodes: Sequence[NodeProto],
    takes: Mapping[str, Sequence[int | str]],
    gives: Mapping[str, Sequence[int | str]],
    weights: Mapping[str, Sequence[int]],
    constants: Mapping[str, Array],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(each, FLOAT, dims) for each, dims in takes.items()],
        [helper.make_tensor_value_info(each, FLOAT, dims) for each, dims in gives.items()],
        [
            *(_external(each, dims) for each, dims in weights.items()),
            *(numpy_helper.from_array(value, each) for each, value in constants.items()),
        ],
    )
    opset = [helper.make_opsetid("", OPSET)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=IR)
    return model.SerializeToString()


def _external(name: str, dims: Sequence[int]) -> TensorProto:
    tensor = TensorProto(name=name, data_type=FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights")
    return tensor
