"""`p2pfl charter dossier`: facts for those who write records, assessments and technical files.

It says what the charter and the software do, and gives no legal advice.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from p2pfl.charter.chain import Chain, chain_of, read_folder
from p2pfl.charter.charter_file import CharterFile, read_file
from p2pfl.charter.departures import departure_line
from p2pfl.charter.differences import changes
from p2pfl.charter.form import DAY_S, moment
from p2pfl.charter.settled import settled
from p2pfl.charter.texts import flat
from p2pfl.cli.errors import peer_errors
from p2pfl.group.protection import describe_protection
from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.identity import peer_id_of
from p2pfl_gossip.ledger.privacy import PrivateUnit
from p2pfl_gossip.masked_sum.cohort import COHORT_SIZE_MIN, threshold_of


def print_dossier(folder: Path) -> None:
    """Print the facts of a group, as Markdown."""
    with peer_errors():
        chain = chain_of(read_folder(folder) if folder.is_dir() else [read_file(folder)])
        lines = list(_lines(chain))
    print("\n".join(lines))


def _lines(chain: Chain) -> Iterator[str]:
    present = chain.present
    yield f"# {_text(present.terms.name)}: facts for records and assessments"
    yield ""
    yield "Made by p2pfl from charters that were checked from the founding on. It states what was"
    yield "agreed and what the software does. It is no legal advice."
    yield ""
    yield from _section("What and why", _purpose(chain, present))
    yield from _section("Who", _members(present))
    yield from _section("What leaves a member's premises", _leaves(present))
    yield from _section("The task, the code and the settings", _task(present))
    yield from _section("Documents", _documents(present))
    yield from _section("How long", _dates(present))
    yield from _section("Who can change what", _rules(present))
    yield from _section("What was changed, and who approved it", _history(chain))


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield from lines
    yield ""


def _purpose(chain: Chain, present: CharterFile) -> Iterator[str]:
    terms = present.terms
    yield f"- Group: `{chain.files[0].digest.hex()}`; charter in force: `{present.digest.hex()}`"
    yield f"- Purpose: {_beside(present, terms.purpose)}"
    if terms.agreement is not None:
        yield f"- Agreement: {_beside(present, terms.agreement)}"
    if terms.under is not None:
        yield f"- A study under the charter `{terms.under}`"


def _members(present: CharterFile) -> Iterator[str]:
    yield "| member | controller | peer | weight, seen by all | governance keys | contact |"
    yield "|---|---|---|---|---|---|"
    for it in present.charter.members:
        prints = ", ".join(GovernanceKey.read(key).fingerprint for key in it.governance.keys)
        contact = present.terms.contacts.get(it.name)
        shown = "none given" if contact is None else _beside(present, contact)
        yield (
            f"| {it.name} | {_text(it.controller)} | `{peer_id_of(it.key)}` | {it.weight:g} |"
            f" {it.governance.threshold} of {len(it.governance.keys)}: {prints} | {shown} |"
        )


def _leaves(present: CharterFile) -> Iterator[str]:
    size, privacy = present.charter.state[0].length, present.charter.privacy
    yield "- Rows never leave. No message carries a row."
    if present.is_network:
        yield f"- Each round: a model of {size:,} numbers goes to members that the draw names."
    else:
        yield f"- Each round: an update of {size:,} numbers, masked, so that only the sum of all"
        yield f"  members' updates is seen (at least {COHORT_SIZE_MIN} members)."
    for line in describe_protection(settled(present)):
        yield f"- {_text(line)}"
    if privacy is None and not present.is_network:
        yield f"- An update's length is cut to {present.charter.clip:g} (L2 norm)."
    yield "- Beside it: member names and keys, weights, addresses, when a member was ready, and in"
    yield "  which rounds it took part. All members see these."
    yield f"- Of a member's evaluations the others see: {present.terms.task.shows}."
    if privacy is None:
        yield "- No noise is added. Over many rounds, models tell something of the rows that they"
        yield "  were trained on: treat them as personal data where the rows are."
        return
    yield f"- Noise is added, by plan, for all rounds together: {_unit(present)}; delta"
    yield f"  {privacy.delta:.2g}; {privacy.colluding} members may collude. What that means for"
    yield "  a member's rows, `p2pfl peer status` of its own peer says."
    settings = present.terms.privacy
    if settings is not None and settings.figures_from is not None:
        yield f"- Clip, learning rates and scaling come from: {_text(settings.figures_from)}"
    else:
        yield "- **Open:** where clip, learning rates and the task's scaling come from. If they"
        yield "  were tuned on members' rows, epsilon does not count it. `privacy.figures_from` is"
        yield "  the place to say it."


def _unit(present: CharterFile) -> str:
    privacy, settings = present.charter.privacy, present.terms.privacy
    assert privacy is not None  # Who asks has looked.
    assert settings is not None  # The plan was made by them.
    of = "one member's taking part"
    if privacy.unit != PrivateUnit.MEMBER:
        of = "one row, or one person's rows where the task says whose a row is"
    return f"epsilon {settings.epsilon:g} for {of}"


def _task(present: CharterFile) -> Iterator[str]:
    task = present.terms.task
    code = "comes with p2pfl" if task.bundle is None else f"bundle, SHA-256 `{task.bundle}`"
    yield f"- Task: `{_text(task.name)}`; code: {code}"
    yield f"- First state: {present.charter.state[0].length:,} numbers,"
    yield f"  `{present.charter.state[0].digest.hex()}`"
    if task.data_schema is not None:
        yield f"- Schema of the data, SHA-256 `{task.data_schema}`"
    for name, value in {**flat(present.terms), **flat(present.running)}.items():
        if name.startswith(("task.options", "training.", "task.held_out", "weights")):
            yield f"- `{name}`: {_text(value)}"


def _documents(present: CharterFile) -> Iterator[str]:
    if not present.terms.documents:
        yield "None are named."
    for it in present.terms.documents:
        until = "" if it.until is None else f", until {moment(it.until):%Y-%m-%d}"
        of = "the group" if it.of is None else it.of
        yield f"- {it.kind} of {of}{until}: SHA-256 `{it.digest}`"
    if present.terms.require:
        yield f"- Required of each member, or of the group: {', '.join(present.terms.require)}"


def _dates(present: CharterFile) -> Iterator[str]:
    charter = present.charter
    if charter.not_before:
        yield f"- In force from {moment(charter.not_before):%Y-%m-%d}"
    if present.is_network:
        yield "- It holds for good: no date stops it"
        yield f"- {charter.rounds} rounds"
        yield "- No record of rounds is kept"
    else:
        yield f"- No update is given after {moment(charter.until):%Y-%m-%d}"
        yield f"- {charter.rounds} models at most"
        yield f"- The record is kept for {present.terms.retention_days} days"
    yield "- Free texts and contacts lie beside the charters and can be erased; what is signed and"
    yield "  recorded holds salted digests of them"


def _rules(present: CharterFile) -> Iterator[str]:
    charter = present.charter
    n = len(charter.members)
    controllers = len({it.controller for it in charter.members})
    if present.is_network:
        yield "- Nobody: the charter of a network holds for good. Its members found a new one."
        yield "- A member that will not take part any more stops its peer."
        return
    yield f"- A model counts when {threshold_of(n)} of {n} members have signed it."
    yield f"- Members, task, documents, dates, bounds: {threshold_of(n)} of the {n} members that"
    yield f"  stay, and {threshold_of(controllers)} of {controllers} controllers, by governance"
    yield "  keys (fewer where fewer stay); and every newcomer and every new key."
    yield f"- Settings within the bounds: {threshold_of(n)} of {n} operators, by their peers' keys."
    yield "- Leaving, and revoking one's own peer key: the member alone."
    yield (
        "- Other keys for a member that has lost its own: after"
        f" {charter.notice_s // DAY_S} days, unless one of the old keys objects."
    )


def _history(chain: Chain) -> Iterator[str]:
    before: CharterFile | None = None
    for number, (file, standing) in enumerate(zip(chain.files, chain.standings, strict=True)):
        by = ", ".join(standing.approved)
        yield f"- Epoch {number}, `{file.digest.hex()}`, approved by {by}"
        for line in () if before is None else changes(before, file):
            yield f"  - {_text(line)}"
        for name, says in chain.departed(number).items():
            yield f"  - {_text(departure_line(name, says))}"
        before = file


def _beside(file: CharterFile, digest: str) -> str:
    text = file.text_of(digest)
    return f"erased, salted digest `{digest}`" if text is None else _text(text)


def _text(value: Any) -> str:
    """Keep a text on one line, and from being read as Markdown."""
    line = " ".join(str(value).split())
    line = "".join(it if it.isprintable() else "?" for it in line)
    return "".join(f"\\{it}" if it in "\\`*[]<>|#" else it for it in line)
