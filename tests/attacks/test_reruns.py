"""One roster started twice, one member away the second time: two means and their difference."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from attacking import Attack

from p2pfl_gossip.events import RoundEnded
from p2pfl_gossip.peer import Peer
from p2pfl_simulations import group

VICTIM = 5


def peer_of(life: str, **given: Any) -> Peer:
    return Peer(**given | {"seed": life})


def first_mean(
    monkeypatch: pytest.MonkeyPatch, life: str | None, away: int | None = None
) -> tuple[Attack, npt.NDArray[np.float64]]:
    """Run a round; give the total of its models.

    Args:
        life: names the draws of each peer's training, as the operating system's entropy does where
            a peer is a daemon; None draws by what is public, as simulations do.
        away: the member that does not start.
    """
    if life is not None:
        monkeypatch.setattr(group, "Peer", partial(peer_of, life))
    attack = Attack(rounds=1)
    start = attack.world._start_machine

    def started(host: Any) -> None:
        if host.index != away:
            start(host)

    attack.world._start_machine = started  # type: ignore[method-assign]
    if away is not None:
        attack.hosts[away].is_online = False
    attack.run()
    (ended,) = attack.reported(0, RoundEnded)
    assert ended.contributors == (8 if away is None else 7)
    return attack, ended.contributors * ended.vector.astype(np.float64)


@pytest.mark.parametrize("is_private", [True, False])
def test_a_second_run_without_a_member_does_not_give_its_model_away(
    monkeypatch: pytest.MonkeyPatch, is_private: bool
) -> None:
    """All others' vectors were the same in both runs: the difference was the victim's, to 1e-7."""
    attack, with_victim = first_mean(monkeypatch, "one" if is_private else None)
    _, without = first_mean(monkeypatch, "two" if is_private else None, away=VICTIM)
    found = with_victim - without
    change = np.linalg.norm(attack.trained[VICTIM, 0] - attack.initial)
    error = np.linalg.norm(found - attack.trained[VICTIM, 0]) / change
    if is_private:
        assert error > 1, "further off than a guess that it trained nothing"
        assert attack.cosine(found, VICTIM, 0) < 0.9
    else:  # The control: it is the draws that hide it.
        assert error < 1e-3
