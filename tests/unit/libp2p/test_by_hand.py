"""`python -m p2pfl.libp2p`: listen, dial, ping, send; and what importing the package costs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-m", "p2pfl.libp2p"]
DEADLINE_S = 60


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], check=False, capture_output=True, text=True, timeout=DEADLINE_S
    )


def test_a_person_can_listen_dial_ping_and_send(tmp_path: Path) -> None:
    sent, received = tmp_path / "sent.bin", tmp_path / "received"
    sent.write_bytes(os.urandom(3_000_000))
    listening = subprocess.Popen(
        [*COMMAND, "--seed", "07" * 32, "listen", "--into", str(received)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert listening.stdout is not None
        address = listening.stdout.readline().strip()
        dialled = run("dial", address)
        assert "speaks     '/p2pfl/file/1'" in dialled.stdout, dialled
        assert run("ping", address).stdout.count(" ms\n") == 6
        done = run("send", address, str(sent))
        assert done.stdout.splitlines()[-1].startswith("sent 3000000 bytes"), done
        assert (received / "sent.bin").read_bytes() == sent.read_bytes()
        assert [path.name for path in received.iterdir()] == ["sent.bin"]
        wrong = address.rpartition("/")[0] + "/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
        refused = run("ping", wrong)
        assert refused.returncode == 1
        assert "wrong_peer_id" in refused.stderr
    finally:
        listening.send_signal(signal.SIGINT)
        assert listening.wait(DEADLINE_S) == 0
        assert listening.stdout is not None
        listening.stdout.close()


def test_importing_the_package_imports_no_torch_and_no_numpy() -> None:
    check = (
        "import sys, p2pfl.libp2p; sys.exit(bool({'torch', 'numpy', 'msgspec'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", check], check=False, timeout=DEADLINE_S).returncode
        == 0
    )
