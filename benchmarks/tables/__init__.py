"""The validation tables, and what classifies them: for ``benchmarks.tabular``."""
