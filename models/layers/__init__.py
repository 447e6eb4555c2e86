"""Layers that several families share; torch only."""
