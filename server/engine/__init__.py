"""The engine: merges the calls of many requests and drives predictors with their outputs."""
