"""What a group's history gives back to a budget, and frees of it."""

from pathlib import Path

from ledger_world import identity_of
from private_group import PrivateWorld

from p2pfl.daemon.config import PeerConfig, PeerFolder
from p2pfl.daemon.spending import Spending
from p2pfl.privacy.budget.book import BudgetStanding, BudgetState
from p2pfl.privacy.budget.ledger import create, open_ledger
from p2pfl.privacy.budget.records import Returned

ADDRESSES = ("/dns4/oslo.example/tcp/4001",)


def test_rounds_certified_without_us_come_back_and_the_end_frees_the_rest(tmp_path: Path) -> None:
    """Member 4 gave in the first round and was away when it was summed; then it takes part."""
    world = PrivateWorld(5, rounds=3)
    world.start()
    world.world.take_offline(world.hosts[4], "test")
    until_s = 0.0
    while not world.certified():
        until_s += 0.1
        assert until_s < 60
        world.run(until_s)
    first = world.certified()[0]
    assert world.epoch.unpack(first.members) == (0, 1, 2, 3)
    paths = tmp_path / "data" / "budget", tmp_path / "elsewhere" / "anchor"
    for path in paths:
        path.parent.mkdir()
    opened = {"dataset": "wards", "epsilon": 9.0, "delta": 1e-5, "entropy": bytes(16)}
    ledger = create(*paths, **opened)  # type: ignore[arg-type]  # Of several types.
    charter, privacy = world.epoch.digest.hex(), world.privacy
    ledger.reserve(
        charter,
        rate_units=privacy.rate_units,
        noise=4.0,
        steps=1,
        rounds=privacy.spends,
    )
    ledger.spend(charter, epoch=0, round=first.round, session=0)
    config = PeerConfig(name="oslo", addresses=ADDRESSES, budget=paths[0], budget_anchor=paths[1])
    spending = Spending(PeerFolder(tmp_path), config)

    def standing(index: int) -> BudgetStanding:
        member = world.member(index)
        assert spending.settle(member.history, identity_of(4).peer_id) == ""
        return open_ledger(*paths).book.charters[charter]

    before = standing(0)
    assert (before.spent, before.state) == (0, BudgetState.OPEN)
    world.world.bring_online(world.hosts[4], "test")
    world.run(800.0)
    assert world.are_finished()
    last = world.certified()[-1]
    assert world.epoch.unpack(last.members) == (0, 1, 2, 3, 4)
    ledger.spend(charter, epoch=0, round=last.round, session=0)
    after = standing(4)
    assert (after.spent, after.state, after.left) == (1, BudgetState.CLOSED, 0)
    assert after.charged < after.full
    records = open_ledger(*paths).records
    assert [type(it) for it in records].count(Returned) == 1
    standing(0)
    assert open_ledger(*paths).records == records
