"""Contexts: fitted training sets, named by their content, kept, shared by workers and rebuilt."""
