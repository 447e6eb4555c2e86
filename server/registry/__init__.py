"""The model registry: versions named by their content, aliases with a history, verified bytes."""
