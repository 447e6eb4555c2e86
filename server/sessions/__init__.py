"""Sessions: models that carry a state along a sequence, stepped together, kept, forked, moved."""
