"""Audited groups as a whole: what each lie comes to, and that honest runs are as before."""

from typing import Any

import numpy as np
import pytest
from sampled import without
from test_liars import GROUP, document, first_leader

from p2pfl.learner.learner import make_learner
from p2pfl_crypto.audit.checking import Verdict
from p2pfl_gossip.masked_sum import audit_jobs, auditing
from p2pfl_gossip.masked_sum.epoch_cohort import EpochCohort
from p2pfl_gossip.masked_sum.tossing import Tossing
from p2pfl_simulations import ScenarioError, make_scenario
from p2pfl_simulations.checkers import all_checkers
from p2pfl_simulations.checkers.auditing import AuditHolds
from p2pfl_simulations.checkers.base import Violation
from p2pfl_simulations.liars.planting import Liars
from p2pfl_simulations.liars.registry import shipped_liars
from p2pfl_simulations.results.run import RunResult
from p2pfl_simulations.simulation import Simulation

AUDITED = GROUP | {"audit": "void", "clip": 1000.0, "retries": 2}

OUTCOMES = {
    # One round is lost; the liar is named, and in no list from the next one on.
    "copied-commitment": ("named", "false_proof"),
    "replayed-proof": ("named", "false_proof"),
    "other-coin": ("named", "bad_dealing"),
    "squares-mod-order": ("named", "false_proof"),
    # No round is lost.
    "two-seen": ("named", "two_seen"),
    "false-coin-share": ("harmless", ""),
    "late-proof": ("harmless", ""),
    # One round is lost; nobody is named, and whoever leads the next one leaves the liar out.
    "silent-in-audits": ("left out", "proofs_missing"),
    # Where the charter says so, a dispute finds out who it was. Else each round is void.
    "false-sketch": ("named", "false_statement"),
    "offset-between-colluders": ("named", "false_statement"),
    "wrong-blinding": ("named", "false_statement"),
    "false-dispute": ("named", "false_statement"),
}


BY_OWNERS = ("told-coins",)
"""Of those that own a chunk together: in test_telling_liars.py."""


ALIKE = ("copied-commitment", "squares-mod-order", "offset-between-colluders")
"""Found by the same check as another of them."""

LOST = {
    "false_proof": "false_proof",
    "bad_dealing": "bad_dealing",
    "proofs_missing": "proofs_missing",
    "false_statement": "false_total",
}


def simulate(liars: Any, **averaging: Any) -> tuple[RunResult, AuditHolds]:
    time_limit_s = averaging.pop("time_limit_s", 60)
    scenario = make_scenario(
        document(liars, averaging=AUDITED | averaging, rounds=1, time_limit_s=time_limit_s)
    )
    learner = make_learner(scenario.learning, peer_count=scenario.peers, seed=1, folder=None)
    checkers = all_checkers()
    simulation = Simulation(scenario, learner, lambda _: None, folder=None, checkers=checkers)
    simulation.run()
    (audit,) = (checker for checker in checkers if isinstance(checker, AuditHolds))
    return simulation.result(), audit


def test_a_faultless_run_is_the_one_without_an_audit() -> None:
    """But for rounding bits, which follow from the charter's name; modelled masks have these too.

    In sessions of one name the sums are equal bit for bit: tests/masked_sum/test_audits.py.
    """
    plain, _ = simulate(None, audit="off")
    audited, audit = simulate(None)
    modelled, _ = simulate(None, masking="modelled")
    quantum = 1000.0 * 6 / ((2**31 - 1) // 6)
    assert np.abs(audited.require_model() - plain.require_model()).max() <= 2 * quantum
    assert modelled.require_model().tobytes() == audited.require_model().tobytes()
    assert audit.checked == 6


def test_every_strategy_of_an_audit_has_its_outcome() -> None:
    assert sorted((*OUTCOMES, *BY_OWNERS)) == sorted(
        n for n, liar in shipped_liars().items() if liar.in_audits
    )


@pytest.mark.parametrize("strategy", without(ALIKE, OUTCOMES))
def test_what_a_lie_in_an_audit_comes_to(strategy: str) -> None:
    kind, word = OUTCOMES[strategy]
    result, _ = simulate(
        {"strategy": strategy, "peers": [first_leader()]},
        audit="name" if word == "false_statement" else "void",
    )
    sums = result.masked_sums
    assert sums is not None
    assert list(sums.blamed) == ([word] if kind == "named" else [])
    assert [row.ended for row in result.rounds] == [5]
    lost = LOST.get(word)
    assert list(sums.aborted) == ([lost] if lost else [])
    assert sum(sums.aborted.values()) == bool(lost)


def test_an_owner_that_falsifies_a_sum_alone_costs_one_audited_round() -> None:
    """Others work it out again, and name it. It goes by its own, and has no proof for theirs."""
    result, _ = simulate({"strategy": "false-sum", "peers": [first_leader()]}, audit="name")
    sums = result.masked_sums
    assert sums is not None
    assert list(sums.blamed) == ["false_sum", "outvoted"]
    assert sums.aborted == {"proofs_missing": 1}
    assert [row.ended for row in result.rounds] == [5]


def test_without_a_dispute_each_round_with_a_liar_is_void() -> None:
    liar = {"strategy": "wrong-blinding", "peers": [first_leader()]}
    result, _ = simulate(liar, time_limit_s=11.0)
    sums = result.masked_sums
    assert sums is not None
    assert not sums.blamed
    assert list(sums.aborted) == ["false_total"]
    assert all(row.ended == 0 for row in result.rounds)


def test_the_checker_sees_a_sum_that_no_audit_has_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a check that lets all pass, a liar of four clips is in a sum that counts."""
    monkeypatch.setattr(audit_jobs, "check_all", lambda *_: Verdict((), opens=True))
    monkeypatch.setattr(auditing, "MEAN_NORM_MAX", 9.0)
    liar = {"strategy": "false-sketch", "peers": [first_leader()], "arguments": {"norm": 4.0}}
    with pytest.raises(Violation, match=r"1 liars have added (3\.9|4\.0)\d* clips"):
        simulate(liar)


def test_the_checker_sees_a_coin_that_is_shown_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where members wait for nobody, the first of them shows its coin alone."""
    early = property(lambda _: 1)
    own = Tossing._toss_if_seen

    def toss(tossing: Tossing) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(EpochCohort, "threshold", early)
            own(tossing)

    monkeypatch.setattr(Tossing, "_toss_if_seen", toss)
    with pytest.raises(Violation, match="shows its coin when 1 of 5 have signed the sums"):
        simulate(None)


@pytest.mark.parametrize("averaging", [{"audit": "off"}, {"masking": "modelled"}])
def test_a_lie_in_an_audit_needs_one(averaging: dict[str, str]) -> None:
    liars = {"strategy": "silent-in-audits", "peers": [0]}
    with pytest.raises(ScenarioError, match="real audits of groups"):
        Liars(make_scenario(document(liars, averaging=AUDITED | averaging)))
