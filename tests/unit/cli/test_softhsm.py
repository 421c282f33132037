"""Governance keys in a hardware module: SoftHSM, by pkcs11-tool of OpenSC."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from calling import P2pfl

from p2pfl.charter.errors import PaperError
from p2pfl.charter.keys import read_public, read_signer
from p2pfl_crypto.governance import verify

MODULES = [
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    *Path("/usr/lib").glob("*/softhsm/libsofthsm2.so"),
    Path("/opt/homebrew/lib/softhsm/libsofthsm2.so"),
]
MODULE = next((path for path in MODULES if path.exists()), None)

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        MODULE is None or not shutil.which("softhsm2-util") or not shutil.which("pkcs11-tool"),
        reason="no SoftHSM or no pkcs11-tool here: ./scripts/setup-interop --hsm",
    ),
]

KEY_TYPES = {"p256": "EC:prime256v1", "ed25519": "EC:edwards25519"}
IDS = {"p256": "0a01", "ed25519": "0a02"}


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A token of SoftHSM in a folder of its own, with a key of each kind."""
    (tmp_path / "tokens").mkdir()
    configuration = tmp_path / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(configuration))
    pin = tmp_path / "pin"
    pin.touch(0o600)
    pin.write_text("648219\n")
    run("softhsm2-util", "--init-token", "--free", "--label", "group", "--pin", "648219",
        "--so-pin", "12345678")  # fmt: skip
    for kind, key_type in KEY_TYPES.items():
        run("pkcs11-tool", "--module", str(MODULE), "--token-label", "group", "--login",
            "--pin", "648219", "--keypairgen", "--key-type", key_type, "--label", kind,
            "--id", IDS[kind])  # fmt: skip
    return pin


def run(*words: str) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr


def make(p2pfl: P2pfl, kind: str, pin: Path) -> Path:
    path = pin.parent / f"{kind}.key"
    made = p2pfl(
        "charter", "key", str(path), "--pkcs11", str(MODULE), "--id", IDS[kind],
        "--token", "group", "--pin-file", str(pin), "--deadline", "60",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert f"{kind}:" in made.out
    return path


@pytest.mark.parametrize("kind", KEY_TYPES)
def test_a_key_in_a_module_signs(p2pfl: P2pfl, token: Path, kind: str) -> None:
    path = make(p2pfl, kind, token)
    key, is_sealed = read_public(path)
    assert (key.kind, is_sealed) == (kind, False)
    signer = read_signer(path, lambda: b"")
    for message in (b"\0" * 32, bytes(range(32)), b"longer " * 40):
        verify(key, signer.sign(message), message)


def test_a_wrong_pin_is_told(p2pfl: P2pfl, token: Path) -> None:
    signer = read_signer(make(p2pfl, "p256", token), lambda: b"")
    token.write_text("000000\n")
    with pytest.raises(PaperError, match=r"failed with exit code 1: .*CKR_PIN_INCORRECT"):
        signer.sign(bytes(32))


@pytest.mark.usefixtures("token")
def test_a_key_that_is_not_there_is_told(p2pfl: P2pfl) -> None:
    ended = p2pfl(
        "charter", "key", "a.key", "--pkcs11", str(MODULE), "--id", "0a03", "--token", "group"
    )
    assert ended.code == 2
    assert "pkcs11-tool finds no public key 0a03" in ended.err
