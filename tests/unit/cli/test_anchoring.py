"""`p2pfl ledger anchor | anchors`, with a time-stamp service made by openssl."""

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from calling import Ended, P2pfl
from ledger_group import two_epochs

from p2pfl.cli import anchoring
from p2pfl.cli.token_certificates import with_certificates_in_order
from p2pfl.store.acts import ACTS_FILE
from p2pfl.store.journal import Store

pytest.importorskip("rfc3161_client")
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")

from certified_peers import journal_of  # noqa: E402  It is for who can run these.

_, _, HISTORY = two_epochs()

SERVICE = """
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""


def openssl(folder: Path, *words: str) -> None:
    done = subprocess.run(["openssl", *words], check=False, capture_output=True, cwd=folder)
    assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a root, a time-stamp certificate and the settings of a service."""
    folder = tmp_path_factory.mktemp("tsa")
    subject = ["-nodes", "-newkey", "rsa:2048"]
    openssl(folder, "req", "-x509", *subject, "-keyout", "root.key", "-out", "root.pem",
            "-subj", "/CN=root", "-days", "3650")  # fmt: skip
    openssl(folder, "req", *subject, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=tsa")
    (folder / "use").write_text(
        "extendedKeyUsage = critical,timeStamping\nkeyUsage = critical,digitalSignature\n"
    )
    openssl(folder, "x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key",
            "-CAcreateserial", "-out", "tsa.pem", "-days", "3650", "-extfile", "use")  # fmt: skip
    (folder / "serial").write_text("01\n")
    (folder / "service").write_text(SERVICE.format(folder=folder))
    return folder


def answer(service: Path, query: Path, to: Path, config: str = "service") -> None:
    openssl(service, "ts", "-reply", "-config", config, "-queryfile", str(query.resolve()),
            "-out", str(to.resolve()))  # fmt: skip


@pytest.fixture
def peer(p2pfl: P2pfl) -> Path:
    assert p2pfl("peer", "init", "berlin", "--listen", "/ip4/127.0.0.1/tcp/4001").code == 0
    with Store.open(Path("berlin/journal")) as store:
        store.persist(journal_of(HISTORY))
    return Path("berlin")


def fails(ended: Ended, said: str) -> None:
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


def anchored(p2pfl: P2pfl, service: Path) -> Path:
    asked = p2pfl("ledger", "anchor", "berlin")
    assert asked.code == 0, asked.err
    assert "wrote berlin/anchors/8.tsq" in asked.out
    answer(service, Path("berlin/anchors/8.tsq"), Path("answer.tsr"))
    kept = p2pfl("ledger", "anchor", "berlin", "--answer", "answer.tsr")
    assert kept.code == 0, kept.err
    assert "anchored round 8 at 20" in kept.out
    return Path("berlin/anchors/8.tsr")


@pytest.mark.usefixtures("peer")
def test_a_record_is_anchored_by_hand(p2pfl: P2pfl, service: Path) -> None:
    anchored(p2pfl, service)
    root = str(service / "root.pem")
    shown = p2pfl("ledger", "anchors", "berlin", "--root", root)
    assert shown.code == 0, shown.out + shown.err
    assert f"round 8, entry {HISTORY.head.head.entry.hex()[:16]}: there by 20" in shown.out
    fails(p2pfl("ledger", "anchor", "berlin", "--answer", "answer.tsr"), "waits for no answer")


@pytest.fixture
def with_root(service: Path) -> str:
    """Settings of the service by which it sends its root's certificate after its own."""
    settings = SERVICE.format(folder=service) + f"certs = {service}/root.pem\n"
    (service / "with root").write_text(settings)
    return "with root"


@pytest.mark.usefixtures("peer")
def test_an_answer_with_certificates_in_no_order_is_taken(
    p2pfl: P2pfl, service: Path, with_root: str
) -> None:
    """As openssl sends them: the service's own first, then its root's, which is shorter."""
    assert p2pfl("ledger", "anchor", "berlin").code == 0
    answer(service, Path("berlin/anchors/8.tsq"), Path("answer.tsr"), config=with_root)
    sent = Path("answer.tsr").read_bytes()
    kept = p2pfl("ledger", "anchor", "berlin", "--answer", "answer.tsr")
    assert kept.code == 0, kept.err
    stamp = Path("berlin/anchors/8.tsr").read_bytes()
    assert stamp != sent
    assert with_certificates_in_order(stamp) == stamp
    root = str(service / "root.pem")
    assert "there by 20" in p2pfl("ledger", "anchors", "berlin", "--root", root).out


@pytest.mark.usefixtures("peer")
def test_sorting_certificates_weakens_no_check(
    p2pfl: P2pfl, service: Path, with_root: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A stamp of such a service proves nothing by another's root, nor with a bit changed."""
    assert p2pfl("ledger", "anchor", "berlin").code == 0
    answer(service, Path("berlin/anchors/8.tsq"), Path("answer.tsr"), config=with_root)
    assert p2pfl("ledger", "anchor", "berlin", "--answer", "answer.tsr").code == 0
    other = tmp_path_factory.mktemp("other")
    openssl(other, "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-keyout", "root.key",
            "-out", "root.pem", "-subj", "/CN=root", "-days", "3650")  # fmt: skip
    told = p2pfl("ledger", "anchors", "berlin", "--root", str(other / "root.pem"))
    assert (told.code, "proves nothing" in told.out) == (1, True)
    stamp = Path("berlin/anchors/8.tsr")
    content = bytearray(stamp.read_bytes())
    content[-1] ^= 1  # Of the signature, which comes last.
    stamp.write_bytes(content)
    told = p2pfl("ledger", "anchors", "berlin", "--root", str(service / "root.pem"))
    assert (told.code, "proves nothing" in told.out) == (1, True)


@pytest.mark.parametrize("cut", [1, 3, 40, 700])
def test_what_is_no_answer_is_left_as_it_is(service: Path, with_root: str, cut: int) -> None:
    """So that who reads it says what is wrong; a length of another form is none, too."""
    openssl(service, "ts", "-query", "-data", "service", "-cert", "-out", "query.tsq")
    answer(service, service / "query.tsq", service / "any.tsr", config=with_root)
    whole = (service / "any.tsr").read_bytes()
    assert with_certificates_in_order(whole) != whole
    for damaged in (whole[:cut], whole[:-cut], b"\x30\x80" + whole, b"\x30\x89" + whole):
        assert with_certificates_in_order(damaged) == damaged


@pytest.fixture
def address(service: Path, tmp_path: Path) -> Iterator[str]:
    """The same service behind an address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = tmp_path / "query.tsq"
            query.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            answer(service, query, tmp_path / "reply.tsr")
            self.send_response(200)
            self.end_headers()
            self.wfile.write((tmp_path / "reply.tsr").read_bytes())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("peer")
def test_a_service_is_asked_by_its_address(p2pfl: P2pfl, address: str) -> None:
    ended = p2pfl("ledger", "anchor", "berlin", "--service", address)
    assert ended.code == 0, ended.err
    assert "anchored round 8 at 20" in ended.out
    again = p2pfl("ledger", "anchor", "berlin", "--service", address)
    fails(again, "round 8 is anchored already")


@pytest.mark.usefixtures("peer")
def test_a_service_that_is_not_there_is_told(p2pfl: P2pfl) -> None:
    anchor = ("ledger", "anchor", "berlin")
    fails(p2pfl(*anchor, "--service", "ftp://x"), "is no address of a time-stamp service")
    fails(p2pfl(*anchor, "--service", "http://127.0.0.1:9"), "does not answer")
    fails(p2pfl(*anchor, "--service", "http://x", "--answer", "y"), "exclude each other")


@pytest.mark.usefixtures("peer")
def test_what_is_no_answer_is_refused(
    p2pfl: P2pfl, service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert p2pfl("ledger", "anchor", "berlin").code == 0
    take = ("ledger", "anchor", "berlin", "--answer", "answer.tsr")
    fails(p2pfl(*take), "cannot read answer.tsr")
    Path("answer.tsr").write_bytes(b"no stamp")
    fails(p2pfl(*take), "the answer is no time stamp (RFC 3161)")
    # A stamp of something else, and one of an earlier request for the same bytes.
    Path("other").write_bytes(b"other")
    openssl(Path(), "ts", "-query", "-data", "other", "-sha512", "-cert", "-out", "other.tsq")
    answer(service, Path("other.tsq"), Path("answer.tsr"))
    fails(p2pfl(*take), "the answer is to another request")
    answer(service, Path("berlin/anchors/8.tsq"), Path("answer.tsr"))
    assert p2pfl("ledger", "anchor", "berlin").code == 0  # Another nonce.
    fails(p2pfl(*take), "the answer is to another request")
    answer(service, Path("berlin/anchors/8.tsq"), Path("answer.tsr"))
    size = Path("answer.tsr").stat().st_size
    monkeypatch.setattr(anchoring, "ANSWER_BYTES_MAX", size - 1)
    fails(p2pfl(*take), f"the answer has more than {size - 1} bytes")
    monkeypatch.setattr(anchoring, "ANSWER_BYTES_MAX", size)
    assert p2pfl(*take).code == 0


@pytest.mark.usefixtures("peer")
def test_a_stamp_that_proves_nothing_is_told(p2pfl: P2pfl, service: Path, tmp_path: Path) -> None:
    fails(p2pfl("ledger", "anchors", "berlin", "--root", str(service / "root.pem")), "no anchors")
    stamp = anchored(p2pfl, service)
    show = ("ledger", "anchors", "berlin", "--root")
    openssl(tmp_path, "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-keyout", "k", "-out",
            "other.pem", "-subj", "/CN=root")  # fmt: skip
    ended = p2pfl(*show, "other.pem")
    assert ended.code == 1
    assert "the token proves nothing" in ended.out
    fails(p2pfl(*show, "none.pem"), "cannot read none.pem")
    fails(p2pfl(*show, "answer.tsr"), "holds no certificates in PEM")
    content = stamp.with_suffix(".json").read_bytes()
    stamp.with_suffix(".json").write_bytes(content.replace(b'"round": 8', b'"round": 9'))
    ended = p2pfl(*show, str(service / "root.pem"))
    assert ended.code == 1
    assert "the token proves nothing" in ended.out


@pytest.mark.usefixtures("peer")
def test_acts_that_were_cut_off_after_a_stamp_are_told(p2pfl: P2pfl, service: Path) -> None:
    from datetime import UTC, datetime

    from p2pfl.store.acts import Act, add_act

    folder = Path("berlin")
    for number in range(2):
        add_act(folder, Act("charter approved", datetime.now(UTC), {"charter": str(number)}))
    anchored(p2pfl, service)
    show = ("ledger", "anchors", "berlin", "--root", str(service / "root.pem"))
    add_act(folder, Act("charter approved", datetime.now(UTC), {"charter": "2"}))
    assert p2pfl(*show).code == 0
    lines = (folder / ACTS_FILE).read_bytes().splitlines(keepends=True)
    (folder / ACTS_FILE).write_bytes(lines[0])
    ended = p2pfl(*show)
    assert ended.code == 1
    assert "the operator's acts that were stamped are not in acts.jsonl" in ended.out
