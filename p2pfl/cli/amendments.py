"""`p2pfl charter propose | approve | reject | status | verify`."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from p2pfl.charter.cards import read_member_card
from p2pfl.charter.chain import Chain, chain_of, comparable, days_left, read_folder
from p2pfl.charter.charter_file import CharterFile, read_file, write_file
from p2pfl.charter.departures import departure_line
from p2pfl.charter.differences import changes
from p2pfl.charter.errors import PaperError
from p2pfl.charter.form import DAY_S, moment, read_form
from p2pfl.charter.frames import require_under
from p2pfl.charter.making import amend, with_cards
from p2pfl.charter.outlook import waits_for, warnings_of
from p2pfl.charter.texts import beyond_bounds
from p2pfl.cli.approving import add_word, note_act, print_standing, signing_of
from p2pfl.cli.budget_room import peer_beside, print_budget
from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl.cli.in_force import approved_after, history_beside, read_in_force
from p2pfl.cli.quantities import plural
from p2pfl.cli.succeeding import succession_of
from p2pfl_crypto.governance import GovernanceKey
from p2pfl_gossip.ledger.approvals import Approval, Says
from p2pfl_gossip.ledger.approving import ApprovalStanding
from p2pfl_gossip.ledger.history import History


def propose_charter(toml: Path, present: Path, file: Path, cards: Sequence[Path] = ()) -> None:
    """Draft a charter that is to follow the present one, of a TOML that says all of it.

    Args:
        toml: what is to hold then.
        present: the charter in force, or a folder of charters.
        file: a new file.
        cards: of members that come in, or get other keys: each takes the place of its name.
    """
    with peer_errors():
        before = read_in_force(present)
        history = history_beside(present if present.is_dir() else present.parent)
        is_of_it = history is not None and history.epoch.digest == before.digest
        height = history.height if history is not None and is_of_it else 0
        form = with_cards(read_form(toml), [read_member_card(card) for card in cards])
        now_s = int(time.time())
        proposed = amend(form, before, now_s=now_s, entropy=os.urandom, height=height)
        lines = changes(before, proposed)
        if not lines:
            raise BadInput(f"{toml} says what {present} says: nothing would change")
        standing = proposed.standing_after(before)
        _require_within(before, proposed, standing)
        write_file(file, proposed, is_new=True)
    print(f"wrote {file}: {proposed.digest.hex()}")
    print("\n".join(f"  {line}" for line in lines))
    if 0 < proposed.charter.rounds <= height and proposed.charter.start is None:
        print(f"note       there are {plural(height, 'model')} already: no more come of it")
    with peer_errors():
        print_budget(proposed, peer_beside(present))
    print(f"class      {standing.kind}")
    print_standing(standing)


def approve_charter(
    file: Path,
    *,
    says: Says,
    present: Path | None,
    key: Path | None,
    peer: Path | None,
    passphrase_file: Path | None,
    days: int,
    acts_of: Path | None,
) -> None:
    """Approve a proposal, or object to it, with a governance key or the peer's."""
    now_s = int(time.time())
    with peer_errors():
        proposed = read_file(file)
        if proposed.is_founding:
            raise BadInput(f"{file} founds a group: sign it with p2pfl charter sign")
        beside = _read_beside(file, present)
        before = _present_of(file, proposed, present, beside)
        standing = proposed.standing_after(before)
        if says is Says.APPROVE:
            _require_time(file, proposed, now_s)
            _require_within(before, proposed, standing)
        members = [*before.charter.members, *proposed.charter.members]
        signing = signing_of(members, key, peer, passphrase_file)
        _require_right_key(before, proposed, standing, signing.key, signing.name, says)
        until = min(now_s + days * DAY_S, proposed.charter.until)
        signed = add_word(proposed, proposed.digest, says, signing, until)
        standing = signed.standing_after(before)
        write_file(file, signed)
        if (folder := acts_of or peer) is not None:
            act = "charter approved" if says is Says.APPROVE else "charter objected to"
            note_act(folder, act, {"charter": signed.digest.hex(), "key": signing.text})
    word = "approved" if says is Says.APPROVE else "objected to"
    print(f"{word} {file} as {signing.name} with {signing.text}")
    print(f"  it holds until {moment(until):%Y-%m-%d}, unless the charter is in force before")
    print_standing(standing)
    for rival in approved_after(before, beside, but=signed.digest):
        print(f"warning    charter {rival} is approved, too: once that is in force, this is void")
    if over := len(_unheld(signed, now_s)):
        print(
            f"warning    {plural(over, 'word')} counted here ended before today: ask for new ones"
        )


