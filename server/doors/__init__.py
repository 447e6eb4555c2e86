"""Doors translate between a protocol and the plane; none of them decides anything."""
