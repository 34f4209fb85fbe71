"""Several TOML files that are one configuration: their order, what may not be, and where it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.config import ConfigError, Loaded, load
from heartbus.config.convert import to_toml
from heartbus.config.digest import config_digest
from heartbus.config.origin import origins
from heartbus.file_watch import FileWatch

MAIN = """\
include = "conf.d/*.toml"
[[directors]]
name = "linuxha1"
[[directors]]
name = "linuxha2"
[[membership.links]]
kind = "bcast"
interface = "eth1"
[membership.authentication]
signing_key = 1
[[membership.authentication.keys]]
id = 1
secret = "a-secret-of-sixteen-or-more"
[[groups]]
name = "vip"
preferred = "linuxha1"
resources = ["192.0.2.100/24"]
"""


def service(port: int) -> str:
    return f'[[virtual_services]]\naddress = "192.0.2.100:{port}"\ncheck = {{ type = "off" }}\n'


def files(tmp_path: Path, included: dict[str, str], main: str = MAIN) -> Path:
    for name, text in {"heartbus.toml": main, **included}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    return tmp_path / "heartbus.toml"


def read(tmp_path: Path, included: dict[str, str], main: str = MAIN) -> Loaded:
    return load(str(files(tmp_path, included, main)), root=str(tmp_path))


def refused(tmp_path: Path, included: dict[str, str], main: str = MAIN) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, included, main)
    return str(error.value).replace(f"{tmp_path}/", "").splitlines()


def test_files_are_joined_in_the_order_of_their_names(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {
            "conf.d/20-mail.toml": service(25),
            "conf.d/10-web.toml": service(80) + service(443),
            "conf.d/30-vip.toml": "[vip]\nlifetime = 9\n[membership]\ndeadtime = 3\n",
            "conf.d/.hidden.toml": "nonsense",
            "conf.d/README": "nonsense",
            "conf.d/old.toml.bak": "nonsense",
        },
        MAIN + service(22),
    )
    ports = [s.endpoint.port for s in found.cluster.virtual_services]
    assert ports == [22, 80, 443, 25]
    assert found.cluster.vip.lifetime_s == 9
    assert found.cluster.membership.timers.deadtime_s == 3
    assert [Path(name).name for name in found.included] == [
        "10-web.toml",
        "20-mail.toml",
        "30-vip.toml",
    ]


def test_it_means_what_one_file_would(tmp_path: Path) -> None:
    joined = read(tmp_path, {"conf.d/a.toml": service(80), "conf.d/b.toml": service(25)})
    (tmp_path / "one").mkdir()
    again = read(tmp_path / "one", {}, MAIN.partition("\n")[2] + service(80) + service(25))
    assert config_digest(joined.cluster) == config_digest(again.cluster)
    written = tmp_path / "written.toml"
    written.write_text(to_toml(joined.cluster))
    written.chmod(0o600)
    assert config_digest(load(str(written)).cluster) == config_digest(joined.cluster)


def test_every_value_has_the_file_and_line_that_it_came_from(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {
            "conf.d/a.toml": service(80),
            "conf.d/b.toml": f"# two lines\n\n{service(25)}[vip]\nlifetime = 9\n",
        },
    )
    places = {o.key: o.place for o in origins(found.cluster, found.places)}

    def where(key: str) -> tuple[str, int | None]:
        place = places[key]
        assert place is not None
        return Path(place.file).name, place.line

    assert where("directors[1].name") == ("heartbus.toml", 5)
    assert where("virtual_services[0].address") == ("a.toml", 2)
    assert where("virtual_services[1].address") == ("b.toml", 4)
    assert where("virtual_services[1].check.type") == ("b.toml", 5)
    assert where("vip.lifetime") == ("b.toml", 7)
    assert places["vip.refresh"] is None


def test_a_value_in_two_files_is_refused_with_both_places(tmp_path: Path) -> None:
    assert refused(
        tmp_path,
        {
            "conf.d/a.toml": "[vip]\nlifetime = 9\n",
            "conf.d/b.toml": "[vip]\nrefresh = 1\nlifetime = 8\n",
        },
    ) == [
        "conf.d/b.toml:3: vip.lifetime: 8 is given in conf.d/a.toml:2 too; allowed is one of the"
        " two"
    ]
    assert refused(tmp_path, {"conf.d/a.toml": "directors = 7\n", "conf.d/b.toml": ""}) == [
        "conf.d/a.toml:1: directors: 7 is given in heartbus.toml:2 too; allowed is one of the two"
    ]


def test_a_mistake_in_an_included_file_has_its_place(tmp_path: Path) -> None:
    assert refused(tmp_path, {"conf.d/a.toml": service(80), "conf.d/b.toml": service(0)}) == [
        "conf.d/b.toml:2: virtual_services[0].address: port 0 (every port) without persistent: the"
        " kernel would serve nothing; allowed is persistent = SECONDS beside it, or a port"
    ]
    assert refused(tmp_path, {"conf.d/b.toml": service(80) + "colour = 1\n"})[0].startswith(
        "conf.d/b.toml:4: virtual_services[0].colour: unknown key; allowed is "
    )
    assert refused(tmp_path, {"conf.d/b.toml": "= 1\n"}) == [
        "conf.d/b.toml:1: no TOML: Invalid statement; allowed is TOML 1.0"
    ]
    assert refused(tmp_path, {"conf.d/b.toml": 'include = "more"\n'}) == [
        "conf.d/b.toml:1: include: in a file that is included itself; allowed is in heartbus.toml"
        " only"
    ]


def test_a_secret_in_an_included_file_is_held_to_the_mode_of_that_file(tmp_path: Path) -> None:
    key = '[[membership.authentication.keys]]\nid = 2\nsecret = "another-one-of-sixteen"\n'
    main = files(tmp_path, {"conf.d/key.toml": key})
    (tmp_path / "conf.d" / "key.toml").chmod(0o644)
    with pytest.raises(ConfigError, match=r"key.toml:3: .*mode 644.*chmod 600 .*key.toml"):
        load(str(main))
    (tmp_path / "conf.d" / "key.toml").chmod(0o600)
    assert len(load(str(main)).cluster.membership.authentication.keys) == 2


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ('"no-such.toml"', "no-such.toml: cannot be read: No such file or directory"),
        ('"conf.d"', "conf.d: cannot be read: Is a directory"),
        ('"*/a.toml"', "heartbus.toml:1: include: '*/a.toml' is not allowed; allowed is a file"),
        ('"conf.d/"', "heartbus.toml:1: include: 'conf.d/' is not allowed; allowed is a file"),
        ("7", "heartbus.toml:1: include: 7 is not allowed; allowed is a list"),
        ("[7]", "heartbus.toml:1: include[0]: 7 is not allowed; allowed is text"),
        ('["conf.d/a.toml", "conf.d/*.toml"]', "heartbus.toml:1: include: conf.d/a.toml is incl"),
    ],
)
def test_what_cannot_be_included_is_refused(tmp_path: Path, written: str, why: str) -> None:
    main = MAIN.replace('"conf.d/*.toml"', written, 1)
    said = refused(tmp_path, {"conf.d/a.toml": service(80)}, main)
    assert said[0].startswith(why), said


def test_a_pattern_may_match_nothing_and_says_so(tmp_path: Path) -> None:
    found = read(tmp_path, {})
    assert [str(d).replace(f"{tmp_path}/", "") for d in found.diagnostics] == [
        "heartbus.toml:1: include: 'conf.d/*.toml': no such file, so nothing is included"
    ]


def test_the_file_itself_is_not_included_by_its_own_pattern(tmp_path: Path) -> None:
    main = MAIN.replace("conf.d/*.toml", "*.toml", 1)
    found = read(tmp_path, {"more.toml": service(80)}, main)
    assert [Path(name).name for name in found.included] == ["more.toml"]


def test_a_file_more_is_noticed_by_the_watch(tmp_path: Path) -> None:
    found = read(tmp_path, {"conf.d/a.toml": service(80)})
    watch = FileWatch()
    assert watch.look(found.files) == dict(found.files)
    (tmp_path / "conf.d" / "b.toml").write_text(service(81))
    changed = watch.look(found.files)
    assert [name for name in changed if changed[name] != found.files[name]] == [
        str(tmp_path / "conf.d")
    ]


def test_more_files_than_anybody_has_are_refused(tmp_path: Path) -> None:
    main = files(tmp_path, {})
    (tmp_path / "conf.d").mkdir()
    for number in range(1001):
        (tmp_path / "conf.d" / f"{number}.toml").touch()
    with pytest.raises(ConfigError, match="1001 files; at most 1000 are included"):
        load(str(main))
