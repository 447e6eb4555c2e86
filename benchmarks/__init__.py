"""One file a claim; each runs both sides in one process and keeps its result."""
