"""`p2pfl charter draft | reveal | gather | sign | show | diff | erase`."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from p2pfl.charter.cards import read_member_card, reveal
from p2pfl.charter.charter_file import CharterFile, merged, read_file, write_file
from p2pfl.charter.differences import changes
from p2pfl.charter.errors import PaperError
from p2pfl.charter.form import DAY_S, form_toml, moment, read_form
from p2pfl.charter.frames import require_under, under_frame
from p2pfl.charter.making import form_of, found
from p2pfl.charter.rosters import form_of_roster
from p2pfl.charter.settled import settled
from p2pfl.charter.words import phrase_of
from p2pfl.cli.approving import KeyInHand, add_word, note_act, print_standing, signing_of
from p2pfl.cli.budget_room import peer_beside, print_budget
from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl.cli.in_force import read_in_force
from p2pfl.cli.phrases import print_words, require_phrase
from p2pfl.cli.quantities import plural
from p2pfl.cli.succeeding import members_of, succession_of
from p2pfl.daemon.config import PeerFolder
from p2pfl.group.protection import describe_protection
from p2pfl.store.keys import read_public_keys
from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.identity import peer_id_of, public_key_of
from p2pfl_gossip.ledger.approvals import Says
from p2pfl_gossip.ledger.approving import kind_of_change


def draft_charter(
    toml: Path,
    cards: Sequence[Path],
    file: Path,
    *,
    from_roster: bool = False,
    first_state: Path | None = None,
    bundle: Path | None = None,
    under: Path | None = None,
) -> None:
    """Draft a founding charter of a TOML, or an old group's roster, and the founders' cards."""
    if not from_roster and (first_state is not None or bundle is not None):
        raise BadInput("--first-state and --bundle go with --from-roster: else the TOML names them")
    if from_roster and first_state is None:
        raise BadInput("--from-roster needs --first-state: make one with p2pfl task begin --model")
    with peer_errors():
        founders = [read_member_card(card) for card in cards]
        if first_state is None:
            form = read_form(toml)
        else:
            form = form_of_roster(toml, founders, first_state=first_state, bundle=bundle)
        frame = None if under is None else read_in_force(under)
        if frame is not None:
            form = under_frame(form, frame, frozenset(card.name for card in founders))
        drafted = found(form, founders, now_s=int(time.time()), entropy=os.urandom)
        if frame is not None:
            require_under(drafted, frame)
        write_file(file, drafted, is_new=True)
    print(f"wrote {file}: a draft of {plural(len(founders), 'founder')}, {drafted.digest.hex()}")
    print_budget(drafted, None)
    print("hand it to every founder; each reads it (p2pfl charter show), then shows its bytes:")
    print(f"  p2pfl charter reveal {file} PEER")


def reveal_bytes(file: Path, peer: Path) -> None:
    """Put a founder's random bytes into a draft."""
    with peer_errors():
        drafted = read_file(file)
        peer_id = read_public_keys(PeerFolder(peer).key).peer_id
        key = public_key_of(peer_id)
        name = next((it.name for it in drafted.charter.members if it.key == key), None)
        if name is None:
            raise BadInput(f"{peer_id}, the peer of {peer}, is no founder of {file}")
        if not drafted.is_draft:
            raise BadInput(f"{file} is complete: all founders have shown their bytes")
        shown = drafted.with_shown(name, reveal(peer, drafted.digest))
        write_file(file, shown)
        print_budget(shown, peer)
    _tell_draft(file, shown)


def gather_files(file: Path, others: Sequence[Path]) -> None:
    """Take other copies of a charter into one: what was shown, what keys said."""
    with peer_errors():
        whole = read_file(file)
        was_draft = whole.is_draft
        for path in others:
            other = read_file(path)
            try:
                whole = merged(whole, other)
            except PaperError as error:
                raise BadInput(f"{path} and {file}: {error}") from None
        write_file(file, whole)
    if was_draft:
        _tell_draft(file, whole)
        return
    print(f"{file}: charter {whole.digest.hex()}, {plural(len(whole.approvals), 'word')} of keys")
    if whole.is_founding:
        print_phrase(whole)
        with peer_errors():
            print_standing(whole.founding_standing())


def sign_founding(
    file: Path,
    *,
    key: Path | None,
    peer: Path | None,
    passphrase_file: Path | None,
    phrase: str | None,
    acts_of: Path | None,
    predecessor: Path | None = None,
) -> None:
    """Sign a founding charter, with a governance key or the peer's, once the words are compared."""
    with peer_errors():
        charter = read_file(file)
        if not charter.is_founding:
            raise BadInput(f"{file} amends a charter: approve it with p2pfl charter approve")
        if charter.is_draft:
            raise BadInput(f"{file}: it is a draft: not all founders have shown their bytes yet")
        _require_phrase(charter, phrase)
        members = charter.charter.members
        if predecessor is not None:
            members += members_of(charter, predecessor)
        signing = signing_of(members, key, peer, passphrase_file)
        signed = add_word(charter, charter.digest, Says.APPROVE, signing, charter.charter.until)
        write_file(file, signed)
        standing = signed.founding_standing()
        if predecessor is not None and standing.is_enough:
            standing = succession_of(signed, predecessor)
    _note(signing, acts_of or peer, "charter signed", signed)
    print(f"signed {file} as {signing.name} with {signing.text}")
    print_standing(standing)


