"""Batches come in the order of steps, and a run goes on where its generator stood."""

from __future__ import annotations

import pytest
import torch

from foretoken.models.batches import Batches


def drawing(device):
    def draw(generator, step):
        x = torch.rand(4, generator=generator, device=device)
        return x, torch.tensor(step)

    return draw


def taken(batches, count):
    made = [next(batches) for _ in range(count)]
    batches.close()
    return [(x.cpu(), int(step)) for x, step in made]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_they_are_those_of_one_generator(device):
    made = taken(Batches(drawing(device), torch.Generator(device).manual_seed(1), 5), 6)
    generator = torch.Generator(device).manual_seed(1)
    wanted = [torch.rand(4, generator=generator, device=device).cpu() for _ in range(6)]
    assert [step for _, step in made] == list(range(5, 11))
    assert all(torch.equal(x, y) for (x, _), y in zip(made, wanted, strict=True))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_state_is_that_after_the_last_one_taken(device):
    batches = Batches(drawing(device), torch.Generator(device).manual_seed(2))
    next(batches)
    state = batches.state
    wanted = taken(batches, 3)
    generator = torch.Generator(device)
    generator.set_state(state)
    again = taken(Batches(drawing(device), generator, 1), 3)
    assert all(torch.equal(x, y) and a == b for (x, a), (y, b) in zip(wanted, again, strict=True))


def test_what_drawing_raises_is_raised():
    def draw(generator, step):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        next(Batches(draw, torch.Generator()))
