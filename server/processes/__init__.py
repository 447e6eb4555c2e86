"""Processes of a server: a supervisor that serves nothing, and workers that share its ports."""
