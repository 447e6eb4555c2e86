"""Dynamic int8: a child version whose matrices are stored and multiplied in 8 bits.

Weights have one scale per output channel, activations one per row, found as they come. A row's
result is then its own: with one scale per tensor, as is common, it would change with whatever
shares the batch. Products are exact in int32; on x86 processors without VNNI instructions pairs of
them may saturate in ONNX Runtime, so the loss that is stored with a version is that of the machine
which measured it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx.parser
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from safetensors.numpy import save_file

from foretoken.errors import Unsupported
from foretoken.exporters.names import weights_of
from foretoken.exporters.rewrite import reference, stripped
from foretoken.models.artefact import WEIGHTS, Artefact, graph_file
from foretoken.models.contract import Array, Family
from foretoken.models.weights import Stored, mapped

__all__ = ["quantize"]

SMALLEST = 16  # rows or columns: below, there is nothing to win
LEVELS = 127.0
DOMAIN = "foretoken"
CONTRIB = "com.microsoft"

# x [..., K] float32, weight [K, N] int8, scale [N] float32 -> y [..., N] float32.
LINEAR = """
<domain: "foretoken", opset_import: ["": 20, "com.microsoft": 1]>
LinearInt8 (x, weight, scale) => (y)
{
    any = Constant <value_ints: ints = [-1]> ()
    one = Constant <value_ints: ints = [1]> ()
    K = Shape <start: int = -1> (x)
    flat = Concat <axis: int = 0> (any, K)
    rows = Reshape <allowzero: int = 1> (x, flat)
    size = Abs (rows)
    largest = ReduceMax <keepdims: int = 0> (size, one)
    level = Constant <value: tensor = float {0.007874016}> ()
    tiny = Constant <value: tensor = float {1e-30}> ()
    fine = Mul (largest, level)
    step = Max (fine, tiny)
    R = Shape (step)
    zeros = ConstantOfShape <value: tensor = uint8[1] {128}> (R)
    whole = QuantizeLinear <axis: int = 0> (rows, step, zeros)
    unit = Constant <value: tensor = float {1}> ()
    zero = Constant <value: tensor = uint8 {128}> ()
    product = com.microsoft.MatMulIntegerToFloat (whole, weight, unit, scale, zero)
    steps = Unsqueeze (step, one)
    scaled = Mul (product, steps)
    leading = Shape <end: int = -1> (x)
    N = Shape <start: int = 1> (weight)
    shape = Concat <axis: int = 0> (leading, N)
    y = Reshape <allowzero: int = 1> (scaled, shape)
}
"""


@dataclass(frozen=True)
class _Product:
    """A node that multiplies by a weight, which is [N, K] if ``transposed`` and else [K, N]."""

    node: ir.Node
    weight: str
    transposed: bool

    @property
    def int8(self) -> str:
        """Its int8 tensor's name; a matrix that is multiplied both ways is stored both ways."""
        return f"{self.weight}.int8" if self.transposed else f"{self.weight}.plain.int8"

    @property
    def scale(self) -> str:
        """The name of its columns' steps."""
        return f"{self.int8.removesuffix('int8')}scale"


def quantize(artefact: Artefact, family: Family, out: Path, keep: Collection[str] = ()) -> Artefact:
    """Write int8 graphs and their ``model.safetensors`` into ``out``.

    Args:
        artefact: exported in float32.
        family: of the artefact.
        out: an existing folder.
        keep: names of weights to leave in float32.

    Returns:
        The child, with precision "int8" and no figures yet.

    Raises:
        Unsupported: if the artefact has no float32 graphs, or no matrix worth quantising.
        DataLoss: if the weights cannot be read.
    """
    if artefact.precision != "float32":
        raise Unsupported(f"only float32 versions are quantised, not {artefact.precision} ones")
    stored = mapped(artefact.files[WEIGHTS])
    made: dict[str, Array] = {}
    files, said, used = dict(artefact.files), {}, set[str]()
    for graph in family.graphs(artefact.config):
        model = _read(artefact, graph.name)
        made |= _replaced(model, stored, keep)
        weights = sorted(v for v, value in model.graph.initializers.items() if _outside(value))
        path = out / graph_file(graph.name)
        path.write_bytes(stripped(model))
        files[path.name] = path
        said[graph.name] = {**artefact.export[graph.name], "weights": weights}
        used |= set(weights)
    if not made:
        raise Unsupported(f"no matrix of family {family.name!r} is worth quantising")
    before = {w for graph in said for w in weights_of(artefact.export, graph)}
    # What no graph has ever used is the predictor's, and stays.
    kept = {n: _numbers(t) for n, t in stored.items() if n in used or n not in before}
    files[WEIGHTS] = out / WEIGHTS
    save_file({**kept, **made}, files[WEIGHTS])
    return replace(artefact, files=files, precision="int8", export=said)


