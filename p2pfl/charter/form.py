"""A charter as TOML: what people write and read.

It says the same as a charter file, but for what people do not write: nonces, salts, digests that
follow. `found` and `amend` make a charter file of it, `form_of` goes back. A text that was erased
stands as `erased:` and its digest, and stays the same charter.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
    model_validator,
)

from p2pfl.charter.cards import MemberForm
from p2pfl.charter.errors import PaperError
from p2pfl.charter.texts import (
    DOCUMENTS_MAX,
    RELEASES_MAX,
    TEXT_CHARACTERS_MAX,
    DocumentKind,
)
from p2pfl.group.cards import Digest, PeerName
from p2pfl.group.documents import DOCUMENT_BYTES_MAX, check_document, read_toml
from p2pfl.group.privacy_settings import PrivacySettings
from p2pfl.group.settings import PROGRESS_SHARE, Audit, NetworkSettings, PositiveSeconds
from p2pfl.learner.settings import SettingsTable, Share, TrainingSettings
from p2pfl_gossip.ledger.charter import FOREVER

DAY_S = 86_400
LIFE_DAYS = 395
"""Thirteen months: a year, and a month to renew it."""


def _seconds(given: Any) -> Any:
    if isinstance(given, datetime):
        if given.tzinfo is None:
            raise ValueError("a time needs its zone: 2027-01-01T00:00:00Z, or a date alone")
        return int(given.timestamp())
    if isinstance(given, date):
        return int(datetime(given.year, given.month, given.day, tzinfo=UTC).timestamp())
    return given


def moment(seconds: int) -> datetime:
    """Return seconds since 1970 as people read them, or the last day that there is."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC, microsecond=0)


Moment = Annotated[int, BeforeValidator(_seconds), PlainSerializer(moment), Field(ge=0, le=FOREVER)]
"""A date, midnight UTC, or a time with its zone; kept as seconds since 1970."""

Text = Annotated[str, Field(min_length=1, max_length=TEXT_CHARACTERS_MAX)]
ERASED = "erased:"


class DocumentForm(SettingsTable):
    """A document that somebody has."""

    kind: DocumentKind
    file: Path | None = None
    """Where it is, to take its digest; or"""
    digest: Digest | None = None
    """its SHA-256."""
    of: PeerName | None = None
    until: Moment | None = None

    @model_validator(mode="after")
    def _is_one(self) -> "DocumentForm":
        if (self.file is None) == (self.digest is None):
            raise ValueError(f"{self.kind}: give file or digest, one of the two")
        return self


class TaskForm(SettingsTable):
    """What is learnt."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    bundle: Path | Digest | None = None
    """The bundle, or its digest; not at all for a task that comes with p2pfl."""
    first_state: Path | None = None
    """Where the first state is, as `p2pfl task begin` writes it. An amendment needs it only if
    another model is to begin."""
    data_schema: Digest | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    dtype: Literal["float32", "bf16"] = "float32"
    held_out: Share = 0.2
    validation: Share = 0.0
    evaluation_rows: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    shows: Literal["nothing", "figures"] = "nothing"

    @model_validator(mode="after")
    def _has_a_form(self) -> "TaskForm":
        try:
            json.dumps(self.options, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError(
                "options of a task are numbers, strings, booleans, lists and tables, without"
                " dates, NaN and infinity: these have no agreed form"
            ) from None
        return self


class AveragingForm(SettingsTable):
    """How rounds go, as `[averaging]` of a group; docs/operate.md lists the keys."""

    algorithm: Literal["group"] = "group"
    clip: PositiveSeconds = 4.0
    patience_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60.0
    deadline_s: PositiveSeconds = 10.0
    progress_s: PositiveSeconds | None = None
    retries: Annotated[int, Field(ge=0, le=1000)] | None = None
    """If not given, 8; where sums are audited, 2 for each liar that the group bears, if more: so
    many rounds liars can make void before all are known."""
    weights: Literal["equal", "samples", "agreed"] = "equal"
    audit: Audit | None = None
    """If not given, `"void"` for 8 members and more, unless they count on each other's noise."""

    @property
    def said_every_s(self) -> float:
        """How often a member that works says so."""
        return self.progress_s or PROGRESS_SHARE * self.deadline_s


class BoundsForm(SettingsTable):
    """How far operators may go without governance keys. Nothing may be changed that is not here."""

    rounds_max: Annotated[int, Field(ge=0, lt=2**32)] = 0
    clip: tuple[float, float] = (0.0, 0.0)
    patience_s_max: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    deadline_s: tuple[float, float] = (0.0, 0.0)
    settings: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """By name, such as `"training.learning_rate" = [0.01, 1.0]`."""


