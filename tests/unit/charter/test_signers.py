"""Signers by a command: what is believed of them (nothing), and how they fail."""

import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from p2pfl.charter import signers
from p2pfl.charter.errors import PaperError
from p2pfl.charter.signers import CommandSigner, KeySigner
from p2pfl_crypto.governance import P256_ORDER, GovernanceKey, verify

PRIVATE = ec.derive_private_key(12345, ec.SECP256R1())
P256 = GovernanceKey(
    "p256", PRIVATE.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
)
MESSAGE = b"what is to be signed"

requires_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")


def by_python(tmp_path: Path, program: str, *, deadline_s: float = 60.0) -> CommandSigner:
    return CommandSigner(P256, (sys.executable, "-c", program), deadline_s, tmp_path)


def test_the_key_signs_in_one_form() -> None:
    signer = KeySigner(P256, (12345).to_bytes(32))
    for number in range(16):  # Half of all signatures come with a large s.
        signature = signer.sign(bytes([number]))
        verify(P256, signature, bytes([number]))
        assert int.from_bytes(signature[32:]) <= P256_ORDER // 2


@requires_openssl
def test_openssl_signs(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(
        PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    words = tuple(shlex.split("openssl dgst -sha256 -sign key.pem"))
    signer = CommandSigner(P256, words, 60.0, tmp_path)
    for _ in range(4):
        signature = signer.sign(MESSAGE)
        verify(P256, signature, MESSAGE)
        assert int.from_bytes(signature[32:]) <= P256_ORDER // 2


def test_it_gets_the_message_and_its_end(tmp_path: Path) -> None:
    program = "import sys; open('got', 'wb').write(sys.stdin.buffer.read())"
    with pytest.raises(PaperError, match="gave 0 bytes, which are no p256 signature"):
        by_python(tmp_path, program).sign(MESSAGE)
    assert (tmp_path / "got").read_bytes() == MESSAGE


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        ("import sys; sys.stdout.write('x' * 64)", "gave a signature that is not of p256:"),
        ("import sys; sys.stdout.buffer.write(bytes(64))", "gave a signature that is not of p256:"),
        ("import sys; sys.stdout.write('x' * 63)", "gave 63 bytes, which are no p256 signature"),
        ("import sys; sys.stdout.write('x' * 5000)", "wrote more than 4096 bytes"),
        (
            "import sys; sys.stderr.write('no\\n card'); sys.exit(7)",
            "failed with exit code 7: no card$",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "failed with exit code -9$"),
    ],
)
def test_what_is_no_signature_is_refused(tmp_path: Path, program: str, fault: str) -> None:
    with pytest.raises(PaperError, match=fault) as caught:
        by_python(tmp_path, program).sign(MESSAGE)
    assert "\n" not in str(caught.value)


def test_a_signature_of_another_message_is_refused(tmp_path: Path) -> None:
    signature = KeySigner(P256, (12345).to_bytes(32)).sign(b"another message")
    program = f"import sys; sys.stdout.buffer.write(bytes.fromhex({signature.hex()!r}))"
    with pytest.raises(PaperError, match="it signs with another key, or something else"):
        by_python(tmp_path, program).sign(MESSAGE)


def test_one_that_ends_early_is_no_broken_pipe(tmp_path: Path) -> None:
    with pytest.raises(PaperError, match="failed with exit code 3"):
        by_python(tmp_path, "import os; os.close(0); raise SystemExit(3)").sign(MESSAGE)


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    program = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open('child', 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    with pytest.raises(PaperError, match="took longer than 2 s, and was ended"):
        by_python(tmp_path, program, deadline_s=2.0).sign(MESSAGE)
    child = int((tmp_path / "child").read_text())
    ends_s = time.monotonic() + 60
    while Path(f"/proc/{child}/stat").exists() and time.monotonic() < ends_s:
        if Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break  # Dead; who has taken it over has not looked yet.
        os.sched_yield()
    else:
        assert not Path(f"/proc/{child}").exists()


def test_one_that_closes_its_output_and_stays_is_ended(tmp_path: Path) -> None:
    program = "import os, time; os.close(1); os.close(2); time.sleep(600)"
    with pytest.raises(PaperError, match="took longer than 1 s"):
        by_python(tmp_path, program, deadline_s=1.0).sign(MESSAGE)


def test_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    signer = CommandSigner(P256, ("no-such-signer",), 1.0, tmp_path)
    with pytest.raises(PaperError, match="the signer no-such-signer cannot be started: No such"):
        signer.sign(MESSAGE)


def test_bytes_of_a_signers_output(tmp_path: Path) -> None:
    size = signers.OUTPUT_BYTES_MAX
    program = "import sys; sys.stdout.write('x' * {})"
    with pytest.raises(PaperError, match=f"gave {size} bytes"):
        by_python(tmp_path, program.format(size)).sign(MESSAGE)
    with pytest.raises(PaperError, match=f"wrote more than {size} bytes"):
        by_python(tmp_path, program.format(size + 1)).sign(MESSAGE)


def test_characters_of_a_signers_complaint(tmp_path: Path) -> None:
    program = "import sys; sys.stderr.write('a' + 'x' * 5000); sys.exit(1)"
    with pytest.raises(PaperError) as caught:
        by_python(tmp_path, program).sign(MESSAGE)
    assert str(caught.value).endswith(": " + "x" * signers._COMPLAINT_MAX)
