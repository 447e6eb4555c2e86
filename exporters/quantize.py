"""Dynamic int8: a child version whose matrices are stored and multiplied in 8 bits.

Weights have one scale per output channel, activations one per row, found as they come. A row's
result is then its own: with one scale per tensor, as is common, it would change with whatever
shares the batch. A transformer has a few input channels that are ten times as large as the others,
and one scale for both leaves little of the others: where a module says so (``calibrate``), they are
multiplied in float32. Products are exact in int32; on x86 processors without VNNI instructions
pairs of them may saturate in ONNX Runtime, so the loss that is stored with a version is that of the
machine which measured it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx.parser
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from safetensors.numpy import save_file

from foretoken.errors import Unsupported
from foretoken.exporters.calibrate import outliers
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

# x [..., K] float32, weight [K, N] int8, scale [N] float32 -> y [..., N] float32. Of outliers also
# kept [K], 0 where a channel is one, else 1; channels [k], which they are; exact [k, N], their
# weights. Their weights in int8 are 0, so it does not matter that they are quantised like all.
LINEAR = """
<domain: "foretoken", opset_import: ["": 20, "com.microsoft": 1]>
{name} (x, weight, scale{inputs}) => (y)
{{
    one = Constant <value_ints: ints = [1]> ()
    {rows}
    {seen}
    most = ReduceMax <keepdims: int = 0> (seen, one)
    least = ReduceMin <keepdims: int = 0> (seen, one)
    below = Neg (least)
    largest = Max (most, below)
    level = Constant <value: tensor = float {{0.007874016}}> ()
    tiny = Constant <value: tensor = float {{1e-30}}> ()
    fine = Mul (largest, level)
    step = Max (fine, tiny)
    R = Shape (step)
    zeros = ConstantOfShape <value: tensor = uint8[1] {{128}}> (R)
    whole = QuantizeLinear <axis: int = 0> (rows, step, zeros)
    unit = Constant <value: tensor = float {{1}}> ()
    zero = Constant <value: tensor = uint8 {{128}}> ()
    product = com.microsoft.MatMulIntegerToFloat (whole, weight, unit, scale, zero)
    steps = Unsqueeze (step, one)
    scaled = Mul (product, steps)
    {sum}
    {y}
}}
"""
_FLAT = {  # of x [R, K]
    "rows": "rows = Identity (x)",
    "y": "y = Identity (sum)",
}
_ANY = {
    "rows": """any = Constant <value_ints: ints = [-1]> ()
    K = Shape <start: int = -1> (x)
    flat = Concat <axis: int = 0> (any, K)
    rows = Reshape <allowzero: int = 1> (x, flat)""",
    "y": """leading = Shape <end: int = -1> (x)
    N = Shape <start: int = 1> (weight)
    shape = Concat <axis: int = 0> (leading, N)
    y = Reshape <allowzero: int = 1> (sum, shape)""",
}
_PLAIN = {"inputs": "", "seen": "seen = Identity (rows)", "sum": "sum = Identity (scaled)"}
_MIXED = {
    "inputs": ", kept, channels, exact",
    "seen": "seen = Mul (rows, kept)",
    "sum": """few = Gather <axis: int = 1> (rows, channels)
    sum = Gemm (few, exact, scaled)""",
}
_OF_INPUTS = ("kept", "channels")  # parts that do not depend on the matrix
# With a bias [N] the sum has it as the weight of a channel that is always 1.
_BIASED = {
    "inputs": ", kept, channels, exact, bias",
    "seen": _MIXED["seen"],
    "sum": """few = Gather <axis: int = 1> (rows, channels)
    widths = Constant <value_ints: ints = [0, 0, 0, 1]> ()
    few_and_one = Pad (few, widths, unit)
    axis = Constant <value_ints: ints = [0]> ()
    last = Unsqueeze (bias, axis)
    exact_and_bias = Concat <axis: int = 0> (exact, last)
    sum = Gemm (few_and_one, exact_and_bias, scaled)""",
}


@dataclass(frozen=True)
class _Product:
    """A node that multiplies by a weight.

    Args:
        node: a MatMul, or a Gemm, whose input has two axes.
        weight: its name.
        transposed: whether it is [N, K], or else [K, N].
    """

    node: ir.Node
    weight: str
    transposed: bool

    @property
    def flat(self) -> bool:
        """Whether the input is known to have two axes."""
        return bool(self.node.op_type == "Gemm")

    @property
    def bias(self) -> ir.Value | None:
        """What a Gemm adds."""
        return self.node.inputs[2] if len(self.node.inputs) > 2 else None

    def named(self, part: str) -> str:
        """A tensor's name; a matrix that is multiplied both ways is stored both ways."""
        return f"{self.weight}.{part}" if self.transposed else f"{self.weight}.plain.{part}"


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
        InvalidInput: if they are not the family's.
    """
    if artefact.precision != "float32":
        raise Unsupported(f"only float32 versions are quantised, not {artefact.precision} ones")
    stored = mapped(artefact.files[WEIGHTS])
    made: dict[str, Array] = {}
    graphs = family.graphs(artefact.config)
    apart = outliers(artefact, family)
    files, said, used = dict(artefact.files), {}, set[str]()
    for graph in graphs:
        model = _read(artefact, graph.name)
        made |= _replaced(model, stored, keep, apart)
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
    model: ir.Model,
    stored: Mapping[str, Stored],
    keep: Collection[str],
    apart: Mapping[str, Array],
) -> dict[str, Array]:
    """Replace products with weights by int8 ones; returns the tensors that these need.

    Args:
        model: changed in place.
        stored: the weights by name.
        keep: names of weights that stay.
        apart: indices of outliers, by name of a weight.
    """
    made: dict[str, Array] = {}
    shared: dict[str, ir.Value] = {}
    first: dict[ir.Value | None, _Product] = {}  # the first product of each input
    functions: dict[str, str] = {}  # texts by name
    for product in list(_products(model.graph)):
        name = product.weight
        if name in keep or min(stored[name].array.shape) < SMALLEST:
            continue
        matrix = _numbers(stored[name])
        parts = _parts(matrix.T if product.transposed else matrix, apart.get(name))
        # Of one input all products name the same channels, so that it is quantised once for all.
        alike = first.setdefault(product.node.inputs[0], product)
        if not np.array_equal(apart.get(alike.weight, ()), apart.get(name, ())):
            alike = product
        tensors = {
            (alike if part in _OF_INPUTS else product).named(part): array
            for part, array in parts.items()
        }
        for key in tensors.keys() - shared.keys():
            shared[key] = _outside_of(model.graph, key, tensors[key])
        made |= tensors
        called, text = _replace(model.graph, product, [shared[key] for key in tensors])
        functions[called] = text
    for text in functions.values():
        linear = ir.serde.deserialize_function(onnx.parser.parse_function(text))
        model.functions[linear.identifier()] = linear
    if made:
        model.graph.opset_imports.update({DOMAIN: 1, CONTRIB: 1})
        RemoveUnusedNodesPass()(model)
    return made


def _parts(matrix: Array, channels: Array | None) -> dict[str, Array]:
    """What stands for a matrix [K, N], in the order in which the functions take it."""
    if channels is None:
        whole, scale = _int8(matrix)
        return {"int8": whole, "scale": scale}
    kept = np.ones(len(matrix), np.float32)
    kept[channels] = 0
    whole, scale = _int8(matrix * kept[:, None])
    exact = np.ascontiguousarray(matrix[channels], np.float32)
    parts = {"rest.int8": whole, "rest.scale": scale, "kept": kept}
    return {**parts, "channels": channels, "exact": exact}


def _outside_of(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    value = reference(name, ir.DataType.from_numpy(array.dtype), ir.Shape(array.shape))
    graph.register_initializer(value)
    return value


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


def _replace(graph: ir.Graph, product: _Product, tensors: Sequence[ir.Value]) -> tuple[str, str]:
    """Put a call of a function in a product's place; the function's name and text."""
    node, bias = product.node, product.bias
    mixed = len(tensors) > 2
    within = mixed and bias is not None and len(bias.shape or ()) == 1
    inner = (_BIASED if within else _MIXED) if mixed else _PLAIN
    name = "".join(("LinearInt8", "Flat" * product.flat, "Mixed" * mixed, "Biased" * within))
    given = [node.inputs[0], *tensors, *([bias] if within else [])]
    linear = ir.node(name, given, domain=DOMAIN)
    new = [linear]
    if bias is not None and not within:
        new.append(ir.node("Add", [linear.outputs[0], bias]))
    old, made = node.outputs[0], new[-1].outputs[0]
    graph.insert_before(node, new)
    made.name, old.name = old.name, None
    made.type, made.shape = old.type, old.shape
    ir.convenience.replace_all_uses_with(old, made, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return name, LINEAR.format(name=name, **inner, **(_FLAT if product.flat else _ANY))


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
