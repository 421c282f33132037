"""Some seeds of the sweep of groups, and a fault for each checker of theirs that it finds."""

import re
from collections import Counter

import pytest
import sweep_curve
import sweep_ledger_draw
import sweep_run
from sampled import without
from sweep_ledger_plants import GROUP_PLANTS

from p2pfl_crypto.audit import checking, commitments, curve
from p2pfl_gossip.masked_sum import auditing
from p2pfl_gossip.masked_sum.cohort import threshold_of
from p2pfl_simulations.liars.registry import shipped_liars

SUCCEEDED = 100_009

SEEDS = {
    7: "an audit under modelled masks",
    33: "a false sketch",
    44: "an audit",
    123: "a member that has not heard who is out hears a list of whoever leads instead",
    132: "modelled masks",
    40028: "newcomers, and a group that goes back",
    43138: "a backup that leaves too few beside who left, and is none then",
    SUCCEEDED: "a group that lost too many, and its successor",
}
"""Quick ones, with what is in them."""


@pytest.mark.parametrize("seed", SEEDS)
def test_what_must_hold_of_a_group_holds(seed: int) -> None:
    assert not sweep_run.run_seed(seed, ledger=True).violation


def test_the_draws_of_groups_cover_what_may_go_wrong() -> None:
    kinds: Counter[str] = Counter()
    strategies: Counter[str] = Counter()
    for seed in range(400):
        drawn = sweep_ledger_draw.draw_group(seed)
        kinds += drawn.kinds()
        strategies.update(liars.strategy for liars in drawn.scenario.faults.liars)
    for seed in range(sweep_ledger_draw.LATE_FROM, sweep_ledger_draw.LATE_FROM + 40):
        kinds += sweep_ledger_draw.draw_group(seed).kinds()
    for kind in ("admit", "back", "rekey", "replace"):
        assert kinds[f"change: {kind}"] >= 4
    turned: Counter[str] = Counter()
    for seed in range(sweep_ledger_draw.TURNED_FROM, sweep_ledger_draw.TURNED_FROM + 150):
        turned += sweep_ledger_draw.draw_group(seed).kinds()
    for kind in ("expel", "leave", "lose", "renew", "succeed"):
        assert turned[f"change: {kind}"] >= 4
    listed = (sweep_ledger_draw.STRATEGIES, sweep_ledger_draw.UPDATES, sweep_ledger_draw.AUDITED)
    names = {name for strategies in listed for name, _ in strategies}
    # All of three lists, of which the first is long: some of its kinds are rare.
    assert len(names - strategies.keys()) <= 2
    for kind in ("amend", "expel", "extend", "lapse", "leave", "revoke"):
        assert kinds[f"change: {kind}"] >= 4
    for kind in ("backups", "crash", "crash_at_action", "loss", "partition", "none"):
        assert kinds[f"fault: {kind}"] >= 10
    assert min(kinds["audit: void"], kinds["audit: off"]) >= 100
    assert kinds["privacy"] >= 20
    assert (
        min(kinds["averaging: group, masks real"], kinds["averaging: group, masks modelled"]) > 80
    )


def test_no_more_are_drawn_away_at_once_than_a_group_bears() -> None:
    """Liars are counted, and who leaves, is lost, signs late, or waits for another computer."""
    first = sweep_ledger_draw.TURNED_FROM
    for seed in (40145, 43255, 44220, 70255, *range(first, first + 400)):
        drawn = sweep_ledger_draw.draw_group(seed)
        scenario = drawn.scenario
        away = {peer for liars in scenario.faults.liars for peer in liars.peers or ()}
        for change in scenario.changes:
            if change.kind in ("amend", "leave", "revoke", "lose"):
                away.update(change.peers)
            elif change.kind == "replace" and not change.stolen:
                away.add(change.peers[0])
        n = len(scenario.founders)
        assert drawn.successor is not None or len(away) <= n - threshold_of(n), seed
        expelled = {p for it in scenario.changes if it.kind == "expel" for p in it.peers}
        n -= len(expelled)
        assert drawn.successor is not None or len(away - expelled) <= n - threshold_of(n), seed


@pytest.mark.parametrize("seed", [33312, 45348, 70446])
def test_proofs_are_drawn_to_be_in_time_where_nobody_is_to_spare(seed: int) -> None:
    drawn = sweep_ledger_draw.draw_group(seed)
    assert drawn.scenario.averaging.deadline_s == sweep_ledger_draw.PROOFS_S


def test_all_lies_in_an_audit_are_drawn() -> None:
    told = (*sweep_ledger_draw.TELLING, sweep_ledger_draw.TOLD_COINS)
    drawn = {name for name, _ in (*sweep_ledger_draw.AUDITED, *sweep_ledger_draw.DISPUTED, *told)}
    assert drawn >= {name for name, liar in shipped_liars().items() if liar.in_audits}
    assert drawn >= sweep_ledger_draw.ENDED


