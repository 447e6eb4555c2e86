"""A version's torch module, as the exporter traces it and the torch runtime runs it."""

from __future__ import annotations

from safetensors import SafetensorError
from safetensors.torch import load_file, load_model
from torch import nn

from foretoken.errors import DataLoss, InvalidInput, Unsupported
from foretoken.exporters.rows import widened
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.contract import Family

__all__ = ["load_module"]


def load_module(artefact: Artefact, family: Family) -> nn.Module:
    """``family``'s module in evaluation mode, with the artefact's weights in float32 on the CPU.

    Weights in int8 are widened, where the family has no graphs that they were quantised for.

    Raises:
        Unsupported: if it has: they fit the exported graphs only.
        DataLoss: if the weights cannot be read.
        InvalidInput: if they are not those of the family at the artefact's configuration.
    """
    int8 = artefact.precision == "int8"
    if int8 and family.graphs(artefact.config):
        raise Unsupported(
            "int8 weights run in their ONNX graphs only; serve this version with the onnx runtime, "
            "or use the version that it was quantised from"
        )
    module = family.module(artefact.config).float()
    path = artefact.files[WEIGHTS]
    try:
        if int8:
            module.load_state_dict(widened(load_file(path)))
        else:
            load_model(module, path)
    except (OSError, SafetensorError) as e:
        raise DataLoss(f"{path} cannot be read as safetensors: {e}") from e
    except RuntimeError as e:  # torch's, for names and shapes that differ
        raise InvalidInput(
            f"{path} does not hold the weights of family {family.name!r} at its configuration: {e}"
        ) from e
    return module.eval()
