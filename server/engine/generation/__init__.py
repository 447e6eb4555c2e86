"""Generation: many requests, each with a chain of layers of its own, decoded together."""
