"""How texts reach models that embed them, and vectors their callers; NumPy and tokenizers."""
