"""Short ways to say tables and configurations, and random ones."""

from __future__ import annotations

from hypothesis import strategies as st

from heartbus.events import Health
from heartbus.model import (
    Authentication,
    AuthKey,
    AuthMethod,
    Check,
    Cluster,
    Director,
    Endpoint,
    ForwardingMethod,
    Membership,
    RealServer,
    RealServerName,
    SorryServer,
    TransportProtocol,
    VirtualService,
    VirtualServiceName,
)
from heartbus_ipvs_agent.entries import (
    IPPROTO_TCP,
    DestinationKey,
    DestinationSettings,
    Family,
    Forwarding,
    ServiceEntry,
    ServiceKey,
    ServiceSettings,
    Table,
    TunnelEnds,
)

VIP = "192.168.7.110"
SORRY = SorryServer(endpoint=Endpoint(address="127.0.0.1", port=80))


def reals(
    *weights: int, forwarding: ForwardingMethod = ForwardingMethod.GATE
) -> tuple[RealServer, ...]:
    """192.168.7.11:80, .12:80 and so on, with these weights."""
    return tuple(
        RealServer(
            endpoint=Endpoint(address=f"192.168.7.{11 + n}", port=80),
            forwarding=forwarding,
            weight=weight,
        )
        for n, weight in enumerate(weights)
    )


def virtual_service(
    *weights: int,
    port: int = 80,
    quiescent: bool = True,
    sorry: SorryServer | None = SORRY,
    check: Check | None = None,
    forwarding: ForwardingMethod = ForwardingMethod.GATE,
) -> VirtualService:
    return VirtualService(
        protocol=TransportProtocol.TCP,
        endpoint=Endpoint(address=VIP, port=port),
        real_servers=reals(*weights, forwarding=forwarding),
        sorry_server=sorry,
        quiescent=quiescent,
        check=check or Check(),
    )


def verdicts(
    service: VirtualService, *healths: Health
) -> dict[tuple[VirtualServiceName, RealServerName], Health]:
    return {
        (service.name, real.name): health
        for real, health in zip(service.real_servers, healths, strict=True)
    }


def cluster(*services: VirtualService) -> Cluster:
    key = AuthKey(id=1, method=AuthMethod.SHA256, secret=b"secret")
    return Cluster(
        directors=(Director(name="linuxha1"), Director(name="linuxha2")),
        membership=Membership(authentication=Authentication(signing_key=1, keys=(key,))),
        virtual_services=services,
    )


def key(port: int = 80, *, address: str = VIP) -> ServiceKey:
    return ServiceKey(Family.IPV4, IPPROTO_TCP, address, port)


def destination(last: int, port: int = 80) -> DestinationKey:
    return DestinationKey(f"192.168.7.{last}", port)


def gate(weight: int) -> DestinationSettings:
    return DestinationSettings(forwarding=Forwarding.GATE, weight=weight)


def masq(weight: int) -> DestinationSettings:
    return DestinationSettings(forwarding=Forwarding.MASQ, weight=weight)


def entry(
    destinations: dict[DestinationKey, DestinationSettings], *, scheduler: str = "wrr"
) -> ServiceEntry:
    return ServiceEntry(settings=ServiceSettings(scheduler=scheduler), destinations=destinations)


# --- random ones: few names and values, so that tables meet --------------------------------------

_settings = st.builds(
    DestinationSettings,
    forwarding=st.sampled_from([Forwarding.MASQ, Forwarding.IPIP, Forwarding.GATE]),
    weight=st.integers(0, 3),
    upper_threshold=st.sampled_from([0, 10]),
)
_destinations = st.dictionaries(st.integers(11, 15).map(destination), _settings, max_size=5)
_entries = st.builds(
    ServiceEntry,
    settings=st.builds(ServiceSettings, scheduler=st.sampled_from(["rr", "wlc"])),
    destinations=_destinations,
)


def tables(*ports: int) -> st.SearchStrategy[Table]:
    """Tables with some of the services at these ports."""
    return st.builds(Table, services=st.dictionaries(st.sampled_from(ports).map(key), _entries))


_u32 = st.integers(0, 2**32 - 1)
_ports = st.integers(0, 65535)
_addresses4 = st.ip_addresses(v=4).map(str)
_addresses6 = st.ip_addresses(v=6).map(str)

any_service_key = st.one_of(
    st.builds(
        ServiceKey,
        st.just(Family.IPV4),
        st.sampled_from([6, 17, 132]),
        _addresses4,
        _ports,
        st.just(0),
    ),
    st.builds(
        ServiceKey,
        st.just(Family.IPV6),
        st.sampled_from([6, 17, 132]),
        _addresses6,
        _ports,
        st.just(0),
    ),
    st.builds(
        ServiceKey,
        st.sampled_from(Family),
        st.just(0),
        st.just(""),
        st.just(0),
        st.integers(1, 2**32 - 1),
    ),
)
any_service_settings = st.builds(
    ServiceSettings,
    scheduler=st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=15),
    flags=_u32.map(lambda flags: flags & ~2),
    timeout_s=_u32,
    netmask=_u32,
    engine=st.text("abcdefghijklmnopqrstuvwxyz_", max_size=15),
)
any_destination_key = st.builds(DestinationKey, st.one_of(_addresses4, _addresses6), _ports)
any_destination_settings = st.builds(
    DestinationSettings,
    forwarding=st.sampled_from(Forwarding),
    weight=_u32,
    upper_threshold=_u32,
    lower_threshold=_u32,
    tunnel=st.builds(TunnelEnds, st.integers(0, 255), _ports, st.integers(0, 65535)),
)
