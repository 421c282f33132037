"""A peer's settings: what is refused, and what paths mean."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w

from p2pfl.daemon.config import ConfigError, PeerConfig, PeerFolder, read_config, write_config
from p2pfl_crypto.identity import Identity

SETTINGS: dict[str, Any] = {"name": "berlin", "addresses": ["/dns4/berlin.example/tcp/4001"]}
PEER_ID = Identity(bytes(32)).peer_id


def test_settings_come_back_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    config = PeerConfig(**SETTINGS, metrics="127.0.0.1:9464", threads=2)
    write_config(tmp_path, config)
    assert PeerFolder(tmp_path).config.stat().st_mode & 0o777 == 0o600
    read = read_config(tmp_path)
    assert read == config


def test_an_operator_may_add_a_line_at_the_end(tmp_path: Path) -> None:
    """No table is written that nobody asked for: it would swallow the line."""
    write_config(tmp_path, PeerConfig(**SETTINGS))
    with (tmp_path / "peer.toml").open("a") as settings:
        settings.write('data_dir = "/data"\n')
    assert read_config(tmp_path).data_dir == Path("/data")


def test_paths_are_relative_to_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "peer").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = Path("peer")
    write_config(
        folder,
        PeerConfig(
            **SETTINGS,
            data_dir=Path("/data"),
            passphrase_file=Path("p"),
        ),
    )
    config = read_config(folder)
    monkeypatch.chdir("/")  # What was read does not depend on it.
    assert config.data_dir == Path("/data")
    assert config.passphrase_file == tmp_path / "peer" / "p"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Berlin"}, "name: "),
        ({"listen": []}, "listen: "),
        ({"listen": ["0.0.0.0:4001"]}, "listen: '0.0.0.0:4001' is not /ip4|ip6|dns"),
        ({"listen": [f"/ip4/127.0.0.1/tcp/1/p2p/{PEER_ID}"]}, "leave out /p2p"),
        ({"addresses": []}, "addresses: "),
        ({"addresses": ["/ip4/0.0.0.0/tcp/4001"]}, "addresses: /ip4/0.0.0.0/tcp/4001 is where"),
        ({"addresses": ["/ip4/127.0.0.1/tcp/0"]}, "addresses: /ip4/127.0.0.1/tcp/0 has port 0"),
        ({"threads": 0}, "threads: "),
        ({"threads": 1025}, "threads: "),
        ({"log_level": "loud"}, "log_level: "),
        ({"metrics": "9464"}, "metrics: '9464' is not HOST:PORT"),
        ({"metrics": "127.0.0.1:99999"}, "is not HOST:PORT"),
        ({"metrics": "0.0.0.0:9464"}, "is not on the loopback"),
        ({"metrics": "metrics.example:9464"}, "is not on the loopback"),
        ({"metrics": "[::]:9464"}, "is not on the loopback"),
        ({"metric": "127.0.0.1:1"}, "metric is not a known key; did you mean 'metrics'?"),
        ({"record": "often"}, "record: "),
        ({"on_waiting": "tell 'me"}, "cannot be told into words: No closing quotation"),
        ({"reached": {"oslo": ["/ip4/127.0.0.1/tcp/0"]}}, "reached: /ip4/127.0.0.1/tcp/0 has port"),
        ({"reached": {"Oslo": ["/ip4/192.0.2.1/tcp/1"]}}, "reached."),
        ({"roster": "roster.toml"}, "roster: groups go by charters now: take this line out"),
        ({"task_dir": "."}, "task_dir: groups go by charters now: take this line out"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    (tmp_path / "peer.toml").write_text(tomli_w.dumps(SETTINGS | change))
    with pytest.raises(ConfigError) as told:
        read_config(tmp_path)
    assert str(told.value).startswith(f"{tmp_path / 'peer.toml'}: ")
    assert said in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("metrics", ["127.0.0.1:9464", "127.8.8.8:0", "[::1]:9464", "localhost:1"])
def test_metrics_on_the_loopback(metrics: str) -> None:
    assert PeerConfig(**SETTINGS, metrics=metrics).metrics == metrics


def test_a_folder_without_a_peer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"there is no peer in {tmp_path}; make one with"):
        read_config(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot write .*: No such file"):
        write_config(tmp_path / "nowhere", PeerConfig(**SETTINGS))