class BeginForm(SettingsTable):
    """Where an amendment's epoch begins, if it does not go on: at the end of an earlier epoch."""

    epoch: Annotated[int, Field(ge=0, lt=2**32)]
    round: Annotated[int, Field(ge=0, lt=2**63)]
    entry: Digest
    length: Annotated[int, Field(ge=1)]
    state: Digest


class SucceedsForm(SettingsTable):
    """The group that a new one goes on from, after it has lost too many members."""

    group: Digest
    charter: Digest
    epoch: Annotated[int, Field(ge=0, lt=2**32)]
    round: Annotated[int, Field(ge=0, lt=2**63)]
    entry: Digest


class CharterForm(SettingsTable):
    """A charter, as people write it."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    format: Literal[1] = 1
    name: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^\S(.*\S)?$")]
    purpose: Text
    agreement: Text | None = None
    rounds: Annotated[int, Field(ge=1, lt=2**32)] = 30
    not_before: Moment | None = None
    """From when it may come into force; at once if not given."""
    until: Moment | None = None
    """Thirteen months after it was drafted, if not given."""
    retention_days: Annotated[int, Field(ge=1, le=36_525)] = 3650
    notice_days: Annotated[int, Field(ge=0, le=365)] = 7
    """How long a member's lost keys can be kept from being replaced, by one of them."""
    require: tuple[DocumentKind, ...] = ()
    under: Digest | None = None
    releases: Annotated[tuple[Digest, ...], Field(max_length=RELEASES_MAX)] = ()
    """Models that may be handed to others: `certified` of an exported file's metadata."""
    evaluate_every: Annotated[int, Field(ge=0)] = 1
    task: TaskForm
    training: TrainingSettings = TrainingSettings()
    averaging: Annotated[AveragingForm | NetworkSettings, Field(discriminator="algorithm")] = (
        AveragingForm()
    )
    """Of a group; or, with another `algorithm`, of a network that gossips and keeps no ledger."""
    bounds: BoundsForm = BoundsForm()
    privacy: PrivacySettings | None = None
    """Differential privacy: the plan is made of it, and stands in the charter."""
    begin: BeginForm | Literal["new"] | None = Field(default=None, alias="from")
    succeeds: SucceedsForm | None = None
    documents: Annotated[tuple[DocumentForm, ...], Field(max_length=DOCUMENTS_MAX)] = ()
    members: tuple[MemberForm, ...] = ()
    """Founders come by their cards; an amendment has all members."""

    @field_validator("averaging", mode="before")
    @classmethod
    def _is_a_group_s(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "algorithm" not in value:
            return {"algorithm": "group", **value}
        return value

    @model_validator(mode="after")
    def _fits_a_network(self) -> "CharterForm":
        if isinstance(self.averaging, AveragingForm):
            return self
        for what, is_given in (
            ("[privacy]", self.privacy is not None),
            ("[succeeds]", self.succeeds is not None),
            ("from", self.begin is not None),
            ("[bounds]", self.bounds != BoundsForm()),
            ("until", self.until is not None),  # Its charter holds for good, and no ledger is kept.
            ("not_before", self.not_before is not None),
            ("require", bool(self.require)),
        ):
            if is_given:
                raise ValueError(
                    f"{what} is for groups: leave it out, or set averaging.algorithm to 'group'"
                )
        return self


def read_form(path: Path) -> CharterForm:
    """Read a charter's TOML; its paths are returned as seen from here.

    Raises:
        PaperError: it cannot be read, or says what cannot be; one line a fault.
    """
    form = make_form(read_toml(path, PaperError), source=str(path))
    place = path.parent
    task = form.task
    found: dict[str, Any] = {}
    if isinstance(task.bundle, Path):
        found["bundle"] = place / task.bundle
    if task.first_state is not None:
        found["first_state"] = place / task.first_state
    documents = tuple(
        it if it.file is None else it.model_copy(update={"file": place / it.file})
        for it in form.documents
    )
    changes = {"task": task.model_copy(update=found), "documents": documents}
    return form.model_copy(update=changes)


def make_form(document: Mapping[str, Any], *, source: str) -> CharterForm:
    """Check a charter that is given as nested dictionaries.

    Raises:
        PaperError: a key or value is wrong; one line a fault, each after `source`.
    """
    return check_document(document, CharterForm, PaperError, source=source)


def form_toml(form: CharterForm) -> str:
    """Write a charter's TOML."""
    return tomli_w.dumps(_plain(form.model_dump(by_alias=True, exclude_none=True)))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, as `sha256sum` prints it.

    Raises:
        PaperError: it cannot be read, or is longer than 64 MiB.
    """
    try:
        with path.open("rb") as file:
            content = file.read(DOCUMENT_BYTES_MAX + 1)
    except OSError as error:
        raise PaperError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > DOCUMENT_BYTES_MAX:
        raise PaperError(f"{path} is longer than {DOCUMENT_BYTES_MAX} bytes")
    return hashlib.sha256(content).hexdigest()
