"""Record what this kernel's dump says of a table that ipvsadm made.

python -m tests.lab.run -- python -m tests.ipvs_agent.record_dumps FILE
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from heartbus_ipvs_agent import wire
from heartbus_ipvs_agent.netlink import GenericNetlink
from tests.ipvs_agent.namespace import fresh_network_namespace

COMMANDS = (
    "ip link set lo up",
    "ip addr add 192.168.7.110/24 dev lo",
    "ipvsadm -A -t 192.168.7.110:80 -s rr",
    "ipvsadm -a -t 192.168.7.110:80 -r 127.0.0.1:80 -g",
    "ipvsadm -a -t 192.168.7.110:80 -r 192.168.7.110:80 -m -w 5",
    "ipvsadm -a -t 192.168.7.110:80 -r 192.168.7.11:8080 -g -w 3",
    "ipvsadm -a -t 192.168.7.110:80 -r 192.168.7.12:8080 -m -w 65535",
    "ipvsadm -a -t 192.168.7.110:80 -r 192.168.7.13:80 -i -w 0 -x 10 -y 5",
    "ipvsadm -a -t 192.168.7.110:80 -r [fd00::13]:80 -i -w 2",
    "ipvsadm -A -u 192.168.7.110:53 -s sh -o",
    "ipvsadm -A -t [fd00::1]:80 -s mh -b mh-port -p 300 -M 64",
    "ipvsadm -a -t [fd00::1]:80 -r [fd00::2]:80 -m",
    "ipvsadm -A -f 3 -s wlc -p 360 -M 255.255.255.0",
    "ipvsadm -A -f 4 -6 -s wlc",
    "ipvsadm -A --sctp-service 192.168.7.110:5000 -s sh -b sh-port,sh-fallback",
    "ipvsadm -a --sctp-service 192.168.7.110:5000 -r 192.168.7.14:5000 -m",
    "ipvsadm -A -u 192.168.7.110:5060 -s rr -p 60 --pe sip",
    "ipvsadm -A -f 5 -s rr",
    "ipvsadm -a -f 5 -r 192.168.7.15 -i --tun-type gue --tun-port 6080 --tun-remcsum",
    "ipvsadm -a -f 5 -r 192.168.7.16 -i --tun-type gre --tun-csum",
)


def main() -> int:
    """Write the recording to the file named on the command line."""
    with fresh_network_namespace():
        for command in COMMANDS:
            subprocess.run(command.split(), check=True)
        netlink = GenericNetlink(wire.FAMILY_NAME)
        services = []
        for body in netlink.dump(wire.dump_services()):
            service, _settings = wire.decode_service(body)
            destinations = netlink.dump(wire.dump_destinations(service))
            services.append(
                {"service": body.hex(), "destinations": [d.hex() for d in destinations]}
            )
        netlink.close()
    recording = {"kernel": os.uname().release, "commands": COMMANDS, "services": services}
    Path(sys.argv[1]).write_text(json.dumps(recording, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
