"""Keys and certificates of the bus as files: made, changed, damaged; what the server is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from heartbus.bus_certificates import CLOCKS_DIFFER, make_ca, make_certificate
from heartbus.bus_keys import Key, KeyFileError, for_people, new_seed, public_of
from heartbus.config import load
from heartbus.model import Director as DirectorSettings
from heartbus.rights import SERVICES, Role
from heartbus.up.bus_security import read_security, remarks
from heartbus.up.director import Configuration, assemble
from heartbus.up.nats_config import configuration
from tests.common.secured import NODE, PEER, WITNESS, Director

NATS_SERVER = Path(sys.executable).with_name("nats-server")


@pytest.fixture
def director(tmp_path: Path) -> Director:
    return Director(tmp_path)


def accepted_by_nats(conf: Path) -> str:
    done = subprocess.run(
        [NATS_SERVER, "-c", conf, "-t"], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def written(director: Director) -> str:
    security = read_security(director.keys, director.cluster)
    return configuration(director.cluster, director.node, security)


# --- what is made --------------------------------------------------------------------------------


def test_each_user_has_a_key_that_is_private_to_it(director: Director) -> None:
    director.init("--user=observer-grafana")
    users = {*SERVICES, "operator", "observer", "observer-grafana"}
    assert {entry.name for entry in director.keys.iterdir()} == users
    seeds = {director.seed(user) for user in users}
    assert len(seeds) == len(users)
    for user in users:
        file = director.keys / user / "seed"
        assert file.stat().st_mode & 0o037 == 0  # at most readable to a group
        assert public_of(director.seed(user), file) in (director.keys / user / "public").read_text()
    assert (director.keys / "vip" / "seed").stat().st_mode & 0o777 == 0o400
    assert (director.keys / "operator" / "seed").stat().st_mode & 0o777 == 0o400


def test_what_is_there_stays(director: Director) -> None:
    director.init()
    before = {path: path.read_text() for path in director.keys.rglob("*") if path.is_file()}
    assert "no new keys" in director.init().output
    after = {path: path.read_text() for path in director.keys.rglob("*") if path.is_file()}
    assert after == before


def test_a_witness_has_a_membership_alone(tmp_path: Path) -> None:
    witness = Director(tmp_path, WITNESS)
    witness.init()
    assert {e.name for e in witness.keys.iterdir()} == {"membership", "operator", "observer"}
    text = written(witness)
    assert "command.judge.vip.reload" in text  # it writes what is pushed


def test_nats_server_takes_the_configuration_with_and_without_keys(director: Director) -> None:
    done = director.write()
    assert "every process of this host may speak" in done.stderr
    accepted_by_nats(director.conf)
    assert "nkey" not in director.conf.read_text()
    director.init("--ca")
    done = director.write()
    assert done.stderr == ""
    accepted_by_nats(director.conf)
    text = director.conf.read_text()
    assert text.count("nkey: U") == len(SERVICES) + 2
    assert "host: 127.0.0.1\n" in text
    assert '  host: "127.0.0.11"\n' in text
    assert "verify: true" in text
    assert "password" not in text  # certificates prove who a director is
    for limit in ("max_payload: 8388608", "max_connections: 64", "max_pending: 16777216"):
        assert limit in text
    assert director.conf.stat().st_mode & 0o777 == 0o600


def test_only_the_users_for_a_server_of_ones_own(director: Director, tmp_path: Path) -> None:
    director.init()
    users = tmp_path / "users.conf"
    done = director.run("config", "--users", f"--output={users}")
    assert done.exit_code == 0
    own = tmp_path / "own.conf"
    own.write_text("port: -1\ninclude users.conf\n")
    accepted_by_nats(own)
    assert users.read_text().startswith("authorization {")


def test_up_with_a_nats_server_of_ones_own_starts_none(director: Director) -> None:
    for nats, started in ((None, True), ("nats://127.0.0.1:14222", False)):
        supervisor = assemble(
            loaded=load(str(director.config)),
            config=str(director.config),
            node=NODE,
            timers=None,
            runtime_dir=director.directory / "run",
            state_dir=director.directory / "state",
            bus_keys=director.keys,
            nats=nats,
            log_level="info",
        )
        names = [child.name for child in supervisor._children]
        assert ("nats-server" in names) is started
        assert {"membership", "vip", "checker", "ipvs-agent", "recorder"} <= set(names)
        conf = director.directory / "run" / "nats-server.conf"
        assert conf.exists() is started
        conf.unlink(missing_ok=True)


def test_up_says_once_that_its_bus_is_open(director: Director) -> None:
    configuration_of = Configuration(
        load(str(director.config)),
        path=str(director.config),
        timers=None,
        node=NODE,
        server=director.conf,
        bus_keys=director.keys,
    )
    with capture_logs() as logs:
        configuration_of.write_server()
        configuration_of.write_server()
    assert [line["event"] for line in logs] == ["bus.protection"]
    assert "every process of this host may speak" in logs[0]["remark"]
    director.init()
    with capture_logs() as logs:
        configuration_of.reload()
    assert director.conf.read_text().count("nkey: U") == len(SERVICES) + 2
    assert not [line for line in logs if line["event"] == "bus.protection"]


# --- certificates --------------------------------------------------------------------------------


def openssl(*words: str | Path) -> str:
    done = subprocess.run(
        ["openssl", *map(str, words)], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_certificates_are_for_the_names_and_addresses_of_all_directors(director: Director) -> None:
    said = director.init("--ca").output
    assert f"scp -rp {director.keys}/for/{PEER}/route {PEER}:{director.keys}/" in said
    for name, address, place in (
        (NODE, "127.0.0.11", director.keys),
        (PEER, "127.0.0.12", director.keys / "for" / PEER),
        (WITNESS, "127.0.0.13", director.keys / "for" / WITNESS),
    ):
        route = place / "route"
        text = openssl("x509", "-noout", "-text", "-in", route / "certificate.pem")
        assert f"DNS:{name}, IP Address:{address}" in text
        assert "TLS Web Server Authentication, TLS Web Client Authentication" in text
        openssl("verify", "-CAfile", route / "ca.pem", route / "certificate.pem")
        assert (route / "key.pem").stat().st_mode & 0o037 == 0
    assert (director.keys / "ca").stat().st_mode & 0o777 == 0o700


def test_renewed_certificates_are_of_the_same_ca(director: Director) -> None:
    director.init("--ca")
    route = director.keys / "route"
    before = (route / "certificate.pem").read_text()
    ca = (route / "ca.pem").read_text()
    assert "a new certificate" not in director.init("--ca").output
    assert "a new certificate" in director.init("--ca", "--renew").output
    assert (route / "certificate.pem").read_text() != before
    assert (route / "ca.pem").read_text() == ca
    openssl("verify", "-CAfile", route / "ca.pem", route / "certificate.pem")


def test_a_director_whose_ca_is_elsewhere_makes_none(director: Director) -> None:
    director.init("--ca")
    for file in (director.keys / "ca").iterdir():
        file.unlink()
    done = director.run("init", "--ca")
    assert done.exit_code == 3
    assert "is of a CA that is not here" in done.stderr


def test_a_certificate_that_expires_is_told_before_and_after(director: Director) -> None:
    director.init("--ca", "--days=10")
    done = director.run("check")
    assert done.exit_code == 1
    assert re.search(r"certificate\.pem expires in (9|10) days", done.stderr)
    security = read_security(director.keys, director.cluster)
    later_s = time.time() + 11 * 86400
    said = list(remarks(director.cluster, security, now_s=later_s))
    assert [s for s in said if "has expired" in s and "no VIP moves" in s]


def test_a_seed_that_everybody_may_read_is_told(director: Director) -> None:
    director.init("--ca")
    assert director.run("check").exit_code == 0
    file = director.keys / "vip" / "seed"
    file.chmod(0o444)
    done = director.run("check")
    assert done.exit_code == 1
    assert f"{file}: mode 444: every user of this host may read it" in done.stderr


# --- changing keys -------------------------------------------------------------------------------


def public_keys(director: Director, user: str) -> list[str]:
    lines = (director.keys / user / "public").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_keys_are_changed_in_three_steps_each_of_which_may_be_repeated(director: Director) -> None:
    director.init()
    old = director.seed("vip")
    for _ in range(2):
        assert director.run("rotate", "begin", configured=False).exit_code == 0
        assert len(public_keys(director, "vip")) == 2
        assert director.seed("vip") == old
    assert written(director).count("nkey: U") == 2 * (len(SERVICES) + 2)
    done = director.run("rotate", "end", configured=False)
    assert done.exit_code == 3
    assert "heartbus bus rotate switch" in done.stderr
    for _ in range(2):
        assert director.run("rotate", "switch", configured=False).exit_code == 0
        assert director.seed("vip") != old
        assert len(public_keys(director, "vip")) == 2
    for _ in range(2):
        assert director.run("rotate", "end", configured=False).exit_code == 0
        own = public_of(director.seed("vip"), director.keys)
        assert public_keys(director, "vip") == [own]


def test_a_key_that_the_server_does_not_know_is_not_switched_to(director: Director) -> None:
    director.init()
    assert director.run("rotate", "begin", "vip", configured=False).exit_code == 0
    (director.keys / "vip" / "seed.next").chmod(0o600)
    (director.keys / "vip" / "seed.next").write_text(new_seed())
    done = director.run("rotate", "switch", "vip", configured=False)
    assert done.exit_code == 3
    assert "not accepted yet" in done.stderr


def test_keys_of_nobody_are_not_changed(director: Director) -> None:
    done = director.run("rotate", "begin", "vip", configured=False)
    assert done.exit_code == 3
    assert "known: none: heartbus bus init makes them" in done.stderr


# --- damaged files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\xff\xfe", b"SUAB", b"x" * 5000, b"S" * 58],
    ids=["empty", "binary", "short", "long", "wrong"],
)
def test_a_seed_that_is_none_is_named(director: Director, garbage: bytes) -> None:
    director.init()
    file = director.keys / "vip" / "seed"
    file.chmod(0o600)
    file.write_bytes(garbage)
    with pytest.raises(KeyFileError, match=re.escape(str(file))):
        Key(director.keys, "vip").read()


def test_a_seed_with_one_wrong_letter_is_noticed(director: Director) -> None:
    with pytest.raises(KeyFileError, match="not the seed of a user"):
        public_of(with_a_wrong_letter(new_seed()), Path("seed"))


def with_a_wrong_letter(key: str) -> str:
    return key[:20] + ("A" if key[20] != "A" else "B") + key[21:]


WRONG = with_a_wrong_letter(public_of(new_seed(), Path("seed")))


@pytest.mark.parametrize(
    "damage", ["UNOTAKEY", "\0" * 60, "U" * 56, WRONG], ids=["word", "zeros", "us", "letter"]
)
def test_a_user_whose_public_key_is_damaged_is_left_out_and_the_others_are_not(
    director: Director, damage: str
) -> None:
    director.init()
    file = director.keys / "checker" / "public"
    file.write_text(f"# checker\n{damage}\n")
    done = director.write()
    assert f"{file}:2: " in done.stderr
    assert "checker is not let in" in done.stderr
    accepted_by_nats(director.conf)
    text = director.conf.read_text()
    assert text.count("nkey: U") == len(SERVICES) + 1
    assert "# checker" not in text


def test_a_bus_with_keys_does_not_become_open_when_all_are_damaged(director: Director) -> None:
    director.init()
    for user in director.keys.iterdir():
        (user / "public").write_text("garbage\n")
    director.write()
    accepted_by_nats(director.conf)
    assert director.conf.read_text().count("nkey: U") == 1  # of nobody


def test_directories_that_a_package_made_close_nothing(tmp_path: Path) -> None:
    director = Director(tmp_path)
    for user in SERVICES:
        (director.keys / user).mkdir(parents=True)
    assert not read_security(director.keys, director.cluster).users
    (director.keys / "observer" / "seed").parent.mkdir()
    (director.keys / "observer" / "seed").touch()  # somebody has begun to make keys
    assert read_security(director.keys, director.cluster).users


@pytest.mark.parametrize("what", ["missing", "garbage", "of another"])
def test_with_a_certificate_that_cannot_be_used_the_bus_stays_on_this_host(
    director: Director, what: str
) -> None:
    director.init("--ca")
    file = director.keys / "route" / "key.pem"
    if what == "missing":
        file.unlink()
    elif what == "garbage":
        file.chmod(0o600)
        file.write_bytes(os.urandom(200))
    else:
        (director.keys / "for" / PEER / "route" / "key.pem").replace(file)
    done = director.write()
    assert str(file) in done.stderr
    assert "the bus of this director stays on this host" in done.stderr
    accepted_by_nats(director.conf)
    text = director.conf.read_text()
    assert "cluster {" not in text
    assert text.count("nkey: U") == len(SERVICES) + 2


def test_a_director_that_is_called_like_a_user_does_not_get_its_answers(tmp_path: Path) -> None:
    director = Director(tmp_path)
    director.config.write_text(director.config.read_text().replace(PEER, "observer"))
    director.init()
    done = director.write()
    assert "a director is called so too" in done.stderr
    assert "# observer" not in director.conf.read_text()


# --- who looks -----------------------------------------------------------------------------------


def test_people_use_the_least_key_that_will_do(
    director: Director, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert for_people(director.keys, Role.OBSERVER, Role.OPERATOR) is None
    director.init("--user=observer-grafana")
    assert for_people(director.keys, Role.OBSERVER, Role.OPERATOR) == Key(director.keys, "observer")
    assert for_people(director.keys, Role.OPERATOR) == Key(director.keys, "operator")
    monkeypatch.setenv("HEARTBUS_BUS_USER", "observer-grafana")
    found = for_people(director.keys, Role.OBSERVER, Role.OPERATOR)
    assert found == Key(director.keys, "observer-grafana")
    assert for_people(director.keys, Role.OPERATOR) == Key(director.keys, "operator")
    (director.keys / "operator" / "seed").unlink()
    with pytest.raises(KeyFileError, match="cannot be read: run it as a user who may"):
        for_people(director.keys, Role.OPERATOR)


def test_who_may_not_even_look_for_a_key_is_told_so(director: Director) -> None:
    """As a user of the host where /etc/heartbus is closed to others."""
    director.init()
    director.directory.chmod(0o700 if os.geteuid() == 0 else 0)
    try:
        if os.geteuid() == 0:
            os.seteuid(65534)
        with pytest.raises(KeyFileError, match="run it as a user who may"):
            for_people(director.keys, Role.OBSERVER, Role.OPERATOR)
        with pytest.raises(KeyFileError, match="Permission denied"):
            Key(director.keys, "observer").read()
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        director.directory.chmod(0o700)


def test_a_certificate_is_good_although_the_other_clock_is_behind() -> None:
    now_s = time.time()
    ca = make_ca(now_s=now_s)
    made = make_certificate(ca, DirectorSettings(name="a"), now_s=now_s, days=1)
    assert CLOCKS_DIFFER.total_seconds() >= 3600
    assert "BEGIN CERTIFICATE" in made.certificate
