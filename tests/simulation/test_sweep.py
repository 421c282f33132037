"""A few seeds of the sweep; more by `python -m tests.simulation.sweep --seeds 100:400`."""

import pytest
import sweep

from p2pfl_gossip.actions import Event
from p2pfl_gossip.events import RoundEnded
from p2pfl_simulations.world import Host


@pytest.mark.parametrize("seed", range(24))
def test_after_faults_every_peer_finishes(seed: int) -> None:
    sweep.check(seed)


def test_peers_that_cannot_finish_are_named_with_the_replay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cut_off(self: sweep.Sweep) -> None:
        for host in self.world.hosts:
            self.world.take_offline(host, "test", silent=True)

    monkeypatch.setattr(sweep.Sweep, "_heal", cut_off)
    seed = next(seed for seed in range(100) if sweep.draw(seed).is_faulty)
    with pytest.raises(sweep.Violation) as caught:
        sweep.check(seed)
    assert "have not finished: 0 " in str(caught.value)
    replay = f"replay: python -m tests.simulation.sweep --seeds {seed}:{seed + 1}"
    assert str(caught.value).endswith(replay)


def test_two_complete_means_of_one_cohort_are_found() -> None:
    drawn = next(
        drawn
        for drawn in map(sweep.draw, range(100))
        if drawn.scenario.averaging.algorithm == "cohorts" and not drawn.is_faulty
    )
    swept = sweep.Sweep(drawn)
    tell = swept.checker.on_report

    def falsify(now_s: float, host: Host, event: Event) -> None:
        if isinstance(event, RoundEnded) and host.index == 1:
            event = RoundEnded(
                event.round, event.vector + 1, event.expected, event.contributors, event.complete
            )
        tell(now_s, host, event)

    swept.checker.on_report = falsify  # type: ignore[method-assign]
    with pytest.raises(sweep.Violation, match="different complete means"):
        swept.run()
