"""The tripwire: which losses are warned of, and who is told."""

import logging

import pytest

from p2pfl.daemon.reporter import Reporter
from p2pfl.group.tripwire import FACTOR, MARGIN, Rise, Tripwire, describe_rise
from p2pfl_gossip import events


def evaluated(round_: int, loss: float | None, **more: dict[str, float]) -> events.PeerEvaluated:
    own = {"accuracy": 0.5} if loss is None else {"accuracy": 0.5, "loss": loss}
    return events.PeerEvaluated(round_, {"loss": 99.0}, own, **more)


def test_a_loss_that_rises_beyond_the_rule_is_warned_of_once() -> None:
    wire = Tripwire()
    edge = FACTOR * 1.0 + MARGIN
    assert wire.take(evaluated(0, 1.0)) is None
    assert wire.take(evaluated(1, edge)) is None
    assert wire.take(evaluated(2, 1.0)) is None
    assert wire.take(evaluated(3, edge + 1e-6)) == Rise(3, 2, edge + 1e-6, 1.0)
    assert wire.take(evaluated(4, edge)) is None
    assert (wire.loss, wire.rises) == (edge, 1)


def test_a_loss_that_is_no_number_is_warned_of() -> None:
    wire = Tripwire()
    wire.take(evaluated(0, 1.0))
    assert wire.take(evaluated(1, float("nan"))) is not None
    assert wire.take(evaluated(2, float("inf"))) is not None


def test_it_looks_at_own_rows_alone() -> None:
    wire = Tripwire()
    assert wire.take(evaluated(0, None)) is None
    assert wire.take(events.PeerEvaluated(1, {"loss": 99.0}, {}, {})) is None
    assert wire.loss is None
    assert wire.take(events.PeerEvaluated(2, {"loss": 99.0}, {}, {"loss": 1.0})) is None
    assert wire.loss == 1.0
    assert wire.take(events.RoundStarted(3)) is None


def test_the_operator_is_warned_and_nobody_where_rounds_are_private(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reporter = Reporter(logging.getLogger("tripwire"), {})
    with caplog.at_level(logging.WARNING, "tripwire"):
        for round_, loss in enumerate((1.0, 2.0)):
            reporter.on_event(0.0, evaluated(round_, loss))
        assert caplog.messages == []
        reporter.tripwire = Tripwire()
        for round_, loss in enumerate((1.0, 2.0)):
            reporter.on_event(0.0, evaluated(round_, loss))
    assert caplog.messages == [f"round 1: {describe_rise(Rise(1, 0, 2.0, 1.0))}"]
