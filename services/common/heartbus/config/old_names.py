"""Every directive of ldirectord.cf and ha.cf: value, default and meaning, for ``config explain``.

Sans-I/O. What became of each in heartbus is not said here but found: the keys of the TOML form name
their old directives, and the grammars say why a directive is not acted on. A test compares the
names with the grammars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LDIRECTORD: Final = "ldirectord.cf"
HA_CF: Final = "ha.cf"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldDirective:
    """One directive of an old program. ``value`` has the unit, ``default`` that of the program."""

    file: str
    name: str
    value: str
    default: str
    text: str


def _table(file: str, rows: str) -> tuple[OldDirective, ...]:
    """Return the rows of a text table: name | value | default | meaning."""
    found = []
    for row in rows.strip().splitlines():
        name, value, default, text = (cell.strip() for cell in row.split("|"))
        found.append(OldDirective(file=file, name=name, value=value, default=default, text=text))
    return tuple(found)


_LDIRECTORD_ROWS: Final = """
virtual | IPv4:PORT, or a mark N | | opens a virtual service
virtual6 | [IPv6]:PORT, or a mark N | | opens a virtual service of IPv6
real | HOST[->HOST2][:PORT] METHOD [WEIGHT] ["REQ","RECV"] [l:N] [u:N] | | real servers
real6 | as real | | a real server of a virtual6 service
checktimeout | seconds | negotiatetimeout, or 5 | bound of connect, ping and external checks
negotiatetimeout | seconds | checktimeout, or 30 | bound of negotiate checks
checkinterval | seconds | 10 | pause between two rounds; within a service with fork=yes only
checkcount | count | 1 | attempts of one ping check
failurecount | count | 1 | failures in a row that take a server out
autoreload | yes/no | no | watch the file and load it again
callback | "path" | none | program that is run after the file was changed
fallback | HOST[:PORT] [METHOD] | none | answers while no real server is up
fallback6 | as fallback | none | fallback of virtual6 services
fallbackcommand | command | none | run with start when no server is up, with stop when one is back
logfile | "path" or "facility" | /var/log/ldirectord.log | where the log goes
emailalert | addresses | none | whom changes are mailed to
emailalertfrom | address | the system's | sender of these mails
emailalertfreq | seconds | 0: once | how often a mail is repeated while a server is down
emailalertstatus | states | all | in which states of the program mails are sent
smtp | host | the local mailer | where mails are given to
execute | name of a file | none | another ldirectord file that is run beside this one
supervised | yes/no | no | stay in the foreground
fork | yes/no | no | one checking process per virtual service
quiescent | yes/no | no (yes before 2009) | a failed server stays with weight 0 instead of leaving
readdquiescent | yes/no | no | add failed servers with weight 0 at start
cleanstop | yes/no | yes | empty the table at stop
maintenancedir | directory | off | a file named after a server there takes it out
checktype | a word, or N: N connects after each negotiate | negotiate | how servers are checked
service | ftp, http, … | by the port | what a negotiate check speaks
checkcommand | "path" | /bin/true | program of external checks
checkport | port | that of the real server | where checks go
request | "text" | / | what a negotiate check asks for
receive | "regex" | empty | what the answer must contain
httpmethod | GET or HEAD | GET | method of http checks
virtualhost | name | the address | Host header of http checks
login | "text" | empty | user name of a check
passwd | "text" | empty | password of a check
database | "text" | empty | database of an SQL check
secret | "text" | empty | shared secret of a radius check
load | "text" | | read and never used
scheduler | word | wrr | the kernel's algorithm that picks a real server
schedflags | word | none | flags of the scheduler
persistent | seconds | off | a client stays with its server for so long
netmask | 255.255.255.0 | 255.255.255.255 | clients within it count as one
protocol | tcp, udp, fwm | tcp (udp for port 53) | transport
ops | yes/no | no | each UDP packet is scheduled by itself
monitorfile | path | none | log of the checks of one service
servicename | text | none | name of the service in mails
comment | text | none | remark in mails
timeout | seconds | | an old name; ldirectord refuses it today
connecttimeout | seconds | | ignored by ldirectord of 2003, refused today
sitename | text | | known to ldirectord of 2003 alone
"""

_HA_CF_ROWS: Final = """
node | names | required | the directors
keepalive | seconds, or 500ms | 1 s | between two heartbeats
deadtime | seconds, or 500ms | 30 s | silence after which a director is dead
warntime | seconds, or 500ms | deadtime / 2 | silence after which a warning is logged
initdead | seconds, or 500ms | deadtime, at least 10 to 12 s | instead of deadtime after the start
deadping | seconds, or 500ms | deadtime | silence after which a ping node is down
auto_failback | on, off, legacy | legacy | whether the preferred director takes its groups back
nice_failback | on/off | off | Heartbeat 1.0: on = no failback; 1.2 to 3 do the opposite
hopfudge | 0 to 255 | 1 | a message passes at most nodes + hopfudge lines
baud | speed | 19200 | of the serial lines below it
serial | devices | | heartbeats over serial lines
bcast | interfaces | | heartbeats by broadcast
udp | interfaces | | an old name of bcast
ucast | interface peer | | heartbeats to one peer
ucast6 | interface peer | | heartbeats to one peer over IPv6
mcast | interface group port ttl loop | | heartbeats to a multicast group
mcast6 | interface group port ttl loop | | heartbeats to a multicast group of IPv6
udpport | port | 694 | of the bcast and ucast below it
ping | hosts | | hosts that are asked whether we are connected
ping6 | hosts | | the same over IPv6
ping_group | name hosts | | several that count as one
hbaping | name | | ping over fibre channel
respawn | user command | | a program that is kept running; ends for good with exit code 100
failfast | user command | | a program whose end restarts the host
apiauth | client [uid=] [gid=] | | who may use the client interface
watchdog | device | off | resets the host when heartbeat hangs
stonith | type file | | how a dead node is turned off
stonith_host | host type parameters | | how one node is turned off
logfile | path | /var/log/ha-log | the log
debugfile | path | /var/log/ha-debug | the debug log
logfacility | facility | | log to syslog
use_logd | on/off | | log by the daemon ha_logd
conn_logd_time | seconds | 60 s | how often that daemon is tried
syslogmsgfmt | on/off | on | format of log files
log_badpack | on/off | on | log malformed packets
debug | 0 to 255 | 0 | more of the log
realtime | on/off | on | real-time scheduling, memory locked
rtprio | priority | the middle | of real-time scheduling
hbgenmethod | file/time | file | where the number of a start comes from
msgfmt | classic/netstring | classic | format of messages
compression | zlib/bz2 | zlib | of big messages
compression_threshold | KB | 2 | from which size on
traditional_compression | on/off | off | compress the whole message
max_rexmit_delay | milliseconds | 250 | spacing of requests for lost messages
autojoin | none/other/any | none | nodes that nobody named may join
uuidfrom | file/nodename | file | how a node gets its UUID
cluster | name | linux-ha | the name of the cluster
quorum_server | host | | a third vote
crm | on/off/respawn/… | off | let pacemaker manage resources
pacemaker | on/off/respawn/… | off | another name of crm
crm_daemon_dir | path | | where pacemaker's programs are
crmd_spawns_pengine | on/off | | how pacemaker starts its parts
coredumps | on/off | on | dump core
coreroot | path | | where cores go
env | NAME=value | | environment of children
memreserve | KB | 6500 | memory that is taken at the start
record_config_changes | on/off | on | of pacemaker
record_pengine_inputs | on/off | on | of pacemaker
enable_config_writes | on/off | on | of pacemaker
use_apphbd | on/off | off | be watched by apphbd
normalpoll | on/off | on | how it waits
ppp-udp | | | a medium of Heartbeat 1.0
"""

OLD_DIRECTIVES: Final = _table(LDIRECTORD, _LDIRECTORD_ROWS) + _table(HA_CF, _HA_CF_ROWS)
