"""Attention of test rows to a table's cached training rows; see README.md."""

from __future__ import annotations

from foretoken.kernels.context_attention.reference import context_attention

__all__ = ["context_attention"]
