"""The classifier: steps are scans are what is trained."""

from __future__ import annotations

import pytest
import torch

from foretoken.errors import InvalidInput
from foretoken.models.aaren.config import AarenConfig
from tests.models.aaren.conftest import CLASSIFIER


@torch.no_grad()
def test_scan_steps_and_training_are_one_function(classifier):
    torch.manual_seed(0)
    x, length = torch.randn(3, 20, 2), torch.tensor([20, 1, 7])
    scanned, *after = classifier.scan(x, length, *classifier.start(3).values())
    trained = classifier(x, torch.arange(20).expand(3, -1)).softmax(-1)
    for row, n in enumerate(length):
        state, outs = classifier.start(1).values(), []
        for t in range(n):
            p, *state = classifier.step(x[row : row + 1, t], *state)
            outs.append(p)
        stepped = torch.cat(outs)
        torch.testing.assert_close(stepped.sum(-1), torch.ones(n))
        torch.testing.assert_close(scanned[row, :n], stepped, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(trained[row, :n], stepped, rtol=1e-5, atol=1e-5)
        for got, wanted in zip(after, state, strict=True):
            torch.testing.assert_close(got[row], wanted[0], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_probabilities_depend_on_the_order_of_observations(classifier):
    x = torch.randn(1, 12, 2)
    at = torch.tensor([[11]])
    there, back = classifier(x, at), classifier(x.flip(1), at)
    assert not torch.allclose(there, back, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"head": "oracle"}, "there are forecaster and classifier"),
        ({"width": 10}, "width is a multiple of heads"),
        ({"layers": 0}, "sizes are at least 1"),
        ({"inputs": 2}, "one input"),
        ({"horizon": 0}, "a horizon of at least 1"),
        ({"levels": (0.1, 0.5)}, "an odd number"),
        ({"levels": (0.1, 0.4, 0.9)}, "the middle one 0.5"),
        ({"levels": (0.6, 0.5, 0.9)}, "increasing"),
        ({"levels": (0.0, 0.5, 0.9)}, "between 0 and 1"),
        ({"classes": ("a", "b")}, "no classes"),
    ],
)
def test_what_is_no_forecaster_is_refused(change, said):
    with pytest.raises(InvalidInput, match=said):
        AarenConfig(**{"width": 16, "heads": 4, **change})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": ("a",)}, "at least 2"),
        ({"classes": ("a", "a")}, "no class twice"),
        ({"horizon": 3}, "no horizon"),
        ({"mean": (0.0,)}, "one number for each input"),
        ({"std": (0.0, 1.0)}, "above 0"),
        ({"mean": (float("nan"), 1.0)}, "finite"),
    ],
)
def test_what_is_no_classifier_is_refused(change, said):
    given = {f: getattr(CLASSIFIER, f) for f in CLASSIFIER.__dataclass_fields__}
    with pytest.raises(InvalidInput, match=said):
        AarenConfig(**{**given, **change})
