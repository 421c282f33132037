"""Named limits of charters' papers that the tests of their modules do not name."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from p2pfl.charter import keys, pkcs11, signers, texts
from p2pfl.charter.cards import MemberForm
from p2pfl.charter.errors import PaperError
from p2pfl.charter.keys import write_command
from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.identity import Identity

KEY = GovernanceKey("ed25519", Identity(bytes(32)).public_key)


def test_seconds_of_a_signer(tmp_path: Path) -> None:
    write_command(tmp_path / "a", KEY, ["sign"], deadline_s=signers.DEADLINE_S_MAX)
    with pytest.raises(PaperError, match=r"command\.deadline_s"):
        write_command(tmp_path / "b", KEY, ["sign"], deadline_s=signers.DEADLINE_S_MAX + 1)


def test_bytes_of_a_message_to_pkcs11_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pkcs11-tool").touch(0o700)
    pin = tmp_path / "pin"
    pin.touch(0o600)
    pin.write_text("1234\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    message = tmp_path / "message"
    message.write_bytes(bytes(pkcs11._MESSAGE_BYTES_MAX + 1))
    with message.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(SystemExit) as ended:
            pkcs11.main(["module.so", "--id", "01", "--pin-file", str(pin), "ed25519"])
    assert ended.value.code == 2
    assert "a message of more than 1024 bytes is none of ours" in capsys.readouterr().err


def test_bytes_of_a_free_text() -> None:
    governance = {"threshold": 1, "keys": [keys.key_text(KEY)]}
    form = {
        "name": "berlin",
        "peer_id": Identity(bytes(31) + b"\1").peer_id,
        "addresses": ["/dns4/berlin.example/tcp/4001"],
        "governance": governance,
    }
    MemberForm.model_validate(form | {"contact": "x" * texts.TEXT_CHARACTERS_MAX})
    with pytest.raises(ValidationError, match="at most 10000 characters"):
        MemberForm.model_validate(form | {"contact": "x" * (texts.TEXT_CHARACTERS_MAX + 1)})
