"""Wire definitions and the code generated from them."""
