"""What members agree on beyond the machine's charter: the terms and the running settings.

Both are JSON in one canonical form (keys sorted, no blanks, ASCII, numbers as Python writes them),
which the charter names by digest: H("p2pfl/terms", bytes) and H("p2pfl/running", bytes). Nobody
makes these bytes anew from settings: they travel as they are, and are checked to be in that form.

*Terms* change by governance approvals only, *running settings* by the members' operators, within
the charter's bounds.

Nothing in them is free text or a person. Where people wrote a text, its digest stands here:
H("p2pfl/salted", 16 random bytes, UTF-8). The text lies beside with its salt, and both can be
erased: then nobody can find out by guessing what it said.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from p2pfl.charter.errors import PaperError
from p2pfl.explaining import explain
from p2pfl.group.cards import ADDRESSES_MAX, Digest, PeerName
from p2pfl.group.privacy_settings import PrivacySettings
from p2pfl.group.settings import NetworkAveraging
from p2pfl.learner.settings import SettingsTable, Share, TrainingSettings
from p2pfl_crypto.hashing import hash_parts
from p2pfl_gossip.ledger.messages import TEXT_BYTES_MAX

TEXT_CHARACTERS_MAX = 10_000
"""Of one free text: a page or two. What is longer is a document."""

SALT_BYTES = 16
DOCUMENTS_MAX = 64

RELEASES_MAX = 64

DocumentKind = Literal["art26", "dpia", "ethics", "permit", "data", "agreement"]
"""Joint controllers' arrangement, impact assessment, ethics vote, permit, description of data,
the agreement itself."""


class Document(SettingsTable):
    """A document that somebody has: the charter names its bytes, and holds none of them."""

    kind: DocumentKind
    digest: Digest
    """SHA-256 of the file, as `sha256sum` prints it."""
    of: PeerName | None = None
    """The member that it is of; of the whole group if not given."""
    until: Annotated[int, Field(ge=0)] | None = None
    """Seconds since 1970 after which it counts as missing."""


class TaskTerms(SettingsTable):
    """What is learnt."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    """As `learning.task` of a scenario."""
    bundle: Digest | None = None
    """SHA-256 of its bundle; None for a task that comes with p2pfl."""
    data_schema: Digest | None = None
    """SHA-256 of the schema of the data, where it is not in the bundle."""
    options: dict[str, Any] = Field(default_factory=dict)
    dtype: Literal["float32", "bf16"] = "float32"
    held_out: Share = 0.2
    validation: Share = 0.0
    evaluation_rows: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    shows: Literal["nothing", "figures"] = "nothing"
    """What others see of a member's evaluations."""


class Terms(SettingsTable):
    """What only governance keys change."""

    format: Literal[1] = 1
    name: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^\S(.*\S)?$")]
    purpose: Digest
    agreement: Digest | None = None
    """What members have agreed on among themselves, in words."""
    documents: Annotated[tuple[Document, ...], Field(max_length=DOCUMENTS_MAX)] = ()
    require: tuple[DocumentKind, ...] = ()
    """A member rests while one of these is missing, or over: of the group, or of itself."""
    task: TaskTerms
    weights: Literal["equal", "samples", "agreed"] = "equal"
    """What the members' weights in the charter are, for people."""
    retention_days: Annotated[int, Field(ge=1, le=36_525)] = 3650
    """How long members keep the record."""
    bounds: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """How far operators may change a running setting, such as `training.learning_rate`: from the
    first number to the second."""
    under: Digest | None = None
    """The charter of the frame group, for a study of some of its members."""
    releases: Annotated[tuple[Digest, ...], Field(max_length=RELEASES_MAX)] | None = None
    """Models, by the digest of their state's `model`, that members may hand to others.
    None, and not empty, where there are none: so charters from before keep their names."""
    privacy: PrivacySettings | None = None
    """What is promised of the members' rows; the charter holds the plan that was made for it."""
    network: NetworkAveraging | None = None
    """How members gossip that keep no ledger. None where they are a group, which does."""
    contacts: dict[PeerName, Digest] = Field(default_factory=dict)
    """Salted digests of whom to call at each member."""


