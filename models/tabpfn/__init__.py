"""TabPFN: a transformer that reads a labelled table and classifies further rows of it."""
