"""Rewrites of ONNX models on their way out of torch: no weights, plain shapes, the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir
import onnxscript.optimizer

from foretoken.errors import Unsupported
from foretoken.models.artefact import WEIGHTS
from foretoken.models.contract import Graph, Tensor

__all__ = ["DTYPES", "declare", "optimise", "reference", "stripped", "values"]

LARGEST_CONSTANT = 64 * 1024  # bytes; whatever is larger belongs among the weights
DTYPES = {  # by safetensors' names
    "BF16": ir.DataType.BFLOAT16,
    "BOOL": ir.DataType.BOOL,
    "F16": ir.DataType.FLOAT16,
    "F32": ir.DataType.FLOAT,
    "F64": ir.DataType.DOUBLE,
    "I8": ir.DataType.INT8,
    "I32": ir.DataType.INT32,
    "I64": ir.DataType.INT64,
    "U8": ir.DataType.UINT8,
}


def optimise(model: ir.Model, names: Mapping[str, str], stored: Mapping[str, str]) -> list[str]:
    """Fold and fuse ``model`` without regard to the values of its weights, and take them out.

    Args:
        model: changed in place.
        names: initialisers that are weights -> their names in the safetensors.
        stored: dtypes there, by name.

    Returns:
        Names of the weights that the model uses, sorted.
    """
    weights = _lifted(model.graph, names)
    onnxscript.optimizer.optimize(model)
    del model.graph.inputs[len(model.graph.inputs) - len(weights) :]
    used = {str(value.name): value for value in weights if value.uses()}
    for name in sorted(used):
        _refer(model.graph, used[name], DTYPES[stored[name]])
    _expect_small_constants(model)
    return sorted(used)


def reference(name: str, dtype: ir.DataType, shape: ir.Shape) -> ir.Value:
    """An initialiser whose bytes the runtime supplies from the version's safetensors."""
    # The entry's offset is not used: a runtime finds the tensor by its name.
    outside = ir.ExternalTensor(WEIGHTS, 0, None, dtype, shape=shape, name=name)
    return ir.Value(name=name, shape=shape, type=ir.TensorType(dtype), const_value=outside)


def declare(model: ir.Model, graph: Graph) -> None:
    """Give inputs and outputs the dims of the contract.

    Raises:
        Unsupported: if tracing has fixed the length of a lettered axis, or gives other outputs,
            dtypes or shapes.
    """
    ins, outs = (*graph.inputs, *graph.reads), (*graph.outputs, *graph.writes)
    traced = [*model.graph.inputs, *model.graph.outputs]
    if len(traced) != len(ins) + len(outs):
        raise Unsupported(
            f"graph {graph.name!r} declares {len(outs)} outputs and writes; the module returns "
            f"{len(model.graph.outputs)} tensors"
        )
    for value, tensor in zip(traced, ins + outs, strict=True):
        _expect_declared(graph, value, tensor)
        value.shape = ir.Shape(tensor.dims)


def _expect_declared(graph: Graph, value: ir.Value, tensor: Tensor) -> None:
    found = None if value.shape is None else tuple(value.shape)
    if found is None or value.dtype is None:
        raise Unsupported(f"graph {graph.name!r}: no shape is known of {tensor.name!r}")
    fixed = (f for f, d in zip(found, tensor.dims, strict=False) if isinstance(f, int) and f != d)
    dtype = str(value.dtype.numpy())
    if len(found) != len(tensor.dims) or dtype != tensor.dtype or any(True for _ in fixed):
        raise Unsupported(
            f"graph {graph.name!r}: {tensor.name!r} is declared {tensor.dtype} {tensor.dims} but "
            f"was exported as {dtype} {tuple(map(str, found))}; where a letter has become a "
            "number, the module has read that length into Python"
        )


def stripped(model: ir.Model) -> bytes:
    """Serialise without names of machines, files or releases, the same for the same model."""
    model.producer_name, model.producer_version, model.doc_string = "foretoken", None, None
    model.metadata_props.clear()
    model.graph.name, model.graph.doc_string = "graph", None
    model.graph.metadata_props.clear()
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        node.doc_string = None
        node.metadata_props.clear()
    for value in values(model):
        value.doc_string = None
        value.metadata_props.clear()
    proto = ir.serde.serialize_model(model)
    # Shapes of inner values were inferred at the sizes of the trace; runtimes infer their own.
    del proto.graph.value_info[:]
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def values(model: ir.Model) -> Iterator[ir.Value]:
    """Every value of the model: inputs, initialisers and what nodes make."""
    yield from model.graph.inputs
    yield from model.graph.initializers.values()
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        yield from node.outputs


def _lifted(graph: ir.Graph, names: Mapping[str, str]) -> list[ir.Value]:
    """Make inputs of the weights, so that no pass can see, fold or rename them."""
    lifted: dict[str, ir.Value] = {}
    for old, name in names.items():
        value = graph.initializers.pop(old, None)
        if value is None:
            continue
        if name in lifted:  # tied to one that came before
            value.replace_all_uses_with(lifted[name])
            continue
        value.const_value, value.name = None, name
        lifted[name] = value
    graph.inputs.extend(lifted.values())
    return list(lifted.values())


def _refer(graph: ir.Graph, value: ir.Value, stored: ir.DataType) -> None:
    """Replace a lifted weight by a reference, and a cast where it is stored in another dtype."""
    assert value.name is not None
    assert value.shape is not None
    outside = reference(value.name, stored, value.shape)
    graph.register_initializer(outside)
    if stored == value.dtype:
        value.replace_all_uses_with(outside)
        return
    cast = ir.node("Cast", [outside], attributes={"to": value.dtype})
    graph.insert_before(graph[0], cast)
    value.replace_all_uses_with(cast.outputs[0])


def _expect_small_constants(model: ir.Model) -> None:
    constants = [v.const_value for v in values(model) if v.const_value is not None]
    for tensor in constants:
        if not isinstance(tensor, ir.ExternalTensor) and tensor.nbytes > LARGEST_CONSTANT:
            raise Unsupported(
                f"constant {tensor.name!r} of {tensor.nbytes} bytes would be stored in the graph; "
                "make it a persistent buffer of the module, so that it lies among the weights"
            )
