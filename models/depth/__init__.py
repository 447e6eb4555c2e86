"""Depth: which chain of layers a prompt passes, searched for it, picked from a menu, or given."""