class Running(SettingsTable):
    """What operators change within the charter's bounds, beyond what the machine goes by."""

    format: Literal[1] = 1
    training: TrainingSettings = TrainingSettings()
    evaluate_every: Annotated[int, Field(ge=0)] = 1
    addresses: dict[
        PeerName, Annotated[tuple[str, ...], Field(min_length=1, max_length=ADDRESSES_MAX)]
    ]


def salted_digest(salt: bytes, text: str) -> str:
    """Digest a free text under its salt, in hexadecimal."""
    return hash_parts(b"p2pfl/salted", salt, text.encode()).hex()


def encode_text(table: Terms | Running) -> bytes:
    """Return the canonical bytes, every default spelt out.

    Raises:
        PaperError: they would be longer than a charter may carry.
    """
    encoded = _canonical(table.model_dump(mode="json", exclude_none=True))
    name, bytes_max = _OF[type(table)]
    if len(encoded) > bytes_max:
        raise PaperError(f"the {name} take {len(encoded)} bytes, more than {bytes_max}")
    return encoded


def read_terms(encoded: bytes) -> Terms:
    """Read canonical terms.

    Raises:
        PaperError: they are not in their form, or say what cannot be.
    """
    return _read(encoded, Terms)


def read_running(encoded: bytes) -> Running:
    """Read canonical running settings.

    Raises:
        PaperError: they are not in their form, or say what cannot be.
    """
    return _read(encoded, Running)


def beyond_bounds(terms: Terms, before: Running, after: Running) -> list[str]:
    """Return what a running change changes that the terms in force leave to governance keys.

    Addresses and how often models are measured are free; what else is changed must be a number
    within its bounds.
    """
    old, new, found = flat(before), flat(after), []
    for name in sorted({*old, *new}):
        if old.get(name) == new.get(name) or name.partition(".")[0] in _FREE:
            continue
        value: Any = new.get(name)
        bounds = terms.bounds.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if bounds is None or not is_number:
            found.append(f"{name} may not be changed by operators")
        elif not bounds[0] <= value <= bounds[1]:
            found.append(f"{name} may be {bounds[0]:g} to {bounds[1]:g}, not {value:g}")
    return found


def flat(table: Terms | Running) -> dict[str, Any]:
    """Return every setting by its dotted name, for people to compare."""
    return dict(_flatten(table.model_dump(mode="json", exclude_none=True), ""))


_FREE = frozenset(("addresses", "evaluate_every"))

_OF: dict[type, tuple[str, int]] = {
    Terms: ("terms", TEXT_BYTES_MAX),
    Running: ("running settings", TEXT_BYTES_MAX),
}

_Table = TypeVar("_Table", Terms, Running)


def _flatten(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key in value:
            yield from _flatten(value[key], f"{name}.{key}" if name else key)
    else:
        yield name, value


def _canonical(document: Any) -> bytes:
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def _read(encoded: bytes, table: type[_Table]) -> _Table:
    name, bytes_max = _OF[table]
    if len(encoded) > bytes_max:
        raise PaperError(f"the {name} take {len(encoded)} bytes, more than {bytes_max}")
    try:
        document = json.loads(encoded, parse_constant=_refuse)
        is_canonical = _canonical(document) == encoded
    except (ValueError, RecursionError):
        is_canonical = False
    if not is_canonical:
        raise PaperError(f"the {name} are damaged: they are not in their canonical form")
    try:
        return table.model_validate(document)
    except ValidationError as error:
        lines = explain(error, document if isinstance(document, dict) else {}, table, source=name)
        raise PaperError(
            f"{lines.splitlines()[0]}; they are damaged, or of a newer version of p2pfl"
        ) from None


def _refuse(word: str) -> float:
    raise ValueError(f"{word} has no agreed form")
