"""`p2pfl ledger anchor | anchors`: when a record was there, by a time-stamp service (RFC 3161).

A record holds no times. A token of a time-stamp service proves that the newest entry, all that it
rests on, and the operator's acts were there at that time. Tokens lie beside the record and change
nothing in it:

    DIR/anchors/ROUND.json    what was stamped: group, head, digest of the operator's last act
    DIR/anchors/ROUND.tsq     the request, with a nonce
    DIR/anchors/ROUND.tsr     the service's answer
"""

import hashlib
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from cryptography import x509

from p2pfl.cli.errors import DIFFERENT, BadInput
from p2pfl.cli.ledgers import read_ledger
from p2pfl.cli.token_certificates import with_certificates_in_order
from p2pfl.store.acts import ACTS_FILE, chain_digests, read_acts
from p2pfl.store.errors import StoreError
from p2pfl.store.files import PRIVATE, create_file, replace_file
from p2pfl_gossip.ledger.entries import EntryStep
from p2pfl_gossip.ledger.participation import entries_of
from p2pfl_gossip.ledger.record import DamagedRecord, read_record

ANCHORS = "anchors"
ANSWER_BYTES_MAX = 64 * 1024
"""Of a service: a token with a few certificates has some 5 KB."""

_DEADLINE_S = 30.0


def anchor_ledger(peer: Path, *, service: str | None, answer: Path | None) -> None:
    """Stamp the newest entry: ask a service, take an answer from a file, or write a request."""
    library = _library()
    if service is not None and answer is not None:
        raise BadInput("--service and --answer exclude each other; give one")
    if answer is not None:
        _take(peer, answer)
        return
    document = _document(peer)
    content = json.dumps(document, sort_keys=True).encode()
    place = peer / ANCHORS / str(document["round"])
    request = (
        library.TimestampRequestBuilder()
        .data(content)
        .nonce(nonce=True)
        .cert_request(cert_request=True)
        .build()
        .as_bytes()
    )
    try:
        place.parent.mkdir(mode=0o700, exist_ok=True)
        replace_file(place.with_suffix(".json"), content, mode=PRIVATE)
        replace_file(place.with_suffix(".tsq"), request, mode=PRIVATE)
    except OSError as error:
        raise BadInput(f"cannot write {place}.tsq: {error.strerror}") from None
    if service is None:
        print(f"wrote {place}.tsq: hand it to a time-stamp service, and its answer to")
        print(f"  p2pfl ledger anchor {peer} --answer FILE")
        return
    _keep(place, _ask(service, request))


def show_anchors(peer: Path, root: Path) -> int:
    """Check all tokens of a peer's record; return the exit code."""
    library = _library()
    try:
        certificates = x509.load_pem_x509_certificates(root.read_bytes())
    except OSError as error:
        raise BadInput(f"cannot read {root}: {error.strerror}") from None
    except ValueError:
        raise BadInput(f"{root} holds no certificates in PEM") from None
    try:
        history = read_record(read_ledger(peer))
    except DamagedRecord as error:
        raise BadInput(f"the ledger of {peer} is damaged: {error}") from None
    heads = {EntryStep(entry).head.entry.hex(): entry for entry in entries_of(history)}
    group, digests = history.epochs[0].group.hex(), _act_digests(peer)
    stamped = sorted((peer / ANCHORS).glob("*.tsr"), key=lambda path: int(path.stem))
    if not stamped:
        raise BadInput(f"{peer} has no anchors; p2pfl ledger anchor {peer} makes one")
    code = 0
    for path in stamped:
        try:
            content = path.with_suffix(".json").read_bytes()
            document = json.loads(content)
            response = library.decode_timestamp_response(path.read_bytes())
            builder = library.VerifierBuilder(roots=list(certificates))
            builder.build().verify_message(response, content)
            at = response.tst_info.gen_time
        except OSError as error:
            raise BadInput(f"cannot read {path}: {error.strerror}") from None
        except (ValueError, library.VerificationError) as error:
            print(f"{path}: the token proves nothing: {' '.join(str(error).split())}")
            code = DIFFERENT
            continue
        fault = None
        if document.get("group") != group or document.get("entry") not in heads:
            fault = "what was stamped is not in this record"
        elif document.get("acts") not in digests:
            fault = f"the operator's acts that were stamped are not in {ACTS_FILE}"
        if fault:
            print(f"{path}: {fault}")
            code = DIFFERENT
            continue
        entry = f"round {document['round']}, entry {document['entry'][:16]}"
        print(f"{entry}: there by {at:%Y-%m-%d %H:%M:%S} UTC")
    return code


