"""Terms and running settings: one form of bytes, strict, and nothing of a person in it."""

import contextlib
import json
from typing import Any

import pytest
from pydantic import ValidationError

from p2pfl.charter import texts
from p2pfl.charter.errors import PaperError
from p2pfl.charter.texts import (
    RELEASES_MAX,
    Document,
    Running,
    TaskTerms,
    Terms,
    encode_text,
    flat,
    read_running,
    read_terms,
    salted_digest,
)
from p2pfl_gossip.ledger.charter import running_digest, terms_digest
from p2pfl_gossip.ledger.messages import TEXT_BYTES_MAX

TERMS: dict[str, Any] = {
    "name": "readmissions",
    "purpose": salted_digest(bytes(16), "who comes back within thirty days"),
    "documents": [{"kind": "dpia", "digest": "11" * 32, "of": "berlin", "until": 1_800_000_000}],
    "require": ["dpia"],
    "task": {
        "name": "readmissions:Readmissions",
        "bundle": "22" * 32,
        "options": {"file": "r.csv"},
    },
    "contacts": {"berlin": "33" * 32},
}
RUNNING: dict[str, Any] = {"addresses": {"berlin": ["/dns4/berlin.example/tcp/4001"]}}


def canonical(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def test_terms_come_back_and_their_bytes_are_pinned() -> None:
    encoded = encode_text(Terms.model_validate(TERMS))
    assert read_terms(encoded) == Terms.model_validate(TERMS)
    assert encode_text(read_terms(encoded)) == encoded
    assert (
        terms_digest(encoded).hex()
        == "146eac9f5e681c6eeb9382e32254613a78e4cce0e0ce289dc2f249c2f2dd0dd1"
    )


def test_running_settings_come_back_and_their_bytes_are_pinned() -> None:
    encoded = encode_text(Running.model_validate(RUNNING))
    assert read_running(encoded) == Running.model_validate(RUNNING)
    assert (
        running_digest(encoded).hex()
        == "0f4e362b0ecf6ccffb3978bc3e377db79dbc6c0c692b0b2c962475fff6227615"
    )
    assert running_digest(encoded) != terms_digest(encoded)


def test_every_default_is_spelt_out() -> None:
    assert flat(Running.model_validate(RUNNING)) == {
        "format": 1,
        "training.learning_rate": 0.1,
        "training.batch_size": 32,
        "training.drop_last": False,
        "training.sampling": "epoch",
        "training.optimiser.kind": "sgd",
        "training.optimiser.momentum": 0.0,
        "training.optimiser.nesterov": False,
        "training.optimiser.weight_decay": 0.0,
        "training.schedule.kind": "constant",
        "training.schedule.warm_up": 0,
        "training.keep_moments": False,
        "training.local.kind": "plain",
        "evaluate_every": 1,
        "addresses.berlin": ["/dns4/berlin.example/tcp/4001"],
    }


def test_a_salted_digest_takes_salt_and_text() -> None:
    one = salted_digest(bytes(16), "text")
    assert one == "fd8b7a0b3977bfd3294d215dc9924cc91c3783a95520e4159203f4eae2f7f787"
    assert salted_digest(bytes(15) + b"\1", "text") != one
    assert salted_digest(bytes(16), "texts") != one


@pytest.mark.parametrize("place", range(0, 800, 3))
def test_every_changed_bit_changes_the_digest_or_is_refused(place: int) -> None:
    encoded = encode_text(Terms.model_validate(TERMS))
    damaged = bytearray(encoded)
    damaged[place % len(encoded)] ^= 1 << place % 7
    with contextlib.suppress(PaperError):  # Other digits of a digest read as well as these.
        read_terms(bytes(damaged))
    assert terms_digest(bytes(damaged)) != terms_digest(encoded)


@pytest.mark.parametrize(
    ("encoded", "fault"),
    [
        (b"", "not in their canonical form"),
        (b"\xff", "not in their canonical form"),
        (b"{ }", "not in their canonical form"),
        (b'{"b":1,"a":2}', "not in their canonical form"),
        (b'{"a":1,"a":1}', "not in their canonical form"),
        (b'{"a":NaN}', "not in their canonical form"),
        (b'{"a":1e1}', "not in their canonical form"),
        ('{"a":"é"}'.encode(), "not in their canonical form"),
        (b"[" * 100_000, "more than 24576"),
        (b"[" * 20_000, "not in their canonical form"),
        (b"[]", "terms"),
        (canonical(TERMS | {"more": 1}), "more is not a known key"),
        (canonical(TERMS | {"format": 2}), "of a newer version of p2pfl"),
        (canonical(TERMS | {"name": ""}), "name"),
        (canonical(TERMS | {"name": " x"}), "name"),
        (canonical(TERMS | {"purpose": "because"}), "purpose"),
        (canonical(TERMS | {"contacts": {"berlin": "Dr. Ada"}}), "contacts"),
        (canonical(TERMS | {"require": ["horoscope"]}), "require"),
        (canonical({key: value for key, value in TERMS.items() if key != "task"}), "task"),
    ],
)  # fmt: skip
def test_what_is_no_terms_is_refused(encoded: bytes, fault: str) -> None:
    with pytest.raises(PaperError, match=fault) as caught:
        read_terms(encoded)
    assert "\n" not in str(caught.value)


def test_bytes_of_terms_and_running_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encode_text(Terms.model_validate(TERMS))
    assert TEXT_BYTES_MAX == 24576
    monkeypatch.setitem(texts._OF, Terms, ("terms", len(whole)))
    read_terms(encode_text(Terms.model_validate(TERMS)))
    monkeypatch.setitem(texts._OF, Terms, ("terms", len(whole) - 1))
    for call in (lambda: read_terms(whole), lambda: encode_text(Terms.model_validate(TERMS))):
        with pytest.raises(PaperError, match="the terms take"):
            call()


def test_documents_of_terms() -> None:
    document = Document(kind="dpia", digest="11" * 32)
    most = texts.DOCUMENTS_MAX
    read_terms(encode_text(Terms.model_validate(TERMS | {"documents": [document] * most})))
    encoded = canonical(
        TERMS | {"documents": [document.model_dump(exclude_none=True)] * (most + 1)}
    )
    with pytest.raises(PaperError, match="documents"):
        read_terms(encoded)


def test_so_many_models_can_be_released_and_no_more() -> None:
    models = tuple(f"{number:064x}" for number in range(RELEASES_MAX + 1))
    terms = Terms(name="a", purpose="0" * 64, task=TaskTerms(name="digits"), releases=models[1:])
    assert read_terms(encode_text(terms)) == terms
    with pytest.raises(ValidationError, match="at most 64"):
        Terms(name="a", purpose="0" * 64, task=TaskTerms(name="digits"), releases=models)
    # Charters that release nothing are those of before, byte by byte.
    assert b"releases" not in encode_text(
        Terms(name="a", purpose="0" * 64, task=TaskTerms(name="digits"))
    )
