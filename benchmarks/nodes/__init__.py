"""What the benchmark of graphs is made of."""
