"""Which architecture to train for the bundled table classifier: equal minutes for each."""
