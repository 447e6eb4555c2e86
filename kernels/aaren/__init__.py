"""Attention as an RNN: one query's softmax over all steps so far; see README.md."""
