"""Metrics: what /metrics and /healthz say, and what they refuse."""

import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from p2pfl.daemon.metrics import MetricsServer

SNAPSHOT: dict[str, Any] = {
    "gauges": {"round": 7, "members_linked": 4},
    "figures": {"accuracy": 0.875, 'top-5 "best"': 1.0},
    "counters": {"events": {"round_ended": 7}, "traffic": {}},
    "healthy": True,
}


@pytest.fixture
def port() -> Iterator[int]:
    server = MetricsServer("127.0.0.1", 0, lambda: SNAPSHOT)
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


def test_all_figures_parse(port: int) -> None:
    status, text = get(port, "/metrics")
    assert status == 200
    found = {
        (sample.name, sample.labels.get("name", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found == {
        ("p2pfl_round", ""): 7,
        ("p2pfl_members_linked", ""): 4,
        ("p2pfl_figure", "accuracy"): 0.875,
        ("p2pfl_figure", 'top-5 "best"'): 1,
        ("p2pfl_events_total", "round_ended"): 7,
    }


def test_health_is_told_by_the_status(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get(port, "/healthz") == (200, "ok\n")
    monkeypatch.setitem(SNAPSHOT, "healthy", False)
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
        MetricsServer("127.0.0.1", port, lambda: SNAPSHOT)
