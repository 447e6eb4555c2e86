"""What the HTTP port answers; imported when the port is opened, for starlette takes its time."""
