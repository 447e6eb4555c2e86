"""Cells as the text that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from foretoken.server.metrics.cells import Cells
from foretoken.server.metrics.definitions import EXPOSED, Definition

__all__ = ["exposition"]


def exposition(cells: Cells, accept: str = "") -> tuple[bytes, str]:
    """The metrics' text and its content type, for an ``Accept`` header."""
    registry = CollectorRegistry()
    registry.register(_Shown(cells))
    encoder, content_type = choose_encoder(accept)
    text: bytes = encoder(registry)
    return text, content_type


class _Shown(Collector):
    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def collect(self) -> Iterator[Metric]:
        by_name: dict[str, list[tuple[tuple[str, ...], list[float]]]] = {}
        for (name, *labels), cell in sorted(self._cells.items()):
            by_name.setdefault(name, []).append((tuple(labels), cell))
        for definition in EXPOSED:
            if series := by_name.get(definition.name):
                yield _family(definition, series)


def _family(
    definition: Definition, series: Iterable[tuple[tuple[str, ...], list[float]]]
) -> Metric:
    name, text, labels = definition.name, definition.help, definition.labels
    if definition.kind == "histogram":
        histogram = HistogramMetricFamily(name, text, labels=labels)
        edges = [*(repr(bound) for bound in definition.bounds), "+Inf"]
        for values, (*counts, total) in series:
            buckets = list(zip(edges, accumulate(counts), strict=True))
            histogram.add_metric(values, buckets, total)
        return histogram
    if definition.kind == "counter":
        counter = CounterMetricFamily(name, text, labels=labels)
        for values, (value,) in series:
            counter.add_metric(values, value)
        return counter
    gauge = GaugeMetricFamily(name, text, labels=labels)
    for values, (value,) in series:
        gauge.add_metric(values, value)
    return gauge
