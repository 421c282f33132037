"""In words: what a charter changes in the one before it."""

from collections.abc import Iterator, Mapping
from typing import Any

from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.form import moment
from p2pfl.charter.making import form_of
from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.identity import peer_id_of
from p2pfl_gossip.ledger.charter import NEW_STATE, CharterMember

SHOWN_CHARACTERS_MAX = 120
"""Of a value; free texts are longer."""


def changes(before: CharterFile, after: CharterFile) -> list[str]:
    """Tell what changes from one charter to another, a line each; none if nothing does."""
    return [
        *_start(after),
        *_members(before, after),
        *_documents(before, after),
        *_settings(before, after),
    ]


def _start(after: CharterFile) -> Iterator[str]:
    start = after.charter.start
    if start == NEW_STATE:
        yield "another model begins, and heights begin again: from its first state"
    elif start is not None:
        yield (
            f"the model goes back to that of round {start.round} (epoch {start.epoch}), and"
            " heights begin again: what was learnt since is in no later model"
        )


def _members(before: CharterFile, after: CharterFile) -> Iterator[str]:
    old = {member.name: member for member in before.charter.members}
    new = {member.name: member for member in after.charter.members}
    for name, member in new.items():
        if name not in old:
            keys = f"{member.governance.threshold} of {len(member.governance.keys)} keys"
            yield (
                f"{name} joins: for {member.controller}, weight {member.weight:g}, {keys}, peer"
                f" {peer_id_of(member.key)}"
            )
    for name in old:
        if name not in new:
            yield f"{name} leaves"
    for name in new:
        if name in old:
            yield from _member(old[name], new[name])
    if [name for name in old if name in new] != [name for name in new if name in old]:
        yield "the members stand in another order"


def _member(old: CharterMember, new: CharterMember) -> Iterator[str]:
    name = new.name
    if old.key != new.key:
        yield f"{name}: another peer key: {peer_id_of(old.key)} -> {peer_id_of(new.key)}"
    if old.controller != new.controller:
        yield f"{name}: decided for by {new.controller}, no more by {old.controller}"
    if old.weight != new.weight:
        yield f"{name}: weight {old.weight:g} -> {new.weight:g}"
    for key in new.governance.keys:
        if key not in old.governance.keys:
            yield f"{name}: new governance key {GovernanceKey.read(key).fingerprint}"
    for key in old.governance.keys:
        if key not in new.governance.keys:
            yield f"{name}: governance key {GovernanceKey.read(key).fingerprint} counts no more"
    if old.governance.threshold != new.governance.threshold:
        yield (
            f"{name}: it takes {new.governance.threshold} keys to approve in its name, no more"
            f" {old.governance.threshold}"
        )


def _documents(before: CharterFile, after: CharterFile) -> Iterator[str]:
    for word, these, others in (
        ("new", after.terms.documents, before.terms.documents),
        ("no more", before.terms.documents, after.terms.documents),
    ):
        for it in these:
            if it not in others:
                until = "" if it.until is None else f", until {moment(it.until):%Y-%m-%d}"
                of = "the group" if it.of is None else it.of
                yield f"document {it.kind} of {of}, {it.digest[:16]}{until}: {word}"


def _settings(before: CharterFile, after: CharterFile) -> Iterator[str]:
    old, new = _flat_form(before), _flat_form(after)
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield f"{name}: {_shown(old.get(name))} -> {_shown(new.get(name))}"
    items = before.charter.state, after.charter.state
    if after.charter.start is None and items[0] != items[1]:
        yield "the first state: another one"


def _flat_form(file: CharterFile) -> dict[str, Any]:
    """Return settings by name; what other lines tell is left out."""
    document = form_of(file).model_dump(by_alias=True, exclude_none=True)
    members = document.pop("members")
    del document["documents"]
    document["addresses"] = {it["name"]: list(it["addresses"]) for it in members}
    document["contacts"] = {it["name"]: it["contact"] for it in members if "contact" in it}
    return dict(_flatten(document, ""))


def _flatten(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key in value:
            yield from _flatten(value[key], f"{name}.{key}" if name else key)
    else:
        yield name, value


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    text = "".join(it if it.isprintable() else " " for it in str(value))
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}..."
