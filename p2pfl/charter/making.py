"""From a charter's TOML to a charter file, and back."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from p2pfl.charter.bundles import read_bundle
from p2pfl.charter.cards import MemberCard, MemberForm, draft_nonce
from p2pfl.charter.charter_file import Beside, CharterFile
from p2pfl.charter.errors import PaperError
from p2pfl.charter.first_states import read_first_state
from p2pfl.charter.form import (
    DAY_S,
    ERASED,
    LIFE_DAYS,
    AveragingForm,
    BeginForm,
    CharterForm,
    DocumentForm,
    file_digest,
    make_form,
    moment,
)
from p2pfl.charter.keys import key_text
from p2pfl.charter.texts import (
    SALT_BYTES,
    Document,
    Running,
    TaskTerms,
    Terms,
    encode_text,
    salted_digest,
)
from p2pfl.group.averaging import AveragingError, require_possible
from p2pfl.group.privacy_settings import plan_for, privacy_of
from p2pfl.group.settings import AUDITS, Audit, CohortSettings, audit_named, audit_of, retries_of
from p2pfl.privacy.errors import PrivacyError
from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.identity import peer_id_of, public_key_of
from p2pfl_gossip.ledger.approving import kind_of_change
from p2pfl_gossip.ledger.charter import (
    CHARTER_VERSION,
    FOREVER,
    NEW_STATE,
    NONE,
    Bounds,
    Charter,
    CharterMember,
    Governance,
    Succeeds,
    running_digest,
    terms_digest,
)
from p2pfl_gossip.ledger.privacy import Privacy, still
from p2pfl_gossip.ledger.states import Head, StateItem
from p2pfl_gossip.records import replaced

Entropy = Callable[[int], bytes]


class _Salted:
    """Gives free texts their digests, and keeps what goes beside."""

    def __init__(self, entropy: Entropy, known: CharterFile | None) -> None:
        self._entropy = entropy
        self._known = {} if known is None else {it.text: it for it in known.beside}
        self._digests = set() if known is None else _text_digests(known.terms)
        self.beside: dict[Beside, None] = {}

    def digest(self, text: str) -> str:
        if text.startswith(ERASED):
            digest = text.removeprefix(ERASED)
            if digest not in self._digests:
                raise PaperError(f"{text!r} is no text of the charter in force that was erased")
            return digest
        beside = self._known.get(text)
        if beside is None:
            salt = self._entropy(SALT_BYTES)
            beside = Beside(bytes.fromhex(salted_digest(salt, text)), salt, text)
            self._known[text] = beside
        self.beside[beside] = None
        return beside.digest.hex()


def found(
    form: CharterForm, cards: Sequence[MemberCard], *, now_s: int, entropy: Entropy
) -> CharterFile:
    """Draft a founding charter.

    Args:
        form: what people wrote; it names no members.
        cards: of the founders, in the order of admission.
        now_s: seconds since 1970.
        entropy: gives salts.

    Raises:
        PaperError: it cannot be so; the message says what to change.
    """
    if form.members:
        raise PaperError("founders come by their cards: take [[members]] out of the TOML")
    if form.begin is not None:
        raise PaperError("from is for amendments: a founding begins from task.first_state")
    if form.task.first_state is None:
        raise PaperError("task.first_state is missing: make one with p2pfl task begin")
    names = [card.name for card in cards]
    for name in names:
        if names.count(name) > 1:
            raise PaperError(f"two cards are of {name!r}; ask the two for other names")
    _, item = read_first_state(form.task.first_state)
    commitments = tuple(bytes.fromhex(card.commitment) for card in cards)
    return _made(
        form,
        [card.form() for card in cards],
        (item,),
        None,
        commitments=commitments,
        now_s=now_s,
        entropy=entropy,
    )


def amend(
    form: CharterForm, present: CharterFile, *, now_s: int, entropy: Entropy, height: int = 0
) -> CharterFile:
    """Draft a charter that is to follow one.

    Args:
        form: all that is to hold.
        present: the charter in force.
        now_s: seconds since 1970.
        entropy: gives salts.
        height: models that there are, as far as it is known: privacy pays for those to come.

    Raises:
        PaperError: it cannot be so; the message says what to change.
    """
    if present.is_draft:
        raise PaperError("the present charter is still a draft: change the draft itself")
    if present.is_network:
        raise PaperError("the charter of a network holds for good: found a new one")
    if not isinstance(form.averaging, AveragingForm):
        raise PaperError(
            f"a group cannot become a network: averaging.algorithm is {form.averaging.algorithm!r}"
        )
    if form.succeeds not in (None, form_of(present).succeeds):
        raise PaperError("succeeds is for the founding of a new group")
    state, begin = present.charter.state, form.begin
    if begin is None:
        if form.task.first_state is not None:
            raise PaperError("task.first_state begins another model: say so with from = 'new'")
    elif begin == "new":
        if form.task.first_state is None:
            raise PaperError("from = 'new' needs task.first_state: where the new model begins")
        state = (read_first_state(form.task.first_state)[1],)
    else:
        digest = bytes.fromhex(begin.state)
        state = (StateItem("model", "float32", begin.length, digest), *state[1:])
    made = _made(
        form,
        form.members,
        state,
        present,
        commitments=(),
        now_s=now_s,
        entropy=entropy,
        height=height if begin is None else 0,
    )
    return _with_plan_kept(made, present)


def _with_plan_kept(made: CharterFile, present: CharterFile) -> CharterFile:
    """Pay for as many rounds as before where operators may make the change alone.

    To pay for fewer would take governance keys.
    """
    privacy, before = made.charter.privacy, present.charter.privacy
    if privacy is None or before is None or made.charter.rounds != present.charter.rounds:
        return made
    if replaced(privacy, spends=before.spends) != before:
        return made
    as_before = replaced(made.charter, privacy=before)
    is_running = kind_of_change(present.charter, as_before) == "running"
    return replace(made, charter=as_before) if is_running else made


def with_cards(form: CharterForm, cards: Sequence[MemberCard]) -> CharterForm:
    """Put members in by their cards: each in the place of who has its name, or behind all others.

    Raises:
        PaperError: two cards are of one name.
    """
    given: dict[str, MemberForm] = {}
    for card in cards:
        if card.name in given:
            raise PaperError(f"two cards are of {card.name!r}; one member hands in one")
        given[card.name] = card.form()
    staying = tuple(given.pop(member.name, member) for member in form.members)
    return form.model_copy(update={"members": (*staying, *given.values())})


def _made(
    form: CharterForm,
    members: Sequence[MemberForm],
    state: tuple[StateItem, ...],
    present: CharterFile | None,
    *,
    commitments: tuple[bytes, ...],
    now_s: int,
    entropy: Entropy,
    height: int = 0,
) -> CharterFile:
    salted = _Salted(entropy, present)
    terms = encode_text(_terms(form, members, salted))
    running = encode_text(
        Running(
            training=form.training,
            evaluate_every=form.evaluate_every,
            addresses={member.name: member.addresses for member in members},
        )
    )
    bounds = form.bounds
    until = now_s + LIFE_DAYS * DAY_S if form.until is None else form.until
    if not isinstance(form.averaging, AveragingForm):
        until = FOREVER  # A network's charter holds for good.
    if until <= now_s:
        raise PaperError(f"until is {moment(until):%Y-%m-%d}, which is over: name a later day")
    averaging = form.averaging
    if not isinstance(averaging, AveragingForm):
        _require_possible(form, len(members))
        averaging = AveragingForm(deadline_s=averaging.deadline_s, audit="off")  # Of groups only.
    privacy = _privacy(form, members, state[0], present, max(1, form.rounds - height))
    if privacy is None:
        _require_drawn_rows(form, members)
    audit = _audit(averaging, len(members), privacy, present)
    charter = Charter(
        version=CHARTER_VERSION,
        nonce=NONE if present is not None else draft_nonce(commitments),
        present=NONE if present is None else present.digest,
        members=tuple(_machine_member(member) for member in members),
        rounds=form.rounds,
        clip=averaging.clip,
        patience_s=averaging.patience_s,
        relay_s=averaging.deadline_s,
        progress_s=averaging.said_every_s,
        retries=_retries(averaging, audit, len(members)),
        state=_with_momentum(state, privacy, present, form),
        not_before=form.not_before or 0,
        until=until,
        notice_s=form.notice_days * DAY_S,
        bounds=Bounds(
            rounds_max=bounds.rounds_max,
            clip_min=float(bounds.clip[0]),
            clip_max=float(bounds.clip[1]),
            patience_s_max=bounds.patience_s_max,
            relay_s_min=float(bounds.deadline_s[0]),
            relay_s_max=float(bounds.deadline_s[1]),
            running=isinstance(form.averaging, AveragingForm),
        ),
        start=_start(form.begin),
        succeeds=_succeeds(form) if present is None else None,
        terms=terms_digest(terms),
        running=running_digest(running),
        privacy=privacy,
        audit=AUDITS[audit],
    )
    shown = (b"",) * len(commitments)
    beside = tuple(sorted(salted.beside))
    return CharterFile(charter, terms, running, commitments, shown, (), beside)


def _privacy(
    form: CharterForm,
    members: Sequence[MemberForm],
    model: StateItem,
    present: CharterFile | None,
    rounds: int,
) -> Privacy | None:
    """Make the plan that the charter states, for rounds to come.

    What has not changed is not planned anew: the same noise pays for the rounds that are left.
    """
    settings = form.privacy
    if settings is None:
        return None
    if settings.unit == "record" and settings.rows is None:
        raise PaperError("privacy.rows is missing: how many rows all members train on, as agreed")
    if present is not None:
        before = present.charter
        is_same = settings.plans_as(present.terms.privacy) and before.rounds == form.rounds
        if is_same and len(before.members) == len(members) and before.state[0] == model:
            assert before.privacy is not None  # Its terms have the settings.
            spends = min(before.privacy.spends, settings.spends(rounds))
            return replaced(before.privacy, spends=spends)
    try:
        plan = plan_for(
            settings,
            members=len(members),
            rows=settings.rows or len(members),
            rounds=rounds,
            entries=model.length,
            drops=0.0,
        )
    except PrivacyError as error:
        raise PaperError(f"privacy: {error}") from None
    return privacy_of(settings, plan)


def _require_drawn_rows(form: CharterForm, members: Sequence[MemberForm]) -> None:
    """Refuse trainings that draw nothing, where weights tell how many rows each member has.

    Raises:
        PaperError: each step of every member would take all of its rows.
    """
    rows = [member.weight for member in members]
    averaging = form.averaging
    is_masked = isinstance(averaging, AveragingForm) or (
        isinstance(averaging, CohortSettings) and averaging.is_masked
    )
    if not is_masked or averaging.weights != "samples" or max(rows) <= 1:
        return  # Cards do not tell rows; each peer warns its own operator.
    if form.training.are_all_full(rows):
        raise PaperError(
            f"training.batch_size = {form.training.batch_size}: no member has more rows, so every"
            " step takes all of them, and two rounds that differ by one member give its update"
            " away. Lower it, ask for [privacy], or say that it is meant: training.full_batch ="
            " true"
        )


def _audit(
    averaging: AveragingForm, size: int, privacy: Privacy | None, present: CharterFile | None
) -> Audit:
    """Return whether sums are audited: as the form says, else as before, else by the size."""
    said = averaging.audit
    if said is None and present is not None:
        said = audit_named(present.charter.audit)
    is_shared = privacy is not None and privacy.is_shared
    return audit_of(said, size, is_noise_shared=is_shared)


def _retries(averaging: AveragingForm, audit: Audit, size: int) -> int:
    try:
        return retries_of(averaging.retries, audit, size)
    except ValueError as error:
        raise PaperError(str(error)) from None


def _with_momentum(
    state: tuple[StateItem, ...],
    privacy: Privacy | None,
    present: CharterFile | None,
    form: CharterForm,
) -> tuple[StateItem, ...]:
    """Put a momentum of zeros beside a model that begins, where steps have one."""
    begins = present is None or form.begin == "new"
    if not begins or privacy is None or not privacy.momentum:
        return state
    return (state[0], still(state[0].length))


def _terms(
    form: CharterForm,
    members: Sequence[MemberForm],
    salted: _Salted,
) -> Terms:
    task, bundle = form.task, form.task.bundle
    if bundle is not None and not isinstance(bundle, str):
        packed = read_bundle(bundle)
        if packed.manifest.task != task.name:
            raise PaperError(f"{bundle} is the bundle of {packed.manifest.task}, not {task.name}")
        bundle = packed.digest
    contacts = {}
    for member in members:
        if member.contact is not None:
            contacts[member.name] = salted.digest(member.contact)
    return Terms(
        name=form.name,
        purpose=salted.digest(form.purpose),
        agreement=None if form.agreement is None else salted.digest(form.agreement),
        documents=tuple(_document(it) for it in form.documents),
        require=form.require,
        task=TaskTerms(
            bundle=bundle,
            **task.model_dump(exclude={"bundle", "first_state"}),
        ),
        weights=form.averaging.weights,
        retention_days=form.retention_days,
        bounds=form.bounds.settings,
        under=form.under,
        releases=form.releases or None,
        privacy=form.privacy,
        network=None if isinstance(form.averaging, AveragingForm) else form.averaging,
        contacts=contacts,
    )


def _require_possible(form: CharterForm, members: int) -> None:
    """Check that so many members can gossip so."""
    averaging = form.averaging
    assert not isinstance(averaging, AveragingForm)
    if isinstance(averaging, CohortSettings) and averaging.masking == "modelled":
        raise PaperError("modelled masks hide nothing and are for simulations only: leave it out")
    try:
        # Which seed it is makes no difference to what is possible.
        require_possible(averaging, members, form.rounds, NONE)
    except AveragingError as error:
        raise PaperError(str(error)) from None


def _document(form: DocumentForm) -> Document:
    digest = form.digest if form.file is None else file_digest(form.file)
    assert digest is not None  # The form has seen that it is one of the two.
    return Document(kind=form.kind, digest=digest, of=form.of, until=form.until)


def _machine_member(member: MemberForm) -> CharterMember:
    keys = tuple(key.encoded for key in member.governance.governance_keys())
    return CharterMember(
        public_key_of(member.peer_id),
        member.name,
        member.votes_as,
        member.weight,
        Governance(member.governance.threshold, keys),
    )


def _start(begin: BeginForm | str | None) -> Head | None:
    if isinstance(begin, BeginForm):
        return Head(begin.epoch, begin.round, bytes.fromhex(begin.entry))
    return None if begin is None else NEW_STATE


def _succeeds(form: CharterForm) -> Succeeds | None:
    it = form.succeeds
    if it is None:
        return None
    head = Head(it.epoch, it.round, bytes.fromhex(it.entry))
    return Succeeds(bytes.fromhex(it.group), bytes.fromhex(it.charter), head)


def _text_digests(terms: Terms) -> set[str]:
    return {terms.purpose, *terms.contacts.values()} | ({terms.agreement or ""} - {""})


# --- back ----------------------------------------------------------------------------------------


def form_of(file: CharterFile) -> CharterForm:
    """Return what people would write to get this charter; `from` and first states are left out.

    So it is also where an amendment begins: it goes on from what is there.
    """
    charter, terms, running = file.charter, file.terms, file.running
    task = terms.task.model_dump(exclude_none=True)
    succeeds = charter.succeeds
    document: dict[str, Any] = {
        "name": terms.name,
        "purpose": _written(file, terms.purpose),
        "agreement": _written(file, terms.agreement),
        "rounds": charter.rounds,
        "not_before": charter.not_before or None,
        "until": None if file.is_network else charter.until,
        "retention_days": terms.retention_days,
        "notice_days": charter.notice_s // DAY_S,
        "require": terms.require,
        "under": terms.under,
        "releases": terms.releases,
        "privacy": terms.privacy,
        "evaluate_every": running.evaluate_every,
        "task": task,
        "training": running.training,
        "averaging": {
            "algorithm": "group",
            "clip": charter.clip,
            "patience_s": charter.patience_s,
            "deadline_s": charter.relay_s,
            "progress_s": charter.progress_s,
            "retries": charter.retries,
            "audit": audit_named(charter.audit),
            "weights": terms.weights,
        }
        if terms.network is None
        else terms.network.model_dump(exclude_none=True),
        "bounds": {
            "rounds_max": charter.bounds.rounds_max,
            "clip": (charter.bounds.clip_min, charter.bounds.clip_max),
            "patience_s_max": charter.bounds.patience_s_max,
            "deadline_s": (charter.bounds.relay_s_min, charter.bounds.relay_s_max),
            "settings": terms.bounds,
        },
        "succeeds": None
        if succeeds is None
        else {
            "group": succeeds.group.hex(),
            "charter": succeeds.charter.hex(),
            "epoch": succeeds.head.epoch,
            "round": succeeds.head.round,
            "entry": succeeds.head.entry.hex(),
        },
        "documents": [it.model_dump(exclude_none=True) for it in terms.documents],
        "members": [_member_form(file, member) for member in charter.members],
    }
    given = {key: value for key, value in document.items() if value is not None}
    return make_form(given, source="charter")


def _member_form(file: CharterFile, member: CharterMember) -> dict[str, Any]:
    contact = _written(file, file.terms.contacts.get(member.name))
    form = {
        "name": member.name,
        "controller": None if member.controller == member.name else member.controller,
        "peer_id": peer_id_of(member.key),
        "addresses": file.running.addresses[member.name],
        "weight": member.weight,
        "contact": contact,
        "governance": {
            "threshold": member.governance.threshold,
            "keys": [key_text(GovernanceKey.read(key)) for key in member.governance.keys],
        },
    }
    return {key: value for key, value in form.items() if value is not None}


def _written(file: CharterFile, digest: str | None) -> str | None:
    if digest is None:
        return None
    text = file.text_of(digest)
    return f"{ERASED}{digest}" if text is None else text
