"""A consortium on paper: founders with keys that are cheap to make, and their charters."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from p2pfl.charter.cards import MemberCard, MemberForm, commit
from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.first_states import write_first_state
from p2pfl.charter.form import CharterForm, make_form
from p2pfl.charter.keys import key_text
from p2pfl.charter.making import amend, form_of, found
from p2pfl.charter.signers import KeySigner
from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.ledger.approvals import Approval, Says, approval_of
from p2pfl_gossip.ledger.charter import FOREVER

NAMES = ("berlin", "lyon", "oslo", "porto", "turin")
NOW_S = 1_800_000_000
DAY_S = 86_400


def _secret(what: str, name: str) -> bytes:
    return hash_parts(b"p2pfl/test", what.encode(), name.encode())


@dataclass(frozen=True)
class Member:
    """One organisation, with all its secrets."""

    name: str
    controller: str | None = None
    key_count: int = 1
    threshold: int = 1
    generation: str = ""

    @property
    def identity(self) -> Identity:
        return Identity(_secret(f"peer{self.generation}", self.name))

    @property
    def founder_bytes(self) -> bytes:
        return _secret("founder", self.name)[:16]

    def signer(self, place: int = 0) -> KeySigner:
        secret = _secret(f"governance{self.generation}{place}", self.name)
        public = Identity(secret).public_key
        return KeySigner(GovernanceKey("ed25519", public), secret)

    def form(self, **changes: Any) -> MemberForm:
        document: dict[str, Any] = {
            "name": self.name,
            "peer_id": self.identity.peer_id,
            "addresses": [f"/dns4/{self.name}.example/tcp/4001"],
            "weight": 100.0,
            "contact": f"Dr. Ada of {self.name}",
            "governance": {
                "threshold": self.threshold,
                "keys": [key_text(self.signer(place).key) for place in range(self.key_count)],
            },
        }
        if self.controller is not None:
            document["controller"] = self.controller
        return MemberForm.model_validate(document | changes)

    def card(self) -> MemberCard:
        committed = commit(self.identity.peer_id, self.founder_bytes).hex()
        document = self.form().model_dump(exclude_none=True)
        return MemberCard.model_validate(document | {"commitment": committed})

    def says(
        self,
        charter: CharterFile,
        says: Says = Says.APPROVE,
        *,
        place: int = 0,
        until: int = FOREVER,
    ) -> Approval:
        signer = self.signer(place)
        return approval_of(charter.digest, says, signer.key, until, signer.sign)

    def peer_says(self, charter: CharterFile, *, until: int = FOREVER) -> Approval:
        key = GovernanceKey("ed25519", self.identity.public_key)
        return approval_of(charter.digest, Says.APPROVE, key, until, self.identity.sign)


MEMBERS = tuple(Member(name) for name in NAMES)


class Draws:
    """Entropy that is another each time, and the same in each run."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return hash_parts(b"p2pfl/test", self._count.to_bytes(4, "little"))[:size]


def founding_form(folder: Path, **changes: Any) -> CharterForm:
    start = folder / "start.safetensors"
    if not start.exists():
        write_first_state(start, np.zeros(4, np.float32))
    document: dict[str, Any] = {
        "name": "readmissions",
        "purpose": "who comes back within thirty days",
        "rounds": 40,
        "until": NOW_S + 395 * DAY_S,
        "task": {"name": "digits", "first_state": str(start)},
        "bounds": {
            "rounds_max": 500,
            "clip": [1.0, 8.0],
            "patience_s_max": 7200.0,
            "deadline_s": [1.0, 60.0],
            "settings": {"training.learning_rate": [0.01, 1.0]},
        },
    }
    return make_form(document | changes, source="test")


def drafted(folder: Path, founders: tuple[Member, ...] = MEMBERS, **changes: Any) -> CharterFile:
    cards = [member.card() for member in founders]
    if "averaging" in changes and changes["averaging"].get("algorithm", "group") != "group":
        changes = {"until": None} | changes  # A network's holds for good.
    return found(founding_form(folder, **changes), cards, now_s=NOW_S, entropy=Draws())


def revealed(draft: CharterFile, members: tuple[Member, ...] = MEMBERS) -> CharterFile:
    for member in members:
        draft = draft.with_shown(member.name, member.founder_bytes)
    return draft


def signed(charter: CharterFile, members: tuple[Member, ...] = MEMBERS) -> CharterFile:
    words = [
        word
        for member in members
        for word in (
            *(member.says(charter, place=place) for place in range(member.key_count)),
            member.peer_says(charter),
        )
    ]
    return charter.with_words(words)


def founded(folder: Path, members: tuple[Member, ...] = MEMBERS, **changes: Any) -> CharterFile:
    return signed(revealed(drafted(folder, members, **changes), members), members)


def amended(present: CharterFile, **changes: Any) -> CharterFile:
    """The present charter with other values; `members` are forms."""
    document = form_of(present).model_dump(by_alias=True, exclude_none=True)
    form = make_form(document | changes, source="test")
    return amend(form, present, now_s=NOW_S, entropy=Draws())