def show_charter(file: Path, *, as_toml: bool, as_json: bool) -> None:
    """Show a charter: all that it says, its words, and who has signed."""
    with peer_errors():
        charter = read_file(file)
        form = form_of(charter)
    if as_toml:
        print(form_toml(form), end="")
        return
    if as_json:
        print(json.dumps(_described(charter), indent=2))
        return
    kind = "draft of a founding charter" if charter.is_draft else "founding charter"
    print(f"{kind if charter.is_founding else 'amendment'} {charter.digest.hex()}")
    if not charter.is_founding:
        print(f"to follow {charter.charter.present.hex()}")
    print()
    print(_printable(form_toml(form)), end="")
    print()
    for line in describe_protection(settled(charter)):
        print(line)
    if charter.is_network:
        print("in force for good: nobody changes the charter of a network, and none leaves it")
    for what, moment_s in (("from", charter.charter.not_before), ("until", charter.charter.until)):
        if moment_s and not charter.is_network:
            print(f"in force {what} {moment(moment_s):%Y-%m-%d %H:%M} UTC")
    if charter.is_draft:
        _tell_draft(file, charter)
    elif charter.is_founding:
        print_phrase(charter)
        with peer_errors():
            print_standing(charter.founding_standing())


def diff_charters(before: Path, after: Path) -> None:
    """Say in words what changes, which class of change it is, and who must still sign."""
    with peer_errors():
        old, new = read_file(before), read_file(after)
        lines = changes(old, new)
    print("\n".join(lines) or "nothing changes")
    if new.is_founding:
        if lines:
            print("both found a group: they are two groups")
        return
    if new.charter.present != old.digest:
        print(f"{after} follows {new.charter.present.hex()[:16]}, not {before}")
        return
    with peer_errors():
        print_budget(new, peer_beside(before) or peer_beside(after))
        kind = kind_of_change(old.charter, new.charter)
        print(f"class      {kind}: {_BY[kind]}")
        print_standing(new.standing_after(old))


def erase_texts(file: Path) -> None:
    """Take all free texts out of a charter file; what is left proves as much."""
    with peer_errors():
        charter = read_file(file)
        write_file(file, charter.without_texts(), erases=True)
    print(f"{file}: {plural(len(charter.beside), 'free text')} erased; the charter is the same")
    print("other copies still have them: erase them there too")


def print_phrase(charter: CharterFile) -> None:
    """Print the words that people compare."""
    print_words(phrase_of(charter.digest))


_BY = {
    "running": "the peers of a quorum approve it, each for its operator",
    "founding": "governance keys approve it",
}


def _require_phrase(charter: CharterFile, given: str | None) -> None:
    require_phrase(
        phrase_of(charter.digest),
        given,
        by="all founders have read to each other",
        fault="this charter's is another: you do not have the same charter; nothing was signed",
    )


def _note(signing: KeyInHand, folder: Path | None, act: str, charter: CharterFile) -> None:
    if folder is not None:
        note_act(folder, act, {"charter": charter.digest.hex(), "key": signing.text})


def _tell_draft(file: Path, charter: CharterFile) -> None:
    if not charter.is_draft:
        print(f"{file}: all founders have shown their bytes; the group is {charter.digest.hex()}")
        print_phrase(charter)
        print("read the words to each other, all in one call; then each key signs:")
        print(f"  p2pfl charter sign {file} --key KEY")
        print(f"  p2pfl charter sign {file} --peer PEER")
        return
    waits = [
        member.name
        for member, secret in zip(charter.charter.members, charter.shown, strict=True)
        if not secret
    ]
    print(f"{file}: draft {charter.digest.hex()}, waits for the bytes of {', '.join(waits)}")


def _described(charter: CharterFile) -> dict[str, object]:
    return {
        "digest": charter.digest.hex(),
        "present": charter.charter.present.hex() if not charter.is_founding else None,
        "is_draft": charter.is_draft,
        "phrase": None if charter.is_draft else " ".join(phrase_of(charter.digest)),
        "until": charter.charter.until,
        "members": [
            {"name": member.name, "controller": member.controller, "peer": peer_id_of(member.key)}
            for member in charter.charter.members
        ],
        "terms": charter.terms.model_dump(mode="json", exclude_none=True),
        "running": charter.running.model_dump(mode="json", exclude_none=True),
        "approvals": [
            {
                "says": Says(it.says).name.lower(),
                "key": GovernanceKey.read(it.key).fingerprint,
                "until": it.until,
            }
            for it in charter.approvals
        ],
        "days": (charter.charter.until - int(time.time())) // DAY_S,
    }


def _printable(text: str) -> str:
    return "".join(it if it.isprintable() or it == "\n" else "?" for it in text)