def _document(peer: Path) -> dict[str, Any]:
    try:
        history = read_record(read_ledger(peer))
        _, acts = read_acts(peer)
    except DamagedRecord as error:
        raise BadInput(f"the ledger of {peer} is damaged: {error}") from None
    except StoreError as error:
        raise BadInput(str(error)) from None
    head = history.head.head
    return {
        "acts": acts,
        "entry": head.entry.hex(),
        "epoch": head.epoch,
        "group": history.epochs[0].group.hex(),
        "round": head.round,
    }


def _act_digests(peer: Path) -> set[str]:
    """Return the digest of the chain after each act, and before the first."""
    try:
        return set(chain_digests(peer))
    except StoreError as error:
        raise BadInput(str(error)) from None


def _take(peer: Path, answer: Path) -> None:
    waiting = sorted(
        (path for path in (peer / ANCHORS).glob("*.tsq") if not path.with_suffix(".tsr").exists()),
        key=lambda path: int(path.stem),
    )
    if not waiting:
        raise BadInput(f"{peer} waits for no answer; run p2pfl ledger anchor {peer} first")
    try:
        with answer.open("rb") as file:
            content = file.read(ANSWER_BYTES_MAX + 1)
    except OSError as error:
        raise BadInput(f"cannot read {answer}: {error.strerror}") from None
    _keep(waiting[-1].with_suffix(""), content)


def _keep(place: Path, content: bytes) -> None:
    """Keep an answer, if it is one to the request: the same bytes stamped, the same nonce."""
    library = _library()
    if len(content) > ANSWER_BYTES_MAX:
        raise BadInput(f"the answer has more than {ANSWER_BYTES_MAX} bytes")
    content = with_certificates_in_order(content)
    try:
        response = library.decode_timestamp_response(content)
    except ValueError:
        raise BadInput("the answer is no time stamp (RFC 3161)") from None
    if response.status != 0:
        why = ", ".join(response.status_string) or "no reason given"
        raise BadInput(f"the service has refused: {why}")
    request = place.with_suffix(".tsq").read_bytes()
    if not _answers(response, request, place.with_suffix(".json").read_bytes()):
        raise BadInput("the answer is to another request than the last one")
    try:
        create_file(place.with_suffix(".tsr"), content, mode=PRIVATE)
    except FileExistsError:
        raise BadInput(f"round {place.name} is anchored already") from None
    except OSError as error:
        raise BadInput(f"cannot write {place}.tsr: {error.strerror}") from None
    at = response.tst_info.gen_time
    print(f"anchored round {place.name} at {at:%Y-%m-%d %H:%M:%S} UTC: {place}.tsr")


def _answers(response: Any, request: bytes, content: bytes) -> bool:
    nonce = response.tst_info.nonce
    imprint = response.tst_info.message_imprint.message
    is_ours = nonce is not None and nonce.to_bytes((nonce.bit_length() + 7) // 8) in request
    digests = (hashlib.sha512(content).digest(), hashlib.sha256(content).digest())
    return is_ours and imprint in digests


def _ask(service: str, request: bytes) -> bytes:
    if not service.startswith(("http://", "https://")):
        raise BadInput(f"{service} is no address of a time-stamp service: http:// or https://")
    asking = urllib.request.Request(  # noqa: S310  The scheme is one of two.
        service, data=request, headers={"Content-Type": "application/timestamp-query"}
    )
    try:
        with urllib.request.urlopen(asking, timeout=_DEADLINE_S) as answer:  # noqa: S310
            content: bytes = answer.read(ANSWER_BYTES_MAX + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise BadInput(f"the time-stamp service {service} does not answer: {reason}") from None
    return content


def _library() -> Any:
    try:
        import rfc3161_client
    except ImportError:
        raise BadInput(
            "this needs the library rfc3161-client: pip install 'p2pfl-peer[anchors]'"
        ) from None
    return rfc3161_client
