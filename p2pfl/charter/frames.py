"""Studies: groups of some members of another one, whose cards and terms they take over.

A study is a group with a charter of its own, that names its frame by the digest of the frame's
charter (`under`). Its members are the frame's by name, controller and governance keys; their peers
may be others. It takes over what the frame says of the agreement, of documents and of the record.
"""

from collections.abc import Iterator
from typing import Any

from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.errors import PaperError
from p2pfl.charter.form import ERASED, CharterForm
from p2pfl.charter.making import form_of

TAKEN_OVER = ("agreement", "retention_days", "notice_days")
"""What a study takes over where it says nothing itself."""


def under_frame(form: CharterForm, frame: CharterFile, names: frozenset[str]) -> CharterForm:
    """Return what a study agrees on, with what it takes over.

    Documents of the frame, and of members that are in the study, and what the frame requires, come
    beside the study's own.

    Args:
        form: of the study.
        frame: the charter that it is under.
        names: of its members.

    Raises:
        PaperError: it cannot be under that one; the message says what to change.
    """
    if frame.is_draft or frame.is_network:
        raise PaperError("a study is under the charter of a group that all founders have shown")
    digest = frame.digest.hex()
    if form.under not in (None, digest):
        raise PaperError(
            f"under is {form.under[:16]} in the TOML, and the frame's charter is {digest[:16]}"
        )
    above = form_of(frame)
    changes: dict[str, Any] = {
        name: getattr(above, name) for name in TAKEN_OVER if name not in form.model_fields_set
    }
    if str(changes.get("agreement", "")).startswith(ERASED):
        raise PaperError(
            "the frame's agreement was erased in this file: say it in the TOML, or take a file of"
            " the frame that has it"
        )
    documents = [it for it in above.documents if it.of is None or it.of in names]
    changes["documents"] = (*(it for it in documents if it not in form.documents), *form.documents)
    changes["require"] = tuple(dict.fromkeys((*above.require, *form.require)))
    return form.model_copy(update=changes | {"under": digest})


def faults_under(study: CharterFile, frame: CharterFile) -> Iterator[str]:
    """Say in what a study is not under a frame: nothing, if it is.

    Args:
        study: its charter.
        frame: the charter that it names, or is said to name.
    """
    if study.terms.under != frame.digest.hex():
        named = "none" if study.terms.under is None else study.terms.under[:16]
        yield f"the charter that it is under is {named}, not {frame.digest.hex()[:16]}"
    above = {member.name: member for member in frame.charter.members}
    names = {member.name for member in study.charter.members}
    for member in study.charter.members:
        known = above.get(member.name)
        if known is None:
            yield f"{member.name} is no member of the frame"
        elif member.controller != known.controller:
            yield f"{member.name} has another controller than in the frame: {known.controller}"
        elif member.governance != known.governance:
            yield f"{member.name} has other governance keys than in the frame, or another threshold"
    missing = sorted(set(frame.terms.require) - set(study.terms.require))
    if missing:
        yield f"the frame requires the document {missing[0]}, and the study does not"
    for it in frame.terms.documents:
        if (it.of is None or it.of in names) and it not in study.terms.documents:
            yield f"the document {it.kind} of {it.of or 'the group'} is the frame's, and not here"


def require_under(study: CharterFile, frame: CharterFile) -> None:
    """Check that a study is under a frame.

    Raises:
        PaperError: it is not; the message names the first fault.
    """
    for fault in faults_under(study, frame):
        raise PaperError(f"it is no study under that frame: {fault}")