def show_status(folder: Path, *, name: str | None, as_json: bool) -> None:
    """Show the charter in force, what waits for whom, and dates that come near."""
    now_s = int(time.time())
    with peer_errors():
        history = history_beside(folder)
        taken = None if history is None else [epoch.digest for epoch in history.epochs]
        chain = chain_of(_read(folder), in_force=taken)
        if not chain.files:
            _show_founding(chain, as_json=as_json)
            return
        present = chain.present
        warnings = [*_warnings(chain, now_s), *_doubts(chain, history)]
        waits = [
            {
                "charter": it.file.digest.hex(),
                "class": it.standing.kind,
                "approved": list(it.standing.approved),
                "missing": list(it.standing.missing),
                "objected": list(it.standing.objected),
                "changes": changes(present, it.file),
                "waits_for_me": name is not None and waits_for(present, it.file, name),
            }
            for it in chain.waiting
        ]
        departed = chain.departed(len(chain.files) - 1)
    if as_json:
        told = {
            "group": chain.files[0].digest.hex(),
            "charter": present.digest.hex(),
            "by": "files" if history is None else "ledger",
            "epochs": len(chain.files),
            "until": present.charter.until,
            "days_left": days_left(present.charter.until, now_s),
            "departed": {name: says.name.lower() for name, says in departed.items()},
            "waiting": waits,
            "warnings": warnings,
        }
        print(json.dumps(told, indent=2))
        return
    print(f"group      {chain.files[0].digest.hex()}")
    print(f"charter    {present.digest.hex()}, {plural(len(chain.files) - 1, 'amendment')}")
    is_network = present.is_network
    print(f"until      {'for good' if is_network else f'{moment(present.charter.until):%Y-%m-%d}'}")
    for member, says in departed.items():
        print(f"departed   {departure_line(member, says)}")
        if says is Says.WITHDRAW:
            print(f"           p2pfl charter back PEER --without {member}: a proposal that does so")
    for it, told_of in zip(chain.waiting, waits, strict=True):
        print(f"proposal   {it.file.digest.hex()[:16]}, {it.standing.kind}")
        for line in changes(present, it.file):
            print(f"           {line}")
        print_standing(it.standing)
        if told_of["waits_for_me"]:
            print(f"           it waits for {name}")
    for warning in warnings:
        print(f"warning    {warning}")


def verify_charters(
    paths: Sequence[Path],
    studies: Sequence[Path] = (),
    predecessor: Path | None = None,
    under: Path | None = None,
) -> None:
    """Check charters from the founding on, offline; say what each changed and who approved it."""
    with peer_errors():
        files: list[CharterFile] = []
        for path in paths:
            files += _read(path)
        chain = chain_of(files)
        present = chain.present
        others = [read_in_force(path) for path in studies]
        succeeds = chain.files[0].charter.succeeds
        if succeeds is None and predecessor is not None:
            raise BadInput("this group succeeds none: leave --predecessor out")
        frames = [] if under is None else _read(under)
        if under is not None:
            require_under(present, _frame_of(present, frames))
        of_frame = [file.digest for file in (*chain.files, *frames)]
        succession = None if predecessor is None else succession_of(chain.files[0], predecessor)
    print(f"group {chain.files[0].digest.hex()}")
    _print_epochs(chain)
    if succeeds is not None and succession is None:
        print(f"succeeds group {succeeds.group.hex()}: --predecessor checks that with its record")
    if succession is not None:
        print_standing(succession)
        if not succession.is_enough:
            raise BadInput(f"the succession is not approved: {succession.missing[0]}")
    if present.terms.under is not None:
        checked = "--under checks that with it" if under is None else "its cards and terms are so"
        print(f"a study under the charter {present.terms.under[:16]}: {checked}")
        print("  --study warns of others whose models can be compared with its own")
    for other in others:
        if warning := comparable(present, other, of_frame):
            print(f"warning: {warning}")
    for it in chain.waiting:
        print(f"not in force: charter {it.file.digest.hex()}")
    count = plural(len(present.charter.members), "member")
    print(f"all in order: {count}, {plural(len(chain.files), 'charter')}")


def _print_epochs(chain: Chain) -> None:
    before: CharterFile | None = None
    for number, (file, standing) in enumerate(zip(chain.files, chain.standings, strict=True)):
        print(f"epoch {number}: charter {file.digest.hex()}, {standing.kind}")
        print(f"  approved by {', '.join(standing.approved)}")
        for line in () if before is None else changes(before, file):
            print(f"  {line}")
        before = file


def _read(path: Path) -> list[CharterFile]:
    return read_folder(path) if path.is_dir() else [read_file(path)]


