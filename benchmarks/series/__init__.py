"""Real series, their splits, and the simple methods that models are held against."""
