"""Metrics: what /metrics and /healthz say, and what they refuse."""

import asyncio
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from p2pfl.daemon.measures import (
    LIBP2P_GAUGES,
    Measure,
    MeasureKind,
    RoundTimes,
    Snapshot,
    counter,
    gauge,
    libp2p,
    state_of,
)
from p2pfl.daemon.metrics import MetricsServer
from p2pfl.libp2p import Host
from p2pfl_crypto.identity import Identity


class Measured:
    """A peer to ask, in place of one that runs."""

    def __init__(self) -> None:
        self.is_healthy = True
        self.measures: list[Measure] = [
            gauge("round", "Rounds that are done.", 7),
            gauge("link", "Whether there is one.", {"oslo": 1, "turin": 0}, "member"),
            gauge("figure", "Of the task.", {"accuracy": 0.875, 'top-5 "best"': 1.0}, "name"),
            counter("events", "By event.", {"round_ended": 7}, "event"),
            counter("traffic", "By name.", {}, "name"),
        ]

    def __call__(self) -> Snapshot:
        return Snapshot(self.is_healthy, self.measures)


@pytest.fixture
def measured() -> Measured:
    return Measured()


@pytest.fixture
def port(measured: Measured) -> Iterator[int]:
    server = MetricsServer("127.0.0.1", 0, measured)
    yield server.port
    server.close()


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def families(port: int) -> dict[str, Metric]:
    status, text = get(port, "/metrics")
    assert status == 200
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_all_measures_parse_with_their_kinds_and_help(port: int) -> None:
    found = families(port)
    samples = {
        (sample.name, *sample.labels.items()): sample.value
        for family in found.values()
        for sample in family.samples
    }
    assert samples == {
        ("p2pfl_round",): 7,
        ("p2pfl_link", ("member", "oslo")): 1,
        ("p2pfl_link", ("member", "turin")): 0,
        ("p2pfl_figure", ("name", "accuracy")): 0.875,
        ("p2pfl_figure", ("name", 'top-5 "best"')): 1,
        ("p2pfl_events_total", ("event", "round_ended")): 7,
    }
    assert {name: family.type for name, family in found.items()} == {
        "p2pfl_round": "gauge",
        "p2pfl_link": "gauge",
        "p2pfl_figure": "gauge",
        "p2pfl_events": "counter",
        "p2pfl_traffic": "counter",
    }
    assert found["p2pfl_round"].documentation == "Rounds that are done."


def test_round_times_are_a_histogram(port: int, measured: Measured) -> None:
    times = RoundTimes()
    for began_s, ended_s in ((0, 1), (10, 12), (20, 24_020)):
        times.begin(began_s)
        times.end(ended_s)
    times.end(99)  # A round that began before we looked: it is counted nowhere.
    measured.measures = [times.measure()]
    family = families(port)["p2pfl_round_seconds"]
    assert family.type == "histogram"
    counts = {it.labels.get("le", it.name): it.value for it in family.samples}
    assert (counts["1.0"], counts["3.0"], counts["10800.0"], counts["+Inf"]) == (1, 2, 2, 3)
    assert counts["p2pfl_round_seconds_sum"] == 1 + 2 + 24_000
    assert counts["p2pfl_round_seconds_count"] == 3
    assert times.ended_at_s is not None


@pytest.mark.parametrize(
    ("state", "told"),
    [("training", "training"), ("opening: waits for 2 of 5 members", "opening"), ("left", "left")],
)
def test_exactly_one_state_is_told(state: str, told: str) -> None:
    values = state_of(state).values
    assert values[told] == 1
    assert sum(values.values()) == 1


def test_what_may_fall_again_is_no_counter() -> None:
    gauges: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    for measure in libp2p({"connections": 3, "unread_bytes": 0, "dials": 4, "dials.refused": 1}):
        (gauges if measure.kind is MeasureKind.GAUGE else counts)[measure.name] = measure.values
    assert gauges["libp2p_connections"] == {"": 3}
    assert counts == {"libp2p": {"dials": 4, "dials.refused": 1}}


def test_each_gauge_of_the_host_is_known_as_one() -> None:
    """A figure that the host adds to its gauges must not be taken for a counter."""

    async def found() -> dict[str, int]:
        async with Host(Identity(bytes(32))) as host:
            return {k: v for k, v in host.metrics().items() if k not in host.counters.snapshot()}

    assert set(asyncio.run(found())) == set(LIBP2P_GAUGES)


def test_health_is_told_by_the_status(port: int, measured: Measured) -> None:
    assert get(port, "/healthz") == (200, "ok\n")
    measured.is_healthy = False
    assert get(port, "/healthz") == (503, "not healthy\n")


def test_other_paths_and_nonsense_are_refused_and_the_next_is_served(
    port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert get(port, "/")[0] == 404
    for nonsense in (
        b"\x00\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b"\r\n\r\n",
        b"",
    ):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(4096)
        assert b"200" not in answer[:20]
    assert get(port, "/healthz")[0] == 200
    assert capfd.readouterr().err == ""


def test_an_address_that_is_taken_raises(port: int) -> None:
    with pytest.raises(OSError, match="in use"):
        MetricsServer("127.0.0.1", port, lambda: Snapshot(True, []))