def _frame_of(study: CharterFile, files: list[CharterFile]) -> CharterFile:
    """Return the charter that a study names, of those of its frame that are here."""
    named = [file for file in files if file.digest.hex() == study.terms.under]
    return named[0] if named else files[0] if len(files) == 1 else chain_of(files).present


# --- what may be said -----------------------------------------------------------------------------


def _require_within(before: CharterFile, after: CharterFile, standing: ApprovalStanding) -> None:
    if standing.kind != "running":
        return
    faults = beyond_bounds(before.terms, before.running, after.running)
    if faults:
        raise BadInput(
            f"{faults[0]}: widen bounds.settings in the same charter, which governance keys then"
            " approve"
        )


def _require_time(file: Path, proposed: CharterFile, now_s: int) -> None:
    if proposed.charter.until <= now_s:
        date = f"{moment(proposed.charter.until):%Y-%m-%d}"
        raise BadInput(f"{file} would be over since {date}: propose one that ends later")


def _require_right_key(
    before: CharterFile,
    proposed: CharterFile,
    standing: ApprovalStanding,
    key: GovernanceKey,
    name: str,
    says: Says,
) -> None:
    """Refuse a word that would count for nothing."""
    old = {it.name: it for it in before.charter.members}
    new = {it.name: it for it in proposed.charter.members}
    is_governance = any(
        key.encoded in it.governance.keys for it in (old.get(name), new.get(name)) if it is not None
    )
    if says is Says.OBJECT:
        if not is_governance:
            raise BadInput("governance keys object; that of a peer counts for running changes only")
        return
    # Of one that is approved they may still be a member's own consent to what now holds.
    if standing.kind == "running" and is_governance and not standing.is_enough:
        raise BadInput(
            "this is a running change: the peers' keys approve it: --peer DIR in place of --key"
        )
    if standing.kind == "founding" and not is_governance:
        is_new = name not in old or old[name].key != key.public
        if not (name in new and is_new):
            raise BadInput("governance keys approve this change: --key FILE in place of --peer")


def _read_beside(path: Path, given: Path | None) -> list[CharterFile]:
    """Read where the charter in force is to be: as given, or beside the proposal."""
    if given is None:
        return read_folder(path.parent)
    return _read(given)


def _present_of(
    path: Path, proposed: CharterFile, given: Path | None, candidates: Sequence[CharterFile]
) -> CharterFile:
    for file in candidates:
        if file.digest == proposed.charter.present:
            return file
    where = given or path.resolve().parent
    raise PaperError(
        f"{path} follows the charter {proposed.charter.present.hex()[:16]}, which is not in"
        f" {where}: name the one in force with --present"
    )


def _warnings(chain: Chain, now_s: int) -> Iterator[str]:
    yield from warnings_of(chain.present, now_s)
    for waiting in chain.waiting:
        for approval in _unheld(waiting.file, now_s):
            fingerprint = GovernanceKey.read(approval.key).fingerprint
            yield f"the word of key {fingerprint} on {waiting.file.digest.hex()[:16]} is over"


def _doubts(chain: Chain, history: History | None) -> Iterator[str]:
    """Say what files tell otherwise than the ledger, or without it cannot tell."""
    present = chain.present
    if history is None:
        if len(chain.files) > 1 and not present.is_network:
            yield (
                f"charter {present.digest.hex()[:16]} is approved; whether it is in force, a"
                " member's ledger tells: name the folder charters of its peer"
            )
        return
    if history.epoch.digest != present.digest:
        yield (
            f"by the ledger charter {history.epoch.digest.hex()[:16]} is in force, whose file is"
            " not here: a running peer gets it from the others"
        )
    for it in chain.waiting:
        if it.standing.is_enough:
            yield f"charter {it.file.digest.hex()[:16]} is approved, and not in force by the ledger"


def _unheld(file: CharterFile, now_s: int) -> list[Approval]:
    return [it for it in file.approvals if it.until <= now_s]


def _show_founding(chain: Chain, *, as_json: bool) -> None:
    drafts = list(chain.drafts)
    if as_json:
        told = [
            {
                "draft": file.digest.hex(),
                "missing": [] if file.is_draft else list(file.founding_standing().missing),
            }
            for file in drafts
        ]
        print(json.dumps({"group": None, "drafts": told}, indent=2))
        return
    if not drafts:
        raise BadInput("there is no charter here")
    for file in drafts:
        print(f"founding   {file.digest.hex()}")
        if file.is_draft:
            pairs = zip(file.charter.members, file.shown, strict=True)
            waits = [member.name for member, secret in pairs if not secret]
            print(f"missing    the random bytes of {', '.join(waits)}")
        else:
            print_standing(file.founding_standing())
