"""A module exported to ONNX as families are, and run in ONNX Runtime."""

from __future__ import annotations

import warnings

import onnxruntime as ort
import torch


def run(module, traced, dims, cases):
    """What the exported ``module`` gives for each of ``cases``.

    ``traced`` are the tensors that it is traced with, and ``dims`` the letters of their first axes,
    which may have any length afterwards.
    """
    free = torch.export.Dim.DYNAMIC
    names = [f"in{i}" for i in range(len(traced))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            tuple(traced),
            dynamo=True,
            optimize=False,
            verbose=False,
            opset_version=20,
            input_names=names,
            dynamic_shapes=tuple(dict.fromkeys(range(len(d)), free) for d in dims),
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(program.model_proto.SerializeToString(), options)
    kept = {each.name for each in session.get_inputs()}
    for case in cases:
        feed = {name: t.numpy() for name, t in zip(names, case, strict=True) if name in kept}
        yield [torch.from_numpy(made) for made in session.run(None, feed)]
