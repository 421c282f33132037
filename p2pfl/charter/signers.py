"""What signs with a governance key: the key itself, or a command of the operator's own.

A command gets the bytes to be signed on its standard input and writes the signature on its standard
output: 64 bytes (Ed25519; P-256 as r and s, 32 bytes each, big-endian), or for P-256 the DER form
that openssl and most key services give. Nothing of it is believed: the signature is checked with
the public key before it goes anywhere. What the command says on standard error is shown when it
fails. Its standard input ends after the message; to ask for a PIN it opens the terminal (/dev/tty).
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from p2pfl.charter.errors import PaperError
from p2pfl_crypto.governance import (
    P256_ORDER,
    SIGNATURE_BYTES,
    GovernanceKey,
    InvalidGovernance,
    verify,
    with_low_s,
)

DEADLINE_S = 120.0
"""Long enough to fetch a card and type a PIN."""

DEADLINE_S_MAX = 3600.0
OUTPUT_BYTES_MAX = 4096
"""Of what a command writes, on each of its two ways out; a signature has 64 to 72."""

_COMPLAINT_MAX = 300  # Characters of its last complaint that are shown.


class Signer(Protocol):
    """Signs with one governance key."""

    @property
    def key(self) -> GovernanceKey:
        """The public key."""

    def sign(self, message: bytes) -> bytes:
        """Sign; 64 bytes, checked.

        Raises:
            PaperError: there is no signature of this key; the message says why.
        """


@dataclass(frozen=True, slots=True)
class KeySigner:
    """Signs with a key that is here.

    Attributes:
        key: the public key.
        secret: 32 bytes: an Ed25519 seed, or a P-256 scalar.
    """

    key: GovernanceKey
    secret: bytes = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """Sign; 64 bytes."""
        if self.key.kind == "ed25519":
            signature = Ed25519PrivateKey.from_private_bytes(self.secret).sign(message)
        else:
            private = ec.derive_private_key(int.from_bytes(self.secret), ec.SECP256R1())
            signature = _raw(private.sign(message, ec.ECDSA(hashes.SHA256())))
        return _checked(self.key, signature, message, "the key")


@dataclass(frozen=True, slots=True)
class CommandSigner:
    """Signs by a command.

    Attributes:
        key: the public key.
        words: the command and its options; no shell reads them.
        deadline_s: how long it may take; then it is ended (without a terminal, with all that it
            started).
        place: the folder that it runs in: that of the key file.
    """

    key: GovernanceKey
    words: tuple[str, ...]
    deadline_s: float
    place: Path

    def sign(self, message: bytes) -> bytes:
        """Sign; 64 bytes."""
        name = self.words[0]
        output = _run(self.words, message, self.deadline_s, self.place)
        if self.key.kind == "p256" and len(output) != SIGNATURE_BYTES:
            with contextlib.suppress(ValueError):  # Told below, by its length.
                output = _raw(output)
        if len(output) != SIGNATURE_BYTES:
            raise PaperError(
                f"the signer {name} gave {len(output)} bytes, which are no {self.key.kind}"
                " signature"
            )
        return _checked(self.key, output, message, f"the signer {name}")


def _raw(der: bytes) -> bytes:
    r, s = decode_dss_signature(der)
    if max(r, s) >= P256_ORDER:
        raise ValueError("no P-256 signature")
    return r.to_bytes(32) + s.to_bytes(32)


def _checked(key: GovernanceKey, signature: bytes, message: bytes, who: str) -> bytes:
    try:
        if key.kind == "p256":
            signature = with_low_s(signature)
        verify(key, signature, message)
    except InvalidGovernance:
        raise PaperError(
            f"{who} gave a signature that is not of {key.kind}:{key.public.hex()}: it signs with"
            " another key, or something else"
        ) from None
    return signature


def _run(words: tuple[str, ...], message: bytes, deadline_s: float, place: Path) -> bytes:
    name = words[0]
    # Who sits at the terminal may be asked there, which only the terminal's own group may do.
    group = None if sys.stdin is not None and sys.stdin.isatty() else 0
    try:
        process = subprocess.Popen(  # noqa: S603  The operator's own words, and no shell.
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=place,
            process_group=group,
        )
    except OSError as error:
        raise PaperError(f"the signer {name} cannot be started: {error.strerror}") from None
    try:
        output, complaint = _exchange(process, message, deadline_s, name)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            if group is None:
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        process.wait()
    if process.returncode:
        lines = complaint.decode("utf-8", "replace").split()
        said = " ".join(lines)[-_COMPLAINT_MAX:]
        raise PaperError(
            f"the signer {name} failed with exit code {process.returncode}"
            + (f": {said}" if said else "")
        )
    return output


def _exchange(
    process: "subprocess.Popen[bytes]", message: bytes, deadline_s: float, name: str
) -> tuple[bytes, bytes]:
    """Write the message and read both ways out to their ends, within time and bounds."""
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    assert stdin is not None
    assert stdout is not None
    assert stderr is not None
    with contextlib.suppress(BrokenPipeError):
        stdin.write(message)  # Far shorter than a pipe holds: this waits for nobody.
        stdin.close()
    read: dict[int, bytearray] = {stdout.fileno(): bytearray(), stderr.fileno(): bytearray()}
    ends_s = time.monotonic() + deadline_s
    too_late = PaperError(f"the signer {name} took longer than {deadline_s:g} s, and was ended")
    with selectors.DefaultSelector() as selector:
        for descriptor in read:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, ends_s - time.monotonic()))
            if not ready:
                raise too_late
            for key, _ in ready:
                piece = os.read(key.fd, OUTPUT_BYTES_MAX)
                if not piece:
                    selector.unregister(key.fd)
                read[key.fd] += piece
                if key.fd == stdout.fileno() and len(read[key.fd]) > OUTPUT_BYTES_MAX:
                    raise PaperError(
                        f"the signer {name} wrote more than {OUTPUT_BYTES_MAX} bytes, which is no"
                        " signature"
                    )
                del read[key.fd][:-OUTPUT_BYTES_MAX]
    try:
        process.wait(max(0.0, ends_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise too_late from None
    return bytes(read[stdout.fileno()]), bytes(read[stderr.fileno()])
