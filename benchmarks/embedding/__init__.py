"""What the benchmarks of embeddings share: texts, sides to compare, and the work that texts are."""
