"""Heads that are raised while models are on their way."""

from ledger_group import Bench, LedgerGroup, item_of, model_of

from p2pfl_gossip.desk import Desk
from p2pfl_gossip.ledger.entries import EntryStep
from p2pfl_gossip.ledger.fetching import Fetched
from p2pfl_gossip.ledger.heads import Heads
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.shelf import Shelf
from p2pfl_gossip.ledger.standing import Standing
from p2pfl_gossip.ledger.states import digest_state
from p2pfl_gossip.own_state import OwnState

GROUP = LedgerGroup(5)


def test_a_model_that_was_worked_out_while_an_earlier_one_came_need_not_be_fetched() -> None:
    bench, standing, raised = Bench(GROUP), Standing({}), list[int]()
    heads = Heads(
        bench.seat,
        standing,
        History(GROUP.epoch),
        Shelf(Desk()),
        model_of(0.0),
        (),
        OwnState(),
        lambda step, _vector, _before: raised.append(step.head.round),
    )
    one = EntryStep(GROUP.sum_entry(GROUP.first, 1, value=1.0))
    two = EntryStep(GROUP.sum_entry(one, 2, value=2.0))
    for step in (one, two):
        certificate = GROUP.certificate(step.entry)
        bench.do(lambda certificate=certificate: heads.on_certificate(None, certificate))  # type: ignore[misc]
    assert heads.fetched_digest == item_of(1.0).digest
    # Our own sum of round 2 is here before the model of round 1 is.
    standing.sign(GROUP.signed_entry(bench.rank, two.entry), model_of(2.0))
    fetch = heads.fetch
    assert fetch is not None
    fetch.outcome = Fetched(model_of(1.0), digest_state("model", model_of(1.0)).chunk_digests)
    bench.do(heads.settle)
    assert raised == [1, 2]
    assert heads.fetch is None
