"""Charter files: what they say comes back, and every fault of them is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from consortium import (
    DAY_S,
    MEMBERS,
    NAMES,
    NOW_S,
    Draws,
    Member,
    amended,
    drafted,
    founded,
    founding_form,
    revealed,
    signed,
)
from safetensors.numpy import save_file

from p2pfl.charter import charter_file
from p2pfl.charter.bundles import bundle_of, pack
from p2pfl.charter.charter_file import (
    Beside,
    CharterFile,
    decode_file,
    encode_file,
    merged,
    read_file,
    write_file,
)
from p2pfl.charter.errors import PaperError
from p2pfl.charter.first_states import read_first_state, write_first_state
from p2pfl.charter.form import form_toml, make_form, read_form
from p2pfl.charter.making import amend, form_of, found
from p2pfl.charter.texts import encode_text
from p2pfl.group.settings import AUDITED_MEMBERS_MIN
from p2pfl_crypto.hashing import hash_parts
from p2pfl_gossip.ledger.approvals import Says
from p2pfl_gossip.ledger.charter import AUDIT_OFF, AUDIT_VOID, NONE, running_digest, terms_digest
from p2pfl_gossip.records import Codec, replaced


def test_a_file_comes_back(tmp_path: Path) -> None:
    file = founded(tmp_path)
    path = tmp_path / "group.charter"
    write_file(path, file, is_new=True)
    assert read_file(path) == file
    with pytest.raises(PaperError, match="is there already"):
        write_file(path, file, is_new=True)
    with pytest.raises(PaperError, match=r"call it NAME\.charter"):
        write_file(tmp_path / "group.txt", file)


def test_names_are_pinned(tmp_path: Path) -> None:
    """Whoever makes the same charter has the same name for it, in any version."""
    assert (
        drafted(tmp_path).digest.hex()
        == "7f4817a8b6d7c793fac8a4267c8da480cebf1045fc66f69ec8931a6a9cf61e89"
    )
    assert (
        founded(tmp_path).digest.hex()
        == "93538a883bf8d7a722fdc6e76769f955908e7acc40f7d2eacd3dea51db341d2d"
    )


@pytest.mark.parametrize("part", range(40))
def test_every_changed_bit_is_told(tmp_path: Path, part: int) -> None:
    content = encode_file(founded(tmp_path))
    for place in range(part * len(content) // 40, (part + 1) * len(content) // 40):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(PaperError) as caught:
            decode_file(bytes(damaged))
        assert "\n" not in str(caught.value)


def test_one_that_is_cut_off_or_longer_is_told(tmp_path: Path) -> None:
    content = encode_file(founded(tmp_path))
    for size in (0, 15, 16, 18, 20, 100, len(content) - 33, len(content) - 1):
        with pytest.raises(PaperError, match=r"cut off|no charter file|more after"):
            decode_file(content[:size])
    with pytest.raises(PaperError, match="there is more after its end"):
        decode_file(content + b"\0")


def test_bytes_of_a_charter_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode_file(founded(tmp_path))
    codec = Codec(charter_file._Body, frame_bytes_max=100)
    monkeypatch.setattr(charter_file, "_CODEC", codec)
    with pytest.raises(PaperError, match="bytes, more than 100"):
        decode_file(content)
    path = tmp_path / "group.charter"
    path.write_bytes(content)
    monkeypatch.setattr(charter_file, "BODY_BYTES_MAX", 0)
    with pytest.raises(PaperError, match="cut off"):
        read_file(path)
    assert charter_file.BESIDE_MAX == 258


# --- a founding ----------------------------------------------------------------------------------


def test_a_draft_waits_for_all_founders(tmp_path: Path) -> None:
    draft = drafted(tmp_path)
    assert draft.is_draft
    with pytest.raises(PaperError, match="not all founders have shown their random bytes"):
        draft.founding_standing()
    for member in MEMBERS[:4]:
        draft = draft.with_shown(member.name, member.founder_bytes)
        assert draft.is_draft
    whole = draft.with_shown("turin", MEMBERS[4].founder_bytes)
    assert not whole.is_draft
    assert whole.draft_digest == draft.digest
    assert decode_file(encode_file(draft)) == draft
    with pytest.raises(PaperError, match="it is no draft any more"):
        whole.with_shown("turin", MEMBERS[4].founder_bytes)


def test_all_of_the_founders_bytes_are_in_the_name(tmp_path: Path) -> None:
    names = {founded(tmp_path).digest}
    for place in range(5):
        others = list(MEMBERS)
        others[place] = _Other(NAMES[place])
        names.add(founded(tmp_path, tuple(others)).digest)
    assert len(names) == 6


class _Other(Member):
    @property
    def founder_bytes(self) -> bytes:
        return bytes(16)


def test_other_bytes_than_committed_to_are_refused(tmp_path: Path) -> None:
    draft = drafted(tmp_path)
    with pytest.raises(PaperError, match="oslo has shown other random bytes than it committed to"):
        draft.with_shown("oslo", bytes(16))
    with pytest.raises(PaperError, match="oslo has shown other random bytes"):
        draft.with_shown("oslo", MEMBERS[1].founder_bytes)
    with pytest.raises(PaperError, match="bergen is no founder"):
        draft.with_shown("bergen", bytes(16))


def test_every_key_signs(tmp_path: Path) -> None:
    two = (*MEMBERS[:4], Member("turin", key_count=2, threshold=1))
    charter = revealed(drafted(tmp_path, two), two)
    assert len(charter.founding_standing().missing) == 11
    whole = signed(charter, two)
    assert whole.founding_standing().is_enough
    for place in range(len(whole.approvals)):
        words = [*whole.approvals[:place], *whole.approvals[place + 1 :]]
        standing = charter.with_words(words).founding_standing()
        assert len(standing.missing) == 1
        assert not standing.is_enough


def test_copies_are_taken_together(tmp_path: Path) -> None:
    draft = drafted(tmp_path)
    copies = [draft.with_shown(member.name, member.founder_bytes) for member in MEMBERS]
    whole = copies[0]
    for copy in copies[1:]:
        whole = merged(whole, copy)
    assert whole == revealed(draft)
    assert merged(copies[2], whole) == merged(whole, copies[2]) == whole
    halves = [whole.with_words([member.says(whole)]) for member in MEMBERS]
    both = merged(halves[0], halves[1])
    assert both.founding_standing().missing != whole.founding_standing().missing
    assert merged(both, draft) == both
    other = drafted(tmp_path, name="another")
    with pytest.raises(PaperError, match="two different drafts or charters"):
        merged(whole, other)
    with pytest.raises(PaperError, match="two different charters"):
        merged(whole, amended(signed(whole), rounds=50))
    with pytest.raises(PaperError, match="two different charters"):
        merged(amended(signed(whole), rounds=60), amended(signed(whole), rounds=50))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"task": {"name": "digits"}}, "task.first_state is missing"),
        ({"task": {"name": "digits", "first_state": "none"}}, "cannot read the first state none"),
        ({"from": "new"}, "from is for amendments"),
        ({"documents": [{"kind": "dpia", "digest": "11" * 32, "of": "bergen"}]}, "bergen, who is"),
        ({"documents": [{"kind": "dpia", "file": "none.pdf"}]}, "cannot read none.pdf"),
        ({"averaging": {"clip": 1e400}}, "clip"),
        ({"purpose": "erased:" + "11" * 32}, "is no text of the charter in force"),
        ({"bounds": {"clip": [8.0, 1.0]}}, "the bounds of clip are 8.0 to 1.0"),
    ],
)
def test_what_cannot_be_founded_is_told(
    tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(PaperError, match=fault):
        drafted(tmp_path, **changes)


def test_founders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(PaperError, match="two cards are of 'berlin'"):
        drafted(tmp_path, (*MEMBERS, MEMBERS[0]))
    with pytest.raises(PaperError, match="a group has 5 to 128 members, not 4"):
        drafted(tmp_path, MEMBERS[:4])
    with pytest.raises(PaperError, match="founders come by their cards"):
        drafted(tmp_path, members=[MEMBERS[0].form().model_dump(exclude_none=True)])


# --- parts that do not belong together ------------------------------------------------------------


def test_parts_of_two_charters_are_refused(tmp_path: Path) -> None:
    one, other = founded(tmp_path), founded(tmp_path, name="another")
    later = amended(one, rounds=50)
    running = amended(one, evaluate_every=7)
    others = amended(one, purpose="another purpose")
    cases: list[tuple[Callable[[], CharterFile], str]] = [
        (lambda: replace(one, terms_bytes=other.terms_bytes), "the terms are not those"),
        (lambda: replace(one, running_bytes=running.running_bytes), "the running settings are not"),
        (lambda: replace(one, shown=one.shown[::-1]), "has shown other random bytes"),
        (lambda: replace(one, shown=one.shown[:4]), "are not one for each"),
        (lambda: replace(one, shown=(b"", *one.shown[1:])), "the nonce does not follow"),
        (lambda: replace(later, shown=one.shown), "only a founding charter has"),
        (lambda: replace(one, beside=others.beside), "a free text is not what the terms name"),
        (lambda: replace(one, beside=one.beside[::-1]), "are not in their order"),
        (lambda: replace(one, beside=one.beside[:1] * 2), "are not in their order"),
        (
            lambda: replace(one, charter=replaced(one.charter, nonce=bytes([1]) * 32)),
            "the nonce does not follow",
        ),
    ]
    for make, fault in cases:
        with pytest.raises(PaperError, match=fault):
            make()


def test_a_forged_text_is_refused(tmp_path: Path) -> None:
    file = founded(tmp_path)
    purpose = next(it for it in file.beside if it.digest.hex() == file.terms.purpose)
    forged = Beside(purpose.digest, purpose.salt, "something else")
    others = [it for it in file.beside if it != purpose]
    with pytest.raises(PaperError, match="a free text is not what the terms name"):
        replace(file, beside=tuple(sorted([*others, forged])))


def test_terms_that_name_strangers_are_refused(tmp_path: Path) -> None:
    file = founded(tmp_path)
    terms = encode_text(file.terms.model_copy(update={"contacts": {"bergen": "11" * 32}}))
    charter = replaced(file.charter, terms=terms_digest(terms))
    with pytest.raises(PaperError, match="a contact is of bergen"):
        replace(file, terms_bytes=terms, charter=charter)


def test_a_forged_word_is_refused(tmp_path: Path) -> None:
    file = founded(tmp_path)
    word = file.approvals[0]
    forged = replaced(word, signature=word.signature[:-1] + bytes([word.signature[-1] ^ 1]))
    with pytest.raises(PaperError, match="the signature does not verify"):
        replace(file, approvals=(forged, *file.approvals[1:]))


def test_a_word_about_another_charter_does_not_count(tmp_path: Path) -> None:
    file, other = revealed(drafted(tmp_path)), founded(tmp_path, name="another")
    mixed = file.with_words(other.approvals)
    assert len(mixed.founding_standing().missing) == 10


# --- what people read and write -------------------------------------------------------------------


def test_toml_says_all_and_comes_back_as_the_same_charter(tmp_path: Path) -> None:
    file = founded(
        tmp_path,
        agreement="as signed on paper",
        require=["dpia"],
        documents=[{"kind": "dpia", "digest": "11" * 32, "until": NOW_S + 9 * DAY_S}],
        not_before=NOW_S,
    )
    path = tmp_path / "next.toml"
    path.write_text(form_toml(form_of(file)))
    form = read_form(path)
    assert form == form_of(file)
    again = amend(form, file, now_s=0, entropy=Draws())
    assert again.terms_bytes == file.terms_bytes
    assert again.running_bytes == file.running_bytes
    assert again.charter == replaced(file.charter, present=file.digest, nonce=NONE)
    assert again.beside == file.beside


def test_texts_can_be_erased_and_all_else_holds(tmp_path: Path) -> None:
    file = founded(tmp_path)
    bare = file.without_texts()
    assert bare.digest == file.digest
    assert bare.founding_standing().is_enough
    content = encode_file(bare)
    for text in ("thirty days", "Dr. Ada"):
        assert text.encode() in encode_file(file)
        assert text.encode() not in content
    assert form_of(bare).purpose == f"erased:{file.terms.purpose}"
    later = amended(bare, rounds=50)
    assert later.terms.purpose == file.terms.purpose


def test_no_free_text_is_in_what_is_hashed(tmp_path: Path) -> None:
    file = founded(tmp_path)
    hashed = encode_file(file.without_texts())
    for member in MEMBERS:
        assert f"Dr. Ada of {member.name}".encode() not in hashed
    other = found(
        founding_form(tmp_path),
        [member.card() for member in MEMBERS],
        now_s=NOW_S,
        entropy=bytes,
    )
    assert other.terms.purpose != file.terms.purpose  # The same text under another salt.


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"until": "2027-01-01"}, "until"),
        ({"rounds": 0}, "rounds"),
        ({"name": ""}, "name"),
        ({"more": 1}, "more is not a known key"),
        ({"documents": [{"kind": "dpia"}]}, "give file or digest"),
        ({"documents": [{"kind": "dpia", "file": "a", "digest": "11" * 32}]}, "file or digest"),
        ({"documents": [{"kind": "horoscope", "digest": "11" * 32}]}, "kind"),
        ({"require": ["horoscope"]}, "require"),
        ({"task": {}}, "task.name is missing"),
        ({"from": "yesterday"}, "from"),
    ],
)
def test_toml_that_cannot_be_is_told(
    tmp_path: Path, changes: dict[str, object], fault: str
) -> None:
    with pytest.raises(PaperError, match=fault):
        founding_form(tmp_path, **changes)


def test_times_need_a_zone(tmp_path: Path) -> None:
    path = tmp_path / "group.toml"
    document = 'name = "a"\npurpose = "b"\nuntil = {}\n[task]\nname = "digits"\n'
    path.write_text(document.format("2027-01-01"))
    assert read_form(path).until == 1_798_761_600
    path.write_text(document.format("2027-01-01T02:00:00+02:00"))
    assert read_form(path).until == 1_798_761_600
    path.write_text(document.format("2027-01-01T00:00:00"))
    with pytest.raises(PaperError, match="a time needs its zone"):
        read_form(path)


def test_amendments_say_where_they_begin(tmp_path: Path) -> None:
    present = founded(tmp_path)
    entry = {"epoch": 1, "round": 12, "entry": "11" * 32, "length": 4, "state": "22" * 32}
    back = amended(present, **{"from": entry})
    assert back.charter.start is not None
    assert back.charter.start.round == 12
    assert back.charter.state[0].digest.hex() == "22" * 32
    task = form_of(present).task.model_dump(exclude_none=True)
    start = {"first_state": str(tmp_path / "start.safetensors")}
    fresh = amended(present, **{"from": "new", "task": task | start})
    assert fresh.charter.state == present.charter.state
    for changes, fault in (
        ({"from": "new"}, "from = 'new' needs task.first_state"),
        ({"task": task | start}, "say so with from = 'new'"),
    ):
        with pytest.raises(PaperError, match=fault):
            amended(present, **changes)
    names = {"group": "11" * 32, "charter": "22" * 32, "entry": "33" * 32}
    succeeds = names | {"epoch": 0, "round": 1}
    with pytest.raises(PaperError, match="succeeds is for the founding"):
        amended(present, succeeds=succeeds)
    with pytest.raises(PaperError, match="still a draft"):
        amended(drafted(tmp_path), rounds=50)


def test_making_a_form_is_strict() -> None:
    with pytest.raises(PaperError, match="purpose is missing"):
        make_form({"name": "a", "task": {"name": "digits"}}, source="test")


def test_words_are_kept_in_order_and_once(tmp_path: Path) -> None:
    file = revealed(drafted(tmp_path))
    words = [member.says(file) for member in MEMBERS]
    one = file.with_words(words)
    assert one == file.with_words([*words[::-1], *words])
    assert isinstance(one, CharterFile)
    assert one.words(Says.OBJECT) == ()


def test_a_body_in_another_form_is_refused(tmp_path: Path) -> None:
    """The same fields, in an encoding that is longer than need be."""
    content = encode_file(founded(tmp_path))
    body = content[20:-32]
    assert body[0] == 0x97  # An array of seven, in one byte.
    longer = b"\xdc\x00\x07" + body[1:]
    length = len(longer).to_bytes(4, "little")
    forged = content[:16] + length + longer + hash_parts(b"p2pfl/parcel", longer)
    with pytest.raises(PaperError, match="it is not in its canonical form"):
        decode_file(forged)


def test_addresses_are_of_the_members(tmp_path: Path) -> None:
    file = founded(tmp_path)
    addresses = dict(file.running.addresses)
    for others in (
        {name: it for name, it in addresses.items() if name != "oslo"},
        addresses | {"bergen": addresses["oslo"]},
    ):
        running = encode_text(file.running.model_copy(update={"addresses": others}))
        charter = replaced(file.charter, running=running_digest(running))
        with pytest.raises(PaperError, match="the addresses are of other members"):
            replace(file, running_bytes=running, charter=charter)


def test_a_bundle_is_that_of_the_task(tmp_path: Path) -> None:
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "task.py").write_text("class Mine: ...\n")
    content = pack(folder, "task:Mine")
    (tmp_path / "task.bundle").write_bytes(content)
    start = str(tmp_path / "start.safetensors")
    task = {"name": "task:Mine", "bundle": str(tmp_path / "task.bundle"), "first_state": start}
    assert drafted(tmp_path, task=task).terms.task.bundle == bundle_of(content).digest
    with pytest.raises(PaperError, match="is the bundle of task:Mine, not task:Yours"):
        drafted(tmp_path, task=task | {"name": "task:Yours"})


@pytest.mark.parametrize(
    "tensors",
    [
        {"model": np.array([1.0, np.nan], np.float32)},
        {"model": np.array([np.inf], np.float32)},
        {"model": np.zeros(0, np.float32)},
        {"model": np.zeros((2, 2), np.float32)},
        {"model": np.zeros(2, np.float64)},
        {"weights": np.zeros(2, np.float32)},
        {"model": np.zeros(2, np.float32), "more": np.zeros(2, np.float32)},
    ],
)
def test_what_is_no_first_state_is_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray[Any, Any]]
) -> None:
    path = tmp_path / "start.safetensors"
    save_file(tensors, path)
    with pytest.raises(PaperError, match="is no first state"):
        read_first_state(path)


def test_a_first_state_is_made_once(tmp_path: Path) -> None:
    path, vector = tmp_path / "start.safetensors", np.arange(3, dtype=np.float32)
    item = write_first_state(path, vector)
    read, again = read_first_state(path)
    assert (read.tobytes(), again) == (vector.tobytes(), item)
    with pytest.raises(PaperError, match="a first state is made once"):
        write_first_state(path, vector)
    with pytest.raises(PaperError, match="values that are no numbers"):
        write_first_state(tmp_path / "other", np.array([np.nan], np.float32))


def test_a_group_that_succeeds_another_can_be_amended(tmp_path: Path) -> None:
    names = {"group": "11" * 32, "charter": "22" * 32, "entry": "33" * 32}
    group = founded(tmp_path, succeeds=names | {"epoch": 0, "round": 1})
    assert group.charter.succeeds is not None
    assert amended(group, rounds=50).charter.succeeds is None


@pytest.mark.parametrize(
    ("size", "averaging", "audit", "retries"),
    [
        (AUDITED_MEMBERS_MIN - 1, {}, AUDIT_OFF, 8),
        (AUDITED_MEMBERS_MIN, {}, AUDIT_VOID, 8),
        (16, {}, AUDIT_VOID, 10),
        (16, {"audit": "off"}, AUDIT_OFF, 8),
        (5, {"audit": "void"}, AUDIT_VOID, 8),
        (16, {"retries": 12}, AUDIT_VOID, 12),
        (16, {"retries": 1, "audit": "off"}, AUDIT_OFF, 1),
    ],
)
def test_sums_of_eight_members_and_more_are_audited(
    size: int, averaging: dict[str, Any], audit: int, retries: int, tmp_path: Path
) -> None:
    """And rounds are tried again twice for each liar that the group bears; unless a draft says."""
    members = tuple(Member(f"m{number}") for number in range(size))
    charter = drafted(tmp_path, members, averaging=averaging).charter
    assert (charter.audit, charter.retries) == (audit, retries)


@pytest.mark.parametrize("averaging", [{"retries": 9}, {"retries": 0, "audit": "name"}])
def test_too_few_retries_beside_an_audit_are_refused(
    averaging: dict[str, Any], tmp_path: Path
) -> None:
    """Five of sixteen may lie."""
    members = tuple(Member(f"m{number}") for number in range(16))
    with pytest.raises(PaperError, match=r"averaging\.retries = [09]: .* give 10 or more"):
        drafted(tmp_path, members, averaging=averaging)


def test_an_amendment_that_does_not_say_leaves_audits_as_they_are(tmp_path: Path) -> None:
    present = founded(tmp_path, averaging={"audit": "void"})
    assert amended(present, averaging={"clip": 3.0}).charter.audit == AUDIT_VOID
    assert amended(present, averaging={"audit": "off"}).charter.audit == AUDIT_OFF


def test_a_charter_under_which_nobody_draws_rows_is_refused_unless_that_is_meant(
    tmp_path: Path,
) -> None:
    counted = {"averaging": {"weights": "samples"}}
    cards = [member.form(weight=30.0 + place) for place, member in enumerate(MEMBERS)]
    most = 30 + len(MEMBERS) - 1

    def found_with(training: dict[str, Any], **changes: Any) -> None:
        present = founded(tmp_path, training={"batch_size": 1})
        amended(present, training={"batch_size": 1} | training, members=cards, **changes)

    with pytest.raises(PaperError, match=r"batch_size = 40: .* training.full_batch = true"):
        found_with({"batch_size": 40}, **counted)
    with pytest.raises(PaperError, match=f"training.batch_size = {most}: no member has more rows"):
        found_with({"batch_size": most}, **counted)
    found_with({"batch_size": most - 1}, **counted)
    found_with({"batch_size": 40, "full_batch": True}, **counted)
    found_with({"batch_size": 40, "sampling": "replacement"}, **counted)
    found_with({"batch_size": 40})  # Weights tell nothing of rows.
    # Cards that name no rows have a weight of 1.
    amended(founded(tmp_path), **counted)
