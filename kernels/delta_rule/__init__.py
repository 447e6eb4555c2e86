"""The (gated) delta rule: a matrix of what is stored under which key; see README.md."""
