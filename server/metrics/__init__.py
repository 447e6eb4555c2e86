"""Metrics: counted in each worker as plain numbers, shown by any as the sum over all of them."""

from foretoken.server.metrics.cells import Cells
from foretoken.server.metrics.metrics import Metrics
from foretoken.server.metrics.shares import worker_died

__all__ = ["Cells", "Metrics", "worker_died"]
