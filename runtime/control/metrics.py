"""What Prometheus scrapes: the desk's numbers from its view, and the API's own counts. One registry for each server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime.core.codes import TIER_NAMES
from runtime.trading.view import RuntimeView

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)
STATES: Final = ("starting", "running", "stopped", "halted")


class RequestCounts:
    """Requests of the API, by route and status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "ballast_api_requests",
            "Requests answered; status 0: nobody waited",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram("ballast_api_seconds", "Time to answer a request", buckets=SECONDS, registry=registry)

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; event streams are counted when they end, and not timed."""
        known = method if method in {"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"} else "other"
        self._requests.labels(known, route, str(status)).inc()
        if route != "/events":
            self._seconds.observe(seconds)


class ViewCollector(Collector):
    """Numbers of the desk, read from its view when somebody scrapes."""

    def __init__(self, view: Callable[[], RuntimeView | None]) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; none while there is no desk yet."""
        view = self._view()
        if view is None:
            return
        desk, feed = view.state_row[0]["desk"], view.feed
        yield CounterMetricFamily("ballast_blocks", "Blocks of the chain", value=view.head.seq_n)
        counted = {
            "gaps": feed.gaps_n, "checksum_errors": feed.checksum_n, "late_bars": feed.late_n, "duplicate_bars": feed.duplicate_n,
            "reconnects": feed.reconnects_n,
        }  # fmt: skip
        for name, value in counted.items():
            yield CounterMetricFamily(f"ballast_feed_{name}", f"Feed: {name.replace('_', ' ')} since the start", value=value)
        gauges = {
            "feed_connected": ("1 when the feed is up", int(feed.connected)),
            "feed_last_message_ms": ("Time of the last message, ms UTC", feed.last_message_ms),
            "feed_last_bar_t": ("Closing time of the last bar, s UTC", feed.last_bar_t),
            "feed_stale_instruments": ("Instruments without a usable book", len(feed.stale_instruments)),
            "clock_skew_ms": ("Venue time minus clock time", feed.skew_ms),
            "event_t": ("Time of the last event, s UTC", view.now_t),
            "equity_e8": ("Portfolio value, 1e-8 of the base currency", int(desk["pv_e8"])),
            "peak_e8": ("Highest portfolio value", int(desk["peak_e8"])),
            "gross_exposure_e8": ("Positions at their marks", int(desk["gross_e8"])),
            "drawdown_ppm": ("Fall from the peak", int(desk["drawdown_ppm"])),
            "positions": ("Open positions", int(desk["open_n"])),
            "kill_switch": ("0 off, else who threw it", int(desk["kill_n"])),
            "entry_halt": ("1 when entries are halted", int(desk["halt_n"])),
            "tier": (f"Drawdown tier: {', '.join(f'{k} {v}' for k, v in TIER_NAMES.items())}", int(desk["tier_id"])),
            "paper_days": ("Completed paper days", view.paper_days.completed_n),
            "simulated": ("1 when venue or time is not the real one", int(view.simulated)),
        }
        for name, (words, value) in gauges.items():
            yield GaugeMetricFamily(f"ballast_{name}", words, value=value)
        latency = GaugeMetricFamily("ballast_block_latency_ms", "Receipt of an event to its durable block", labels=["quantile"])
        latency.add_metric(["0.5"], view.latency.p50_ms)
        latency.add_metric(["0.99"], view.latency.p99_ms)
        yield latency
        state = GaugeMetricFamily("ballast_state", "1 for the state that the desk is in", labels=["state"])
        for name in STATES:
            state.add_metric([name], int(view.state == name))
        yield state


def exposition(registry: CollectorRegistry) -> bytes:
    """Return the metrics in Prometheus' text format."""
    return generate_latest(registry)