def _read(artefact: Artefact, graph: str) -> ir.Model:
    path = artefact.files.get(graph_file(graph))
    if path is None or graph not in artefact.export:
        raise Unsupported(f"graph {graph!r} has no ONNX form to quantise; export the version first")
    return ir.serde.deserialize_model(onnx.load_model_from_string(path.read_bytes()))


def _replaced(
    model: ir.Model, stored: Mapping[str, Stored], keep: Collection[str]
) -> dict[str, Array]:
    """Replace products with weights by ``LinearInt8``; returns the tensors that these need."""
    made: dict[str, Array] = {}
    shared: dict[str, tuple[ir.Value, ir.Value]] = {}
    for product in list(_products(model.graph)):
        name, key = product.weight, product.int8
        if name in keep or min(stored[name].array.shape) < SMALLEST:
            continue
        if key not in shared:
            matrix = _numbers(stored[name])
            whole, scale = _int8(matrix.T if product.transposed else matrix)
            made |= {key: whole, product.scale: scale}
            shared[key] = (
                reference(key, ir.DataType.INT8, ir.Shape(whole.shape)),
                reference(product.scale, ir.DataType.FLOAT, ir.Shape(scale.shape)),
            )
            for value in shared[key]:
                model.graph.register_initializer(value)
        _replace(model.graph, product.node, shared[key])
    if made:
        linear = ir.serde.deserialize_function(onnx.parser.parse_function(LINEAR))
        model.functions[linear.identifier()] = linear
        model.graph.opset_imports.update({DOMAIN: 1, CONTRIB: 1})
        RemoveUnusedNodesPass()(model)
    return made


def _products(graph: ir.Graph) -> Iterator[_Product]:
    for node in graph:
        if node.op_type not in ("MatMul", "Gemm"):
            continue
        attributes = node.attributes
        plain = all(
            attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta")
        ) and not attributes.get_int("transA", 0)
        found = _weight(node.inputs[1])
        if plain and found is not None:
            value, turned = found
            turned ^= bool(attributes.get_int("transB", 0))
            yield _Product(node, str(value.name), turned)


def _weight(value: ir.Value | None) -> tuple[ir.Value, bool] | None:
    """The weight that ``value`` is, be it transposed or cast, and whether it is transposed."""
    turned = False
    while value is not None and (node := value.producer()) is not None:
        if node.op_type not in ("Transpose", "Cast"):
            return None
        turned ^= node.op_type == "Transpose"
        value = node.inputs[0]
    if value is None or not _outside(value) or len(value.shape or ()) != 2:
        return None
    return value, turned


def _outside(value: ir.Value) -> bool:
    return isinstance(value.const_value, ir.ExternalTensor)


def _replace(graph: ir.Graph, node: ir.Node, weight: tuple[ir.Value, ir.Value]) -> None:
    linear = ir.node("LinearInt8", [node.inputs[0], *weight], domain=DOMAIN)
    new = [linear]
    if len(node.inputs) > 2 and node.inputs[2] is not None:  # a Gemm's bias
        new.append(ir.node("Add", [linear.outputs[0], node.inputs[2]]))
    old, made = node.outputs[0], new[-1].outputs[0]
    graph.insert_before(node, new)
    made.name, old.name = old.name, None
    made.type, made.shape = old.type, old.shape
    ir.convenience.replace_all_uses_with(old, made, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _int8(matrix: Array) -> tuple[Array, Array]:
    """[K, N] float -> int8 [K, N] within ±127 and float32 [N], the step of each column."""
    largest = np.abs(matrix).max(axis=0)
    scale = np.where(largest > 0, largest / LEVELS, 1.0).astype(np.float32)
    return np.ascontiguousarray(np.rint(matrix / scale), np.int8), scale


def _numbers(stored: Stored) -> Array:
    """The tensor in a dtype that NumPy has."""
    if stored.dtype != "BF16":
        return stored.array
    bits: Array = stored.array.astype(np.uint32) << 16
    return bits.view(np.float32)
