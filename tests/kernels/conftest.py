"""Fixtures of kernels' tests."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def poisoned(monkeypatch):
    """What a kernel leaves unwritten is NaN."""
    empty, empty_like = torch.empty, torch.empty_like
    monkeypatch.setattr(torch, "empty", lambda *n, **o: empty(*n, **o).fill_(torch.nan))
    monkeypatch.setattr(torch, "empty_like", lambda *n, **o: empty_like(*n, **o).fill_(torch.nan))
