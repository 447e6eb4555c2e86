"""Who calls and how often: tokens, the gate that reads them, and rate limits."""
