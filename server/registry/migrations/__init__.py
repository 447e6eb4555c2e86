"""How the catalogue's schema came to be: Alembic scripts, run by ``migrate``."""
