"""A governance key in a hardware module, by pkcs11-tool of OpenSC.

    python -m p2pfl.charter.pkcs11 MODULE --id HEX [--token NAME] [--pin-file FILE] KIND

signs what is on its standard input (for P-256 its SHA-256, since not every module hashes by
itself); `p2pfl charter key FILE --pkcs11 MODULE --id HEX` notes such a command in a key file. Keys
are told apart by id: pkcs11-tool takes no notice of a label when it signs. The PIN is the first
line of a file, or is asked at the terminal. It goes to pkcs11-tool by the environment, so that no
list of processes shows it.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from getpass import getpass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from p2pfl.charter.errors import PaperError
from p2pfl.store.errors import KeyFileError
from p2pfl.store.passphrases import read_passphrase
from p2pfl_crypto.governance import GovernanceKey

TOOL = "pkcs11-tool"
_PIN = "P2PFL_PKCS11_PIN"
_MECHANISMS = {"ed25519": ["EDDSA"], "p256": ["ECDSA", "--signature-format", "rs"]}
_MESSAGE_BYTES_MAX = 1024  # pkcs11-tool takes no longer ones; ours have 49.
_DEADLINE_S = 60.0


def signing_words(
    module: Path, key_id: str, token: str | None, pin_file: Path | None, kind: str
) -> list[str]:
    """Return the command that a key file is to hold."""
    words = [sys.executable, "-m", "p2pfl.charter.pkcs11", str(module), "--id", key_id]
    if token is not None:
        words += ["--token", token]
    if pin_file is not None:
        words += ["--pin-file", str(pin_file.resolve())]
    return [*words, kind]


def read_public_key(module: Path, key_id: str, token: str | None) -> GovernanceKey:
    """Ask a module for the public key of that id, hexadecimal.

    Raises:
        PaperError: pkcs11-tool or the key is not there, or the key is of another kind.
    """
    words = [*_tool(module, key_id, token), "--read-object", "--type", "pubkey"]
    try:
        done = subprocess.run(  # noqa: S603  The operator's own words.
            words, check=False, capture_output=True, timeout=_DEADLINE_S
        )
    except subprocess.TimeoutExpired:
        raise PaperError(f"{TOOL} took longer than {_DEADLINE_S:g} s") from None
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise PaperError(f"{TOOL} finds no public key {key_id} in {module}: {said[-200:]}")
    try:
        # Older versions of the tool give Ed25519 keys as PEM.
        is_pem = done.stdout.startswith(b"-----")
        key = (load_pem_public_key if is_pem else load_der_public_key)(done.stdout)
    except (ValueError, UnsupportedAlgorithm):
        raise PaperError(f"the key {key_id} of {module} is in a form that is not known") from None
    if isinstance(key, Ed25519PublicKey):
        return GovernanceKey("ed25519", key.public_bytes_raw())
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        return GovernanceKey("p256", point)
    raise PaperError(f"the key {key_id} of {module} is neither Ed25519 nor P-256")


def main(given: Sequence[str] | None = None) -> None:
    """Become pkcs11-tool, which signs its standard input; exit code 2 and one line if not."""
    parser = argparse.ArgumentParser(prog="p2pfl.charter.pkcs11", description=__doc__)
    parser.add_argument("module", type=Path)
    parser.add_argument("--id", required=True, dest="key_id")
    parser.add_argument("--token")
    parser.add_argument("--pin-file", type=Path)
    parser.add_argument("kind", choices=sorted(_MECHANISMS))
    options = parser.parse_args(given)
    try:
        words = _tool(options.module, options.key_id, options.token)
        pin = _pin(options.pin_file, options.key_id)
    except (PaperError, KeyFileError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    message = sys.stdin.buffer.read(_MESSAGE_BYTES_MAX + 1)
    if len(message) > _MESSAGE_BYTES_MAX:
        print(f"a message of more than {_MESSAGE_BYTES_MAX} bytes is none of ours", file=sys.stderr)
        sys.exit(2)
    if options.kind == "p256":
        message = hashlib.sha256(message).digest()
    reading, writing = os.pipe()
    os.write(writing, message)  # Far shorter than a pipe holds.
    os.close(writing)
    os.dup2(reading, sys.stdin.fileno())
    words += ["--sign", "--login", "--pin", f"env:{_PIN}", "--mechanism"]
    words += _MECHANISMS[options.kind]
    os.execve(words[0], words, {**os.environ, _PIN: pin})  # noqa: S606


def _tool(module: Path, key_id: str, token: str | None) -> list[str]:
    tool = shutil.which(TOOL)
    if tool is None:
        raise PaperError(f"there is no {TOOL} here; install OpenSC")
    words = [tool, "--module", str(module), "--id", key_id]
    return words if token is None else [*words, "--token-label", token]


def _pin(file: Path | None, key_id: str) -> str:
    if file is not None:
        return read_passphrase(file).decode("utf-8", "surrogateescape")
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))  # Else getpass eats the message.
    except OSError:
        raise PaperError("there is no terminal to ask for the PIN; use --pin-file") from None
    return getpass(f"PIN for key {key_id}: ")


if __name__ == "__main__":
    main()
