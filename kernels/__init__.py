"""Tensor operations, each with a plain reference and a Triton kernel."""
