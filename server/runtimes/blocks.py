"""Decoder blocks in ONNX Runtime, for modules whose layers run one by one on a CPU in float32.

MKL, which torch multiplies by, takes 4 to 32 rows through a matrix at half the rate of ONNX
Runtime's repacked ones (``python -m benchmarks.generation``). Attention stays in torch, where the
paged keys and values are.

Letters: N tokens, W width, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnxruntime as ort
import torch
from torch import Tensor, nn

from foretoken.exporters.decoder import enter, leave, product
from foretoken.models.layers.decoder import Attend, DecoderBlock
from foretoken.models.layers.words import Words

__all__ = ["OnnxBlock", "OnnxHead", "OnnxWords", "in_sessions"]

LEAST = 1 << 16  # elements of a head's matrix: a smaller one is multiplied in no time


class OnnxBlock(nn.Module):
    """See ``DecoderBlock``; its weights are repacked, and not kept as they were.

    Args:
        block: in float32, on the CPU.
        threads: of one call.
    """

    def __init__(self, block: DecoderBlock, threads: int) -> None:
        super().__init__()
        own, mlp = block.attention, block.mlp
        projections = {"q": own.q, "k": own.k, "v": own.v}
        into: dict[str, Tensor] = {"norm": block.norm_attention.weight}
        into |= {f"w_{name}": each.weight.t() for name, each in projections.items()}
        into |= {f"b_{n}": each.bias for n, each in projections.items() if each.bias is not None}
        out = {
            "w_out": own.out.weight.t(),
            "norm": block.norm_mlp.weight,
            "w_gate": mlp.gate.weight.t(),
            "w_up": mlp.up.weight.t(),
            "w_down": mlp.down.weight.t(),
        }
        self._enter = _Session(enter(block.shape), into, threads)
        self._leave = _Session(leave(block.shape), out, threads)

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        return self._enter.nbytes + self._leave.nbytes

    def forward(self, h: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        """h [N, W], and its positions' ``rope.angles`` -> [N, W]."""
        seen = attend(*self._enter(h=h, cos=cos, sin=sin))
        (out,) = self._leave(h=h, seen=seen.flatten(1))
        return out


class OnnxHead(nn.Module):
    """A linear layer without a bias.

    Args:
        weight: [V, W], on the CPU.
        threads: of one call.
    """

    def __init__(self, weight: Tensor, threads: int) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self._product = _Session(product(inputs, outputs), {"w": weight.t()}, threads)
        self.nbytes = self._product.nbytes

    def forward(self, x: Tensor) -> Tensor:
        """[N, W] -> [N, V]."""
        (y,) = self._product(x=x)
        return y


class OnnxWords(Words):
    """A table of tokens that is the head, too: as it is, and repacked.

    Args:
        words: the table; its parameter is shared.
        threads: of one call.
    """

    def __init__(self, words: Words, threads: int) -> None:
        super().__init__(words.num_embeddings, words.embedding_dim, device="meta")
        self.weight = words.weight
        self._head = OnnxHead(words.weight, threads)
        self.nbytes = self._head.nbytes

    def scores(self, h: Tensor) -> Tensor:
        """[N, W] -> [N, V]."""
        scored: Tensor = self._head(h)
        return scored


class _Session:
    """A session that takes and gives tensors on the CPU.

    Args:
        model: its graph.
        weights: external ones, by name.
        threads: of one call.
    """

    def __init__(self, model: bytes, weights: Mapping[str, Tensor], threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # Each session has threads of its own: those that spin would take the next one's time.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        held = [w.detach().float().contiguous().numpy() for w in weights.values()]
        values = [ort.OrtValue.ortvalue_from_numpy(each) for each in held]
        options.add_external_initializers(list(weights), values)
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.nbytes = sum(each.nbytes for each in held)

    def __call__(self, **given: Tensor) -> Sequence[Tensor]:
        fed = {name: each.contiguous().numpy() for name, each in given.items()}
        return [torch.from_numpy(made) for made in self._session.run(None, fed)]


def in_sessions(module: nn.Module, threads: int) -> int:
    """Replace the decoder blocks and the head of a module on the CPU, in float32.

    Args:
        module: it is changed.
        threads: of one call.

    Returns:
        Bytes that it takes beside its parameters.
    """
    more = 0
    for parent in list(module.modules()):
        for name, part in list(parent.named_children()):
            made: OnnxBlock | OnnxHead | OnnxWords
            if type(part) is DecoderBlock:
                made = OnnxBlock(part, threads)
            elif name == "head" and type(part) is nn.Linear and part.weight.numel() >= LEAST:
                made = OnnxHead(part.weight, threads)
            elif type(part) is Words and part.weight.numel() >= LEAST:
                made = OnnxWords(part, threads)
            else:
                continue
            setattr(parent, name, made)
            more += made.nbytes
    return more
