"""What the learning-curve benchmarks share: the other sides, the data and the scores."""
