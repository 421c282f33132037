"""The roster: who is in a group, and what its members agree on, as one TOML file.

Every member has the same roster but for what is free to change. What must be the same has one
name, the group id:

    group_id = H("p2pfl/group-id", form)

where H is `hash_parts` and `form` is JSON in UTF-8: keys sorted, no blanks, characters outside
ASCII escaped, absent values left out, numbers as Python writes them (the shortest decimal that
reads back the same). It holds

    format, nonce, rounds, seed, draw_seed if there is one,
    learning, averaging: with every default spelt out; of learning all but its device,
    members: [{"peer_id": ..., "commitment": ... if there is one}, ...] in order of admission.

Description, addresses, the device that models train on and how often a peer evaluates or keeps its
model are not in it: they may change, or differ, without another group. A learning.dtype is in it,
as every rule of training is: products in bfloat16 make updates that differ in the third digit.
Members' names are not in it, but in a group that keeps a ledger (averaging.algorithm = "group"):
its charter names the members and how much each counts. A member's form there is {"peer_id", "name",
"rows" if there are any}.

The nonce is drawn when the roster is made: the same members who begin anew are another group, whose
sessions and signatures are none of the first. Identities are authenticated on every link, so a
wrong address is no worse than a cut one.

The file is not signed: members compare group ids.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from p2pfl.group.averaging import AveragingError, require_possible
from p2pfl.group.cards import Digest, Member
from p2pfl.group.documents import check_document, read_document, write_document
from p2pfl.group.settings import AveragingSettings, CohortSettings, GroupSettings
from p2pfl.learner.settings import (
    IidPartition,
    LearningSettings,
    PartitionSettings,
    SettingsTable,
    TaskSettings,
)
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.roster import Roster

MEMBERS_MAX = 100_000  # As many as a scenario may have.
MEMBERS_MIN = 2
NONCE_BYTES = 16
_DRAWN_LATER = bytes(32)  # In place of a seed that is not agreed yet, to try graphs with.


Nonce = Annotated[str, Field(pattern=r"^([0-9a-f]{2}){16,32}$")]


class RosterError(Exception):
    """A roster that cannot be used; one line a fault."""


class GroupLearning(TaskSettings):
    """What is learnt, and how; on whose rows is each member's own affair, but in trials."""

    partition: PartitionSettings | None = None
    """For trials: splits the task's data among the members; absent, each has data of its own."""

    @model_validator(mode="after")
    def _has_a_form(self) -> "GroupLearning":
        try:
            json.dumps(self.options, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError(
                "options of a group are numbers, strings, booleans, lists and tables, without"
                " dates, NaN and infinity: these have no agreed form"
            ) from None
        return self

    def of_member(self, data_dir: Path | None) -> LearningSettings:
        """Return the settings of a member's learner: for all members if there is a partition.

        Args:
            data_dir: where this member's data are, if not where the task looks by itself.
        """
        shared = {name: getattr(self, name) for name in TaskSettings.model_fields}
        partition = self.partition or IidPartition()
        return LearningSettings(**shared, data_dir=data_dir, partition=partition)


class RosterFile(SettingsTable):
    """A roster as it stands in a file, perhaps still without all its members (`faults`)."""

    format: Literal[1] = 1
    """Of this file."""
    name: Annotated[str, Field(min_length=1, max_length=80)]
    """For people."""
    description: str = ""
    """For people."""
    rounds: Annotated[int, Field(ge=1)] = 30
    """Rounds of training and averaging that each member does."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """Names random streams and the common start; no secret."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 1
    """Rounds between the models that a peer persists; 0 persists none."""
    evaluate_every: Annotated[int, Field(ge=0)] = 1
    """Rounds between evaluations; 0 evaluates never."""
    nonce: Nonce | None = None
    """16 to 32 random bytes in hexadecimal; `p2pfl roster create` draws them for each group."""
    draw_seed: Digest | None = None
    """For trials: public seed of cohorts and graphs; absent, members agree on one in secret."""
    learning: GroupLearning = GroupLearning()
    averaging: AveragingSettings = GroupSettings()
    members: Annotated[tuple[Member, ...], Field(max_length=MEMBERS_MAX)] = ()
    """In order of admission."""

    @model_validator(mode="after")
    def _tells_members_apart(self) -> "RosterFile":
        for what in ("name", "peer_id", "commitment"):
            seen: dict[str, str] = {}
            for member in self.members:
                value = getattr(member, what)
                if value is None:
                    continue
                if value in seen and what == "name":
                    raise ValueError(f"two members are called {value!r}; rename one")
                if value in seen:
                    raise ValueError(
                        f"{seen[value]} and {member.name} have the same {what.replace('_', ' ')}"
                    )
                seen[value] = member.name
        return self

    @property
    def hides_models(self) -> bool:
        """Whether members average by masked sums, so that nobody sees a single model."""
        averaging = self.averaging
        return isinstance(averaging, CohortSettings | GroupSettings) and averaging.masking == "real"

    @property
    def keeps_ledger(self) -> bool:
        """Whether it is a group that comes to one certified model a round."""
        return isinstance(self.averaging, GroupSettings)

    @property
    def shares_rows(self) -> bool:
        """Whether the roster splits one data set among the members, for a trial."""
        return self.learning.partition is not None

    def roster(self) -> Roster:
        """Return the members' identities, in order of admission."""
        return Roster(PeerId(member.peer_id) for member in self.members)

    def find(self, peer_id: str) -> Member | None:
        """Return the member of an identity, if it is one."""
        return next((member for member in self.members if member.peer_id == peer_id), None)


def draw_nonce() -> str:
    """Draw the nonce of a new group."""
    return os.urandom(NONCE_BYTES).hex()


def faults(roster: RosterFile) -> list[str]:
    """List what keeps a group from starting with this roster; one line each, none if it can."""
    found = []
    if len(roster.members) < MEMBERS_MIN:
        found.append(
            f"a group has at least {MEMBERS_MIN} members, and this one has {len(roster.members)};"
            " add cards with p2pfl roster add"
        )
    else:
        seed = bytes.fromhex(roster.draw_seed) if roster.draw_seed else _DRAWN_LATER
        try:
            require_possible(roster.averaging, len(roster.members), roster.rounds, seed)
        except AveragingError as error:
            found.append(str(error))
    if roster.nonce is None:
        found.append(
            "it has no nonce, so that its group could not be told from another one of the same"
            f" members: put nonce = {draw_nonce()!r} above its tables, the same for every member"
        )
    if roster.keeps_ledger and roster.averaging.weights == "samples" and not roster.shares_rows:
        found += [
            f"{member.name} has no rows on its card, by which averaging.weights = 'samples' counts"
            " it: put rows = N into its peer.toml, and take the card that p2pfl peer card writes"
            for member in roster.members
            if member.rows is None
        ]
    if roster.draw_seed is None and not roster.keeps_ledger:
        found += [
            f"{member.name} has no commitment to the draw: take its card again, or set draw_seed"
            " for a trial"
            for member in roster.members
            if member.commitment is None
        ]
    return found


def read_roster(path: Path) -> RosterFile:
    """Read a roster that a group can start with.

    Raises:
        RosterError: it cannot be read, says what cannot be, or is not complete; one line a fault.
    """
    roster = read_draft(path)
    if found := faults(roster):
        raise RosterError("\n".join(f"{path}: {fault}" for fault in found))
    return roster


def read_draft(path: Path) -> RosterFile:
    """Read a roster that may still lack members.

    Raises:
        RosterError: it cannot be read, or says what cannot be; one line a fault.
    """
    return read_document(path, RosterFile, RosterError)


def make_roster(document: Mapping[str, Any], *, source: str) -> RosterFile:
    """Check a roster, perhaps without all its members, that is given as nested dictionaries.

    Raises:
        RosterError: a key or value is wrong; each is named after `source`, one line a fault.
    """
    return check_document(document, RosterFile, RosterError, source=source)


def write_roster(path: Path, roster: RosterFile) -> None:
    """Write a roster in place of the one that may be there: readers see the old or the new one.

    Raises:
        RosterError: it cannot be written.
    """
    write_document(path, roster, RosterError)


def with_members(roster: RosterFile, members: Iterable[Member]) -> RosterFile:
    """Return the roster with other members.

    Raises:
        RosterError: two of them cannot be told apart.
    """
    document = roster.model_dump(exclude_none=True)
    document["members"] = [member.model_dump(exclude_none=True) for member in members]
    return make_roster(document, source=roster.name)


def group_id(roster: RosterFile) -> bytes:
    """Name what all members must agree on, as this module's first lines say; 32 public bytes."""
    return hash_parts(b"p2pfl/group-id", canonical_form(roster))


def canonical_form(roster: RosterFile) -> bytes:
    """Return what the group id is the hash of."""
    agreed = {"format", "nonce", "rounds", "seed", "draw_seed", "learning", "averaging"}
    form = roster.model_dump(mode="json", exclude_none=True, include=agreed)
    del form["learning"]["device"]  # Members on CPUs and on accelerators are one group.
    agreed_of_members = {"peer_id", "commitment"}
    if roster.keeps_ledger:
        agreed_of_members = {"peer_id", "name", "rows"}
    form["members"] = [
        member.model_dump(exclude_none=True, include=agreed_of_members) for member in roster.members
    ]
    return json.dumps(
        form, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()
