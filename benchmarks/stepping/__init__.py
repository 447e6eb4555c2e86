"""What a step of a sequence costs: of one long sequence, and of many at once."""
