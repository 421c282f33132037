"""What a member's host tells its machine: what the calendar, the terms and its operator allow.

The machine has no clock and reads no terms. So its host says by `HostWord` whether to give updates
now, and which approved charters may come. All of it is a function of what is given here: the time,
the papers, and whether the operator has approved the task. Nothing that was certified before is
judged by it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from p2pfl.charter.chain import date_warning
from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.errors import PaperError
from p2pfl.charter.form import moment
from p2pfl.charter.texts import Terms, beyond_bounds
from p2pfl_crypto.governance import GovernanceKey
from p2pfl_gossip.ledger.approvals import Says
from p2pfl_gossip.ledger.approving import ApprovalStanding, check_amendment, kind_of_change
from p2pfl_gossip.ledger.messages import Rest
from p2pfl_gossip.ledger.parcels import CharterProposal
from p2pfl_gossip.ledger.proposals import HostWord


@dataclass(frozen=True)
class Outlook:
    """What a host has found.

    Attributes:
        word: for the machine.
        why: why this member gives no updates, for its operator; empty if it does.
        waits: digests of proposals on which this member's keys have not said enough.
        held: of proposals that are approved and may not come yet or ever: why, by digest.
        warnings: of dates that come near, and documents that are missing.
    """

    word: HostWord
    why: str = ""
    waits: tuple[bytes, ...] = ()
    held: Mapping[bytes, str] | None = None
    warnings: tuple[str, ...] = ()


def look_ahead(
    *,
    now_s: int,
    own: str,
    present: CharterFile | None,
    proposals: Sequence[CharterProposal],
    first_seen: Mapping[bytes, int],
    task_fault: str,
    budget_fault: Callable[[CharterFile], str] = lambda _file: "",
) -> Outlook:
    """Work out what a host says.

    Args:
        now_s: seconds since 1970.
        own: this member's name.
        present: the charter in force; None while its texts are not here.
        proposals: what may follow, as the machine holds it.
        first_seen: when this host first saw a proposal, by digest.
        task_fault: why the task in force cannot run here; empty if it can.
        budget_fault: reserves what a charter that is approved may cost; why that cannot be.
    """
    if present is None:
        return Outlook(HostWord(Rest.TASK), "the texts of the charter in force are not here yet")
    rest, why = _rest(present, own, now_s, task_fault)
    due, void, waits, held = [], [], [], {}
    for proposal in proposals:
        if proposal.charter.until <= now_s or not _holding(proposal, now_s):
            void.append(proposal.digest)
            continue
        try:
            file = file_of(proposal)
        except PaperError as error:
            held[proposal.digest] = str(error)
            continue
        if waits_for(present, file, own):
            waits.append(proposal.digest)
        reason = _held_back(present, file, proposal, first_seen.get(proposal.digest, now_s), now_s)
        if not reason and not _standing(present, proposal, now_s).is_enough:
            continue
        reason = reason or budget_fault(file)
        if reason:
            held[proposal.digest] = reason
        else:
            due.append(proposal.digest)
    word = HostWord(rest, tuple(due), tuple(void))
    return Outlook(word, why, tuple(waits), held, tuple(warnings_of(present, now_s)))


def file_of(proposal: CharterProposal) -> CharterFile:
    """Return a proposal as a file, all of it checked; without free texts, which do not travel.

    Raises:
        PaperError: its texts are not here, or are none that this version knows.
    """
    if not proposal.terms or not proposal.running:
        raise PaperError("its texts are not here yet")
    approvals = proposal.approvals
    return CharterFile(
        proposal.charter, proposal.terms, proposal.running, approvals=approvals, beside=()
    )


def waits_for(present: CharterFile, proposed: CharterFile, name: str) -> bool:
    """Whether a proposal waits for the word of a member, present or new."""
    kind = kind_of_change(present.charter, proposed.charter)
    said = {it.key for it in proposed.words(Says.APPROVE, Says.OBJECT)}
    for member in present.charter.members:
        if member.name != name:
            continue
        if kind == "running":
            return GovernanceKey("ed25519", member.key).encoded not in said
        return len(said & set(member.governance.keys)) < member.governance.threshold
    return any(
        key not in said
        for member in proposed.charter.members
        if member.name == name
        for key in member.governance.keys
    )


def warnings_of(present: CharterFile, now_s: int) -> Iterator[str]:
    """Warn of dates that come near, and of documents that are missing."""
    charter, terms = present.charter, present.terms
    if warning := date_warning("the charter", charter.until, now_s):
        yield warning
    if charter.not_before > now_s:
        yield f"the charter holds from {moment(charter.not_before):%Y-%m-%d} on"
    for it in terms.documents:
        of = "the group" if it.of is None else it.of
        if it.until is not None and (
            warning := date_warning(f"the document {it.kind} of {of}", it.until, now_s)
        ):
            yield warning
    for kind in terms.require:
        lacking = [it.name for it in charter.members if not _has(terms, kind, it.name, now_s)]
        if lacking:
            yield f"the document {kind} is missing for {', '.join(lacking)}"


def _rest(present: CharterFile, own: str, now_s: int, task_fault: str) -> tuple[Rest, str]:
    charter, terms = present.charter, present.terms
    if not charter.not_before <= now_s < charter.until:
        is_over = now_s >= charter.until
        date = moment(charter.until if is_over else charter.not_before)
        told = "is over since" if is_over else "holds only from"
        return Rest.LAPSED, (
            f"the charter {told} {date:%Y-%m-%d %H:%M} UTC: it can still be amended, and so renewed"
        )
    for kind in terms.require:
        if not _has(terms, kind, own, now_s):
            return Rest.LAPSED, (
                f"the document {kind}, which the charter requires, is missing or over: amend it in"
            )
    return (Rest.TASK, task_fault) if task_fault else (Rest.NONE, "")


def _has(terms: Terms, kind: str, name: str, now_s: int) -> bool:
    """Whether a document is there and not over: of the group, or of a member."""
    return any(
        it.kind == kind and it.of in (None, name) and (it.until is None or it.until > now_s)
        for it in terms.documents
    )


def _holding(proposal: CharterProposal, now_s: int) -> bool:
    """Whether anybody's word on it still holds."""
    return any(it.until > now_s for it in proposal.approvals)


def _standing(present: CharterFile, proposal: CharterProposal, now_s: int) -> ApprovalStanding:
    """Say how far an approval is by the words that hold today."""
    words = [it for it in proposal.approvals if it.until > now_s]
    return check_amendment(present.charter, proposal.charter, words)


def _held_back(
    present: CharterFile,
    file: CharterFile,
    proposal: CharterProposal,
    seen_s: int,
    now_s: int,
) -> str:
    """Say why a proposal may not come, however many approve it; empty if it may."""
    standing, charter = proposal.standing, proposal.charter
    assert standing is not None  # Only the charter in force has none.
    if charter.not_before > now_s:
        return f"it holds only from {moment(charter.not_before):%Y-%m-%d %H:%M} UTC"
    if standing.kind == "running" and (
        faults := beyond_bounds(present.terms, present.running, file.running)
    ):
        return f"it goes beyond the bounds of the charter in force: {faults[0]}"
    objected = sorted(set(standing.replaced) & set(standing.objected))
    if objected:
        return f"{objected[0]} objects to other keys in its place"
    over_s = seen_s + present.charter.notice_s
    if standing.replaced and now_s < over_s:
        return (
            f"{', '.join(standing.replaced)} may object to other keys until"
            f" {moment(over_s):%Y-%m-%d %H:%M} UTC"
        )
    return ""
