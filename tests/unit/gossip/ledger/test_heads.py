"""Heads that are raised while models are on their way."""

from ledger_group import Bench, LedgerGroup, item_of, model_of

from p2pfl_gossip.desk import Desk
from p2pfl_gossip.ledger.entries import EntryStep
from p2pfl_gossip.ledger.fetching import Fetched
from p2pfl_gossip.ledger.heads import Heads
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import CertificateRequest, Closing
from p2pfl_gossip.ledger.shelf import Shelf
from p2pfl_gossip.ledger.standing import Standing
from p2pfl_gossip.ledger.states import digest_state
from p2pfl_gossip.own_state import OwnState

GROUP = LedgerGroup(5)


def heads_of(bench: Bench, standing: Standing, history: History, raised: list[int]) -> Heads:
    """Heads of a member; `raised` gets the rounds of those that it comes to."""
    return Heads(
        bench.seat,
        standing,
        history,
        Shelf(Desk()),
        model_of(0.0),
        (),
        OwnState(),
        lambda step, _vector, _before: raised.append(step.head.round),
    )


def test_a_model_that_was_worked_out_while_an_earlier_one_came_need_not_be_fetched() -> None:
    bench, standing, raised = Bench(GROUP), Standing({}), list[int]()
    heads = heads_of(bench, standing, History(GROUP.epoch), raised)
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


def test_a_model_that_was_worked_out_while_it_came_need_not_be_fetched() -> None:
    """Nor does it matter that nobody gives it."""
    bench, standing, raised = Bench(GROUP), Standing({}), list[int]()
    heads = heads_of(bench, standing, History(GROUP.epoch), raised)
    step = EntryStep(GROUP.sum_entry(GROUP.first, 1, value=1.0))
    certificate = GROUP.certificate(step.entry)
    bench.do(lambda: heads.on_certificate(GROUP.epoch.members[1], certificate))
    for peer in GROUP.epoch.members:
        bench.do(lambda peer=peer: heads.on_peer_down(peer))  # type: ignore[misc]
    assert heads.is_withheld(step.head)
    standing.models[step.entry.state[0].digest] = model_of(1.0)
    bench.do(lambda: heads.on_certified(certificate))
    assert raised == [1]


def test_who_has_our_head_is_shown_the_ends_of_epochs_that_it_lacks() -> None:
    """A newcomer, say, to a group that has changed its charter and made no model since."""
    history = GROUP.history(1)
    groups = [GROUP]
    for round_ in (2, 4):
        charter = groups[-1].next_charter()
        entry = groups[-1].empty_entry(history.head, round_, charter.digest())
        history.close_epoch(groups[-1].closing(entry, charter))
        step = history.step(EntryStep(entry).head)
        assert step is not None
        history.head = step
        groups.append(groups[-1].following(charter))
    bench = Bench(groups[-1])
    heads = heads_of(bench, Standing({}), history, [])
    asked = CertificateRequest(history.head.head)
    bench.do(lambda: heads.on_request(groups[-1].epoch.members[3], asked))
    ((rank, shown),) = bench.take_sent(Closing)
    assert (rank, shown) == (3, history.closings(1)[0])
    # One that has come to an entry of the epoch lacks nothing.
    extended = EntryStep(groups[-1].sum_entry(history.head, 6))
    history.add(extended, groups[-1].certificate(extended.entry))
    history.head = extended
    bench.do(
        lambda: heads.on_request(groups[-1].epoch.members[3], CertificateRequest(extended.head))
    )
    assert bench.take_sent(Closing) == []
