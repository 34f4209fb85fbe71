"""What is odd or wrong in an ldirectord file is said, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.common.config_samples import remarks
from tests.common.config_samples.ldirectord import section, with_file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "checktimeout=500ms\n",
            "warning l.cf:1: checktimeout: '500ms' is taken as 0.5 s, as it is written; ldirectord"
            " takes the digits alone: 500 s",
        ),
        (
            "checkinterval=0\n",
            "error l.cf:1: checkinterval: '0' is not allowed; allowed is whole seconds without a"
            " unit, such as 3",
        ),
        ("quiescent=on\n", "error l.cf:1: quiescent: 'on' is not allowed; allowed is yes or no"),
        (
            "quiescent=yes # was no\n",
            "warning l.cf:1: quiescent: text after the value is left out; ldirectord reads it as"
            " value",
        ),
        (
            "autoreload=yes // 说明\n",
            "warning l.cf:1: autoreload: text after the value is left out; ldirectord reads it as"
            " value",
        ),
        (
            "quiescent=yes\r\n",
            "warning l.cf:1: lines end in CR LF; ldirectord refuses yes and no there",
        ),
        (
            "emailalert=root\n",
            "warning l.cf:1: emailalert: known to ldirectord, not used by this version: no mails"
            " yet",
        ),
        (
            "supervised\n",
            "warning l.cf:1: supervised: known to ldirectord, not used by this version: services"
            " always stay in the foreground",
        ),
        (
            "shceduler=rr\n",
            "error l.cf:1: shceduler: no directive of ldirectord; did you mean scheduler?",
        ),
        ("nonsense\n", "error l.cf:1: nonsense: no directive of ldirectord; allowed is name=value"),
        (
            "scheduler=rr\n",
            "error l.cf:1: scheduler: belongs to a virtual service; allowed is below virtual=",
        ),
        (
            "timeout=3\n",
            "error l.cf:1: timeout: ldirectord refuses it today; allowed are checktimeout and"
            " negotiatetimeout",
        ),
        (
            "virtual=192.168.7.110\n",
            "error l.cf:1: virtual: '192.168.7.110' is not allowed; allowed is an address with a"
            " port, such as 192.168.7.110:80 (ldirectord would serve firewall mark 192)",
        ),
        (
            "virtual=1\n\tprotocol=tcp\n",
            "error l.cf:2: protocol: tcp for virtual=1; allowed is fwm, or no such line",
        ),
        (
            section("protocol=fwm"),
            "error l.cf:2: protocol: fwm for virtual=192.168.7.110:80; allowed is tcp or udp",
        ),
        (
            "virtual=4294967296\n",
            "error l.cf:1: virtual: '4294967296' is not allowed; allowed is a whole number from 1"
            " to 4294967295",
        ),
        (
            "virtual6=10.0.0.1:80\n",
            "error l.cf:1: virtual6: '10.0.0.1:80' is not allowed; allowed is an IPv6 address in"
            " brackets with a port, such as [2001:db8::1]:80, or a mark",
        ),
        (
            "virtual6=[2001:db8::1]:80\n\treal=[2001:db8::2]:80 gate\n",
            "warning l.cf:2: real: ldirectord wants real6 here; taken all the same",
        ),
        (
            section("ops=yes"),
            "warning l.cf:2: ops: without effect for tcp, as in ldirectord: udp only",
        ),
        (
            section("real=10.0.0.2::8080 masq"),
            "warning l.cf:2: real: two colons: taken as 10.0.0.2:8080, as it is meant; ldirectord"
            " takes 8080 for the host, a server of another address",
        ),
        (
            section("service=pop"),
            "note l.cf:2: service: without login the greeting of the server is awaited; ldirectord"
            " passes with nothing listening",
        ),
        (
            section(port="21"),
            "note l.cf:1: virtual: without receive the server must accept the login; ldirectord"
            " passes with nothing listening",
        ),
        (
            section("service=dns", 'request="www.x.org"', "real=10.0.0.1:53 gate"),
            "note l.cf:2: service: without receive any address in the answer passes; with"
            " ldirectord none does",
        ),
        (
            section("service=mysql", 'login="x"'),
            "note l.cf:2: service: no request: 'SELECT 1' is asked; ldirectord counts every real"
            " server as down",
        ),
        (
            section("service=pgsql", 'request="SELECT 1"'),
            "error l.cf:2: service: missing; pgsql asks who logs in",
        ),
        (
            section("service=radius", 'login="x"'),
            "error l.cf:2: service: missing; radius needs login and secret",
        ),
        (
            section("service=https", "virtualhost=x.org"),
            "note l.cf:2: service: the certificate is not verified, as in ldirectord and"
            " virtualhost is sent as SNI; the TOML form has tls.verify",
        ),
        (
            section("service=ldap", "checktimeout=2", "negotiatetimeout=3"),
            "note l.cf:2: service: bounded by negotiatetimeout; ldirectord takes checktimeout here",
        ),
        (
            section("checktype=connect", "protocol=udp"),
            "note l.cf:2: checktype: a udp service has nothing to connect to: ping, as in"
            " ldirectord",
        ),
        (
            section("checktype=external"),
            "note l.cf:2: checktype: no checkcommand: /bin/true is run, as in ldirectord; it always"
            " passes",
        ),
        (
            section("checktype=external", "checkcommand=/bin/sh -c true"),
            "note l.cf:3: checkcommand: the program is /bin/sh, the words after it are its first"
            " arguments; ldirectord takes the whole value as the name of the program",
        ),
        (
            section("checktype=external", 'checkcommand="true"'),
            "error l.cf:3: checkcommand: 'true' is not allowed; allowed is an absolute path",
        ),
        (
            section("checktype=external", "checkcommand=/no/such"),
            "warning l.cf:3: checkcommand: no program '/no/such' here; on a director without it no"
            " verdict changes",
        ),
        (
            section(r'receive="a(?{die})"'),
            "error l.cf:2: receive: 'a(?{die})' cannot be translated: (?{ } runs Perl code",
        ),
        (
            section('login="x"'),
            "warning l.cf:2: login: without effect: a negotiate http check does not use it",
        ),
        (
            section("checktype=conect"),
            "error l.cf:2: checktype: 'conect' is not allowed; allowed is one of connect,"
            " negotiate, ping, off, on, external, external-perl or a number; did you mean connect?",
        ),
        (
            section("request=/x"),
            "error l.cf:2: request: '/x' is not allowed; allowed is text in double quotes:"
            ' "text"',
        ),
        (
            section('receive="a("'),
            "error l.cf:2: receive: 'a(' is no regular expression (missing ) at position 2);"
            " allowed are Perl's",
        ),
        (
            section('receive="(?u)Test.Page"'),
            "error l.cf:2: receive: '(?u)Test.Page' is no regular expression (cannot use UNICODE"
            " flag with a bytes pattern); allowed are Perl's",
        ),
        (
            section('receive="(?P<gr\u00fcn>x)"'),
            "error l.cf:2: receive: '(?P<gr\u00fcn>x)' is no regular expression (bad character in"
            " group name at position 9); allowed are Perl's",
        ),
        (
            section('request="http://www.example.com/x"'),
            "error l.cf:2: request: 'http://www.example.com/x' is a whole URL, which this version"
            " does not ask for; allowed is a path such as /.testpage: the real server and its port"
            " (or checkport) are asked, virtualhost gives the host name",
        ),
        (
            section('request="/"', 'real=10.0.0.1:80 gate "http://10.0.0.1:81/x" "y"'),
            "error l.cf:3: real: 'http://10.0.0.1:81/x' is a whole URL, which this version"
            " does not ask for; allowed is a path such as /.testpage: the real server and its port"
            " (or checkport) are asked, virtualhost gives the host name",
        ),
        (
            section("real=10.0.0.1:80"),
            "error l.cf:2: real: '10.0.0.1:80' is not allowed; allowed is a server and gate,"
            " masq or ipip, such as 192.168.7.11:80 gate",
        ),
        (
            section("real=10.0.0.1 gate"),
            "warning l.cf:2: real: no port; taken as 80, as virtual= has it",
        ),
        (
            section("real=10.0.0.1:81 gate"),
            "warning l.cf:2: real: 10.0.0.1:81: with gate a packet keeps its port, so clients reach"
            " port 80; only masq can change it",
        ),
        (
            section("real=www1.x.org:80 gate"),
            "error l.cf:2: real: 'www1.x.org': no such name in /etc/hosts, and no name server is"
            " asked, so that all directors read the same; allowed is a name there, or an address",
        ),
        (
            section("real=10.0.0.2->10.0.0.1:80 gate"),
            "error l.cf:2: real: '10.0.0.2->10.0.0.1:80' is not allowed; allowed is a range upwards"
            " of at most 1024 servers",
        ),
        (
            section("netmask=255.255.255.0"),
            "warning l.cf:2: netmask: without persistent it has no effect, as in ldirectord",
        ),
        (
            section("checkinterval=3"),
            "warning l.cf:2: checkinterval: left out here, as in ldirectord without fork=yes; the"
            " global one counts",
        ),
        (
            section() + section(),
            "error l.cf:2: virtual: tcp:192.168.7.110:80 is served already by l.cf:1; a virtual"
            " service is defined once",
        ),
        (
            "virtual=192.168.7.111:80\n",
            "warning l.cf:1: virtual: no address of the group '192.168.7.110/24' is 192.168.7.111;"
            " clients reach this service only where something else holds it",
        ),
        (
            "virtual=192.168.7.110:80\nscheduler=rr\n",
            "warning l.cf:2: scheduler: the line is not indented; ldirectord refuses that, here it"
            " belongs to the virtual= of line 1",
        ),
        (
            "virtual=192.168.7.110:80\n\n\tscheduler=rr\n",
            "warning l.cf:3: scheduler: ldirectord ends the section at the blank line above; here"
            " the line belongs to the virtual= of line 1",
        ),
        (
            "  quiescent=yes\n",
            "warning l.cf:1: quiescent: indented; ldirectord refuses that, taken as a global"
            " setting",
        ),
    ],
)
def test_what_is_said_about_an_ldirectord_file(tmp_path: Path, text: str, words: str) -> None:
    place = tmp_path / "ha.d"
    said = [line.replace(f"{place}/", "") for line in remarks(tmp_path, with_file(text))]
    assert words in said
