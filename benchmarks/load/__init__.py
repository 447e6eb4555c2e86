"""What benchmarks of the server share: servers to measure, peers beside them, and load."""