def test_liars_that_tell_and_refuse_are_drawn_with_an_audit_and_without() -> None:
    drawn: Counter[tuple[bool, str]] = Counter()
    for seed in range(sweep_ledger_draw.TOLD_FROM, sweep_ledger_draw.TOLD_FROM + 300):
        scenario = sweep_ledger_draw.draw_group(seed).scenario
        drawn.update({(scenario.is_audited, liars.strategy) for liars in scenario.faults.liars})
    for name in ("foretold-turns", "kept-words", "other-seed", "one-short", "withheld-sums"):
        assert drawn[True, name]
        assert drawn[False, name]
    assert drawn[True, "told-coins"]


def test_groups_that_name_liars_are_drawn_with_all_lies_of_disputes() -> None:
    drawn: Counter[str] = Counter()
    for seed in range(sweep_ledger_draw.NAMED_FROM, sweep_ledger_draw.NAMED_FROM + 150):
        found = sweep_ledger_draw.draw_group(seed)
        drawn.update(found.kinds())
        for liars in found.scenario.faults.liars:
            drawn[f"{liars.strategy} {liars.arguments}"] += 1
    assert drawn["audit: name"] >= 50
    lies = [f"{name} {arguments}" for name, arguments in sweep_ledger_draw.DISPUTED]
    assert sum(drawn[lie] > 0 for lie in lies) >= len(lies) - 2


def test_a_seed_ends_when_all_have_finished() -> None:
    """Timers of a group never end: it would go on for thousands of seconds."""
    swept = sweep_run.Sweep(sweep_ledger_draw.draw_group(132))
    swept.run()
    assert swept.all_finish.is_met
    assert swept.world.queue.now_s < 100.0


def test_a_void_round_of_an_honest_group_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that honest sketches do not pass voids rounds, and the sweep says so."""
    monkeypatch.setattr(sweep_ledger_draw, "HONEST_ROUNDS", 1)
    assert not sweep_run.run_seed(1, honest=True).violation
    monkeypatch.setattr(auditing, "MEAN_NORM_MAX", 1e-9)
    assert "a sum is lost where nothing goes wrong" in sweep_run.run_seed(1, honest=True).violation


FOUND = {
    "proofs-unchecked": (33, "counts a sum to which 1 liars have added 2.00 clips"),
    "coin-shown-early": (7, "shows its coin when 1 of 4 have signed the sums"),
    "sums-seen-twice": (7, "sends SumsSeen before it has recorded which sums it has"),
    "nothing-signed": (0, "nothing is certified after round"),
    "advert-unrecorded": (7, "sends GroupAdvert before it has recorded its advert"),
    "model-not-the-certified": (49, "keeps a model under another's digest"),
    "newcomer-refused": (40042, "peer 5 refuses peer 6: not_a_member"),
    "successor-unapproved": (SUCCEEDED, "without a quorum of the group before"),
    "not-gone-back": (40028, "does not begin with the state which the charter of epoch 2 names"),
}
"""By plant: a seed that finds it, and what is found."""


def test_each_plant_of_groups_has_a_seed_that_finds_it() -> None:
    assert FOUND.keys() == GROUP_PLANTS.keys()


SLOW = ("nothing-signed",)
"""Minutes of virtual time, in which nothing comes of anything."""


@pytest.mark.parametrize("plant", without(SLOW, FOUND))
def test_a_fault_planted_in_groups_is_found_for_what_it_is(plant: str) -> None:
    seed, said = FOUND[plant]
    found = sweep_run.run_seed(seed, plant, ledger=True).violation
    assert re.search(said, found)
    assert found.endswith(f"--from {seed} --seeds 1 --ledger --plant {plant}")


# --- the stand-in for the curve -----------------------------------------------------------------


def test_the_stand_in_is_a_group_as_the_curve_is() -> None:
    """What holds of points on the curve holds of those that stand in."""
    with sweep_curve.stand_in_curve():
        h = commitments.blinding_generator()
        assert vars(commitments)["add"] is sweep_curve.add
        assert vars(checking)["combine"] is sweep_curve.combine
    real = curve.hash_to_point(b"p2pfl/audit-H")
    assert h != real
    for group, point in ((curve, real), (sweep_curve, h)):
        five = group.multiply(5, point)
        assert five == group.add_all([point] * 5) == group.combine([2, 3], [point, point])
        assert group.subtract(five, group.multiply(4, point)) == point
        assert group.subtract(five, five) == group.multiply(0, point) == curve.IDENTITY
        assert group.add(group.multiply_base(3), group.multiply_base(4)) == group.multiply_base(7)
        for bad in (curve.IDENTITY, bytes([255]) * 32, bytes(31)):
            with pytest.raises(curve.InvalidPoint):
                group.require_point(bad)
            with pytest.raises(curve.InvalidPoint):
                group.combine([1], [bad])


def test_the_curve_is_back_where_the_stand_in_ends() -> None:
    assert vars(commitments)["add"] is curve.add
    assert vars(checking)["combine"] is curve.combine
