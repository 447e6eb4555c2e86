"""One script per revision; a released one never changes."""
