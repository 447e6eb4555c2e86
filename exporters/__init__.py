"""Exporters turn a family's modules into graphs and measure that they say the same."""
