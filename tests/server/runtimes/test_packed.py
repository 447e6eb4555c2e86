"""Packed linear layers: what plain ones give, wherever both may stand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foretoken.models.layers.linear_gelu import LinearGELU
from foretoken.models.layers.words import Words
from foretoken.server.runtimes.packed import LEAST, PackedLinear, PackedWords, pack

pytestmark = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no bfloat16 in oneDNN"
)


class Pair(nn.Module):
    """Two linear layers, one of them small, in a container."""

    def __init__(self, kind, width, bias):
        super().__init__()
        self.parts = nn.ModuleList([kind(width, 96, bias=bias), nn.Linear(96, LEAST - 1)])

    def forward(self, x):
        first, second = self.parts
        return second(first(x).to(second.weight.dtype))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [nn.Linear, LinearGELU])
@pytest.mark.parametrize("shape", [(1,), (0,), (7,), (3, 5)])
@torch.inference_mode()
def test_it_gives_what_the_plain_layer_gives(kind, bias, shape):
    torch.manual_seed(0)
    module = Pair(kind, 128, bias)
    x = torch.randn(*shape, 128)
    wanted = module.double()(x.double())
    module = module.bfloat16()
    matrix = module.parts[0].weight
    more = pack(module)
    packed = module.parts[0]
    assert isinstance(packed, PackedLinear)
    assert type(module.parts[1]) is nn.Linear  # too small to be worth it
    assert packed.weight is matrix
    assert more == matrix.nbytes
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        made = module(x)
    assert (made.shape, made.dtype) == (wanted.shape, torch.bfloat16)
    torch.testing.assert_close(made.double(), wanted, rtol=0.03, atol=0.03)


@torch.inference_mode()
def test_rows_do_not_depend_on_company():
    module = Pair(LinearGELU, 128, True).bfloat16()
    pack(module)
    x = torch.randn(40, 128)
    together = module(x)
    for rows in (1, 3, 17):
        torch.testing.assert_close(module(x[:rows]), together[:rows], rtol=0.01, atol=0.01)


def test_other_kinds_of_layers_are_left_alone():
    class Own(nn.Linear):
        def forward(self, x):
            return -super().forward(x)

    module = nn.Sequential(Own(128, 128)).bfloat16()
    assert pack(module) == 0
    assert type(module[0]) is Own


@torch.inference_mode()
def test_a_table_that_is_the_head_is_both():
    torch.manual_seed(0)
    module = nn.ModuleDict({"words": Words(100, 128)}).bfloat16()
    words = module["words"]
    x, ids = torch.randn(5, 128).bfloat16(), torch.tensor([0, 99, 7])
    assert pack(module) == words.weight.nbytes
    packed = module["words"]
    assert isinstance(packed, PackedWords)
    torch.testing.assert_close(packed(ids), words(ids), rtol=0, atol=0)
    wanted = x.double() @ words.weight.double().t()
    torch.testing.assert_close(packed.scores(x).double(), wanted, rtol=0.02, atol=0.2)
