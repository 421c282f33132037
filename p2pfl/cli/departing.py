"""`p2pfl charter leave | revoke`: what a member says alone, of the charter in force."""

from pathlib import Path

from p2pfl.charter.charter_file import read_file, write_file
from p2pfl.charter.departures import DEPARTURES
from p2pfl.cli.approving import add_word, note_act, signing_of
from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl.cli.in_force import doubts
from p2pfl_gossip.ledger.approvals import Says

_ACTS = {
    Says.LEAVE: "group left",
    Says.WITHDRAW: "group left, rounds withdrawn",
    Says.REVOKE: "peer key revoked",
}


def say_of_present(
    file: Path,
    *,
    says: Says,
    key: Path,
    passphrase_file: Path | None,
    acts_of: Path | None,
) -> None:
    """Leave the group, or revoke one's own peer key: one's own governance keys are enough."""
    with peer_errors():
        present = read_file(file)
        if present.is_network:
            raise BadInput(
                f"{file} founds a network: it keeps no ledger that could say who has left, and"
                " holds for good. Stop the peer (p2pfl peer stop); the others found a new network"
            )
        warnings = list(doubts(file, present))
        signing = signing_of(present.charter.members, key, None, passphrase_file)
        signed = add_word(present, present.digest, says, signing, present.charter.until)
        member = next(it for it in present.charter.members if it.name == signing.name)
        said = {it.key for it in signed.words(says)} & set(member.governance.keys)
        write_file(file, signed)
        if acts_of is not None:
            facts = {"charter": present.digest.hex(), "key": signing.text}
            note_act(acts_of, _ACTS[says], facts)
    what, wanted = DEPARTURES[says], member.governance.threshold - len(said)
    if wanted > 0:
        print(f"signed with {signing.text}: {wanted} more of its keys and {member.name} {what}")
    else:
        print(f"{member.name} {what}: hand {file} to any member; it needs nobody's consent")
    if says is Says.WITHDRAW:
        print(
            "  whether the others train again without these rounds they decide by a charter:"
            f" p2pfl charter back PEER --without {member.name} prints what it says"
        )
    for warning in warnings:
        print(f"warning    {warning}")
