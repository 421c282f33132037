"""What counts as a member's own word that it leaves."""

from ledger_world import approval_by, governor_of, identity_of, make_charter

from p2pfl_crypto.governance import GovernanceKey
from p2pfl_gossip.ledger.approvals import LEAVING, Says
from p2pfl_gossip.ledger.charter import Governance
from p2pfl_gossip.ledger.departing import departed
from p2pfl_gossip.records import replaced

CHARTER = make_charter(range(5))


def test_each_word_is_of_one_member_and_one_charter() -> None:
    said = [
        approval_by(governor_of(1), CHARTER, says=Says.LEAVE),
        approval_by(governor_of(2), CHARTER, says=Says.WITHDRAW),
        approval_by(governor_of(3), CHARTER, says=Says.REVOKE),
        approval_by(governor_of(4), CHARTER, says=Says.APPROVE),
        approval_by(identity_of(4), CHARTER, says=Says.LEAVE),
        approval_by(governor_of(0), make_charter(range(6)), says=Says.LEAVE),
    ]
    found = {"m1": Says.LEAVE, "m2": Says.WITHDRAW, "m3": Says.REVOKE}
    assert departed(CHARTER, said) == found
    assert departed(make_charter(range(5), rounds=77), said) == {}


def test_a_member_of_two_keys_says_one_thing_with_both() -> None:
    keys = tuple(
        GovernanceKey("ed25519", governor_of(index).public_key).encoded for index in (4, 9)
    )
    members = list(CHARTER.members)
    members[4] = replaced(members[4], governance=Governance(2, keys))
    charter = replaced(CHARTER, members=tuple(members))
    for second in LEAVING:
        said = [
            approval_by(governor_of(4), charter, says=Says.WITHDRAW),
            approval_by(governor_of(9), charter, says=second),
        ]
        expected = {"m4": Says.WITHDRAW} if second is Says.WITHDRAW else {}
        assert departed(charter, said) == expected
        assert departed(charter, said[:1]) == {}


def test_members_without_governance_keys_say_nothing() -> None:
    members = tuple(replaced(it, governance=Governance()) for it in CHARTER.members)
    assert departed(replaced(CHARTER, members=members), []) == {}
