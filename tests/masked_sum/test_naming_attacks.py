# mypy: disable-error-code="arg-type, attr-defined, index, union-attr"
"""A second round of attacks on naming: to have an honest member named, a liar not, or nobody."""

from group_driver import GroupDriver
from other_signature import signed_otherwise
from test_audits import HONEST, LIAR
from test_disputes import session

from p2pfl_crypto.statements import statement_digest
from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import SumDigest
from p2pfl_gossip.records import replaced


def test_a_sum_that_is_signed_twice_is_one_sum() -> None:
    """Two signatures of one digest would be a proof that everybody else refuses."""

    def twice(driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        said = action.message if isinstance(action, Send) else None
        if not isinstance(said, SumDigest):
            return [action]
        number = said.chunk.to_bytes(8, "little")
        body = (said.session, said.ballot, number, said.digest)
        statement = statement_digest(b"sum", LIAR, *body)
        other = replaced(said, signature=signed_otherwise(driver.people[LIAR], statement))
        said_twice.append(said.chunk)
        return [action, Send(action.receiver, other)]

    said_twice: list[int] = []
    driver = session(rewrite={LIAR: twice}).run()
    assert said_twice
    for rank in HONEST:
        assert driver.machines[rank].blames == ()
    assert set(driver.summed()) >= set(HONEST)
