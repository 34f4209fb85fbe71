"""Every statement of keepalived.conf and what became of it, for docs/moving-from-keepalived.md.

Sans-I/O. A test writes each statement into a file, converts it, and compares: what ``config
convert`` lists as left out is what this table calls not converted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class OldStatement:
    """One statement, or several that fare alike. ``block``: where it stands; ``here``: what it is.

    ``converted`` False: ``config convert`` lists it as left out; ``here`` says what to do.
    """

    block: str
    names: tuple[str, ...]
    converted: bool
    here: str


def _table(rows: str) -> tuple[OldStatement, ...]:
    """Return the rows of a text table: block | names | + or - | what it is here.

    A line that begins with a space goes on with the row above it.
    """
    found = []
    for row in rows.strip().replace("\n ", " ").splitlines():
        block, names, sign, here = (cell.strip() for cell in row.split("|"))
        found.append(
            OldStatement(block=block, names=tuple(names.split()), converted=sign == "+", here=here)
        )
    return tuple(found)


_ROWS: Final = """
top | vrrp_instance | + | `[[groups]]` and `[[membership.links]]`
top | vrrp_sync_group | + | one group of all its members
top | virtual_server | + | `[[virtual_services]]`
top | virtual_server_group | + | one virtual service for each of its addresses
top | garp_group | + | `[groups.announce]`
top | vrrp_script vrrp_track_process track_process vrrp_track_file track_file | + |
    `[[vip.resources.trackers]]`
top | static_ipaddress static_routes static_rules static_track_group | - | the network
    configuration of the system
top | bfd_instance | - | not needed: heartbeats are as fast (`timers = "fast"`)
top | net_namespace linkbeat_use_polling | - | start the services where they should run; the kernel
    tells of links
global_defs | vrrp_garp_master_delay vrrp_garp_master_repeat vrrp_garp_master_refresh
    vrrp_garp_master_refresh_repeat vrrp_garp_interval vrrp_gna_interval | + | `[vip.announce]`
global_defs | vrrp_garp_lower_prio_delay vrrp_garp_lower_prio_repeat | - | not needed: after a
    conflict the winner announces again
global_defs | notification_email notification_email_from smtp_server smtp_helo_name
    smtp_connect_timeout smtp_alert smtp_alert_vrrp smtp_alert_checker no_email_faults | - |
    `heartbus watch --json`, or any subscriber, into your mailer
global_defs | router_id | - | not needed: directors are known by name
global_defs | vrrp_mcast_group4 vrrp_mcast_group6 default_interface vrrp_version vrrp_strict
    vrrp_check_unicast_src vrrp_skip_check_adv_addr vrrp_rx_bufs_policy vrrp_rx_bufs_multiplier | -
    | not needed: there is no VRRP; `[[membership.links]]` says over what heartbeats go
global_defs | vrrp_higher_prio_send_advert vrrp_lower_prio_no_advert vrrp_owner_ignore_adverts
    vrrp_min_garp max_auto_priority min_auto_priority_delay vrrp_startup_delay | - | not needed:
    epochs decide, and a director that starts waits `initdead`
global_defs | vrrp_iptables vrrp_ipsets vrrp_nftables nftables nftables_priority nftables_counters
    | - | not needed: real servers are told not to answer ARP (`heartbus realserver`)
global_defs | lvs_sync_daemon | - | `[ipvs.sync]`, by hand
global_defs | lvs_flush lvs_flush_onstop | - | never flushed at start; `cleanstop` of a service
    empties it at stop
global_defs | lvs_timeouts | - | `[ipvs.timeouts]`, by hand
global_defs | script_user enable_script_security | - | scripts of vip run as root, checks as the
    user of the checker
global_defs | notify_fifo notify_fifo_script vrrp_notify_fifo vrrp_notify_fifo_script
    lvs_notify_fifo lvs_notify_fifo_script vrrp_notify_priority_changes | - | subscribe: `nats sub
    '>'`, `heartbus watch --json`
global_defs | enable_snmp_vrrp enable_snmp_checker enable_snmp_rfc enable_traps snmp_socket
    enable_dbus | - | `heartbus metrics`, and subscribers
global_defs | vrrp_priority checker_priority bfd_priority vrrp_rt_priority checker_rt_priority
    vrrp_no_swap checker_no_swap vrrp_rlimit_rttime checker_rlimit_rttime vrrp_cpu_affinity
    checker_cpu_affinity process_name vrrp_process_name checker_process_name umask | - | `realtime`
    and `rtprio` of `[membership]`; the rest in the systemd units
global_defs | dynamic_interfaces reload_repeat reload_check_config reload_time_file reload_file
    config_save_dir tmp_config_directory use_pid_dir instance startup_script shutdown_script
    random_seed state_dump_file log_unknown_vrids disable_local_igmp vmac_prefix | - | not needed
    here
vrrp_instance | state | + | `preferred` of the group: the second director where BACKUP
vrrp_instance | interface | + | interface of the addresses, and a heartbeat link by broadcast
vrrp_instance | unicast_peer | + | `[[membership.links]]` of kind ucast
vrrp_instance | unicast_src_ip | + | not needed: the interface says it
vrrp_instance | virtual_router_id priority advert_int | + | not needed: directors know one another
    by name; `timers` says how fast
vrrp_instance | native_ipv6 | + | not needed: the address says it
vrrp_instance | nopreempt | + | `failback = "off"`
vrrp_instance | preempt | + | `failback = "on"`, which is what a converted file says without
    nopreempt
vrrp_instance | authentication | + | a key of the heartbeats, made anew
vrrp_instance | virtual_ipaddress virtual_ipaddress_excluded | + | `resources` of the group
vrrp_instance | garp_master_delay garp_master_repeat garp_master_refresh garp_master_refresh_repeat
    | + | `[groups.announce]`
vrrp_instance | garp_lower_prio_delay garp_lower_prio_repeat | - | not needed: after a conflict the
    winner announces again
vrrp_instance | preempt_delay | - | not needed: who comes back waits until it is settled
vrrp_instance | track_interface track_script track_process track_file | + |
    `[[vip.resources.trackers]]`
vrrp_instance | track_bfd track_src_ip dont_track_primary | - | not needed here
vrrp_instance | notify notify_master notify_backup notify_fault notify_stop notify_deleted
    notify_master_rx_lower_pri | - | `[[vip.resources.hooks]]`, by hand
vrrp_instance | smtp_alert | - | `heartbus watch --json`, or any subscriber, into your mailer
vrrp_instance | lvs_sync_daemon_interface | - | `[ipvs.sync]`, by hand
vrrp_instance | virtual_routes virtual_rules | - | a resource script, or an OCF agent, in the group
vrrp_instance | use_vmac use_ipvlan vmac_xmit_base vmac_addr promote_secondaries accept no_accept |
    - | not needed: the address moves, with gratuitous ARP
vrrp_instance | mcast_src_ip unicast_fault_no_peer unicast_ttl old_unicast_checksum
    check_unicast_src skip_check_adv_addr strict_mode version kernel_rx_buf_size
    higher_prio_send_advert lower_prio_no_advert debug linkbeat_use_polling | - | not needed: there
    is no VRRP
vrrp_sync_group | group | + | the members of the group
vrrp_sync_group | notify notify_master notify_backup notify_fault notify_stop | - |
    `[[vip.resources.hooks]]`, by hand
vrrp_sync_group | track_interface track_script track_process track_file | + |
    `[[vip.resources.trackers]]`
vrrp_sync_group | track_bfd global_tracking sync_group_tracking_weight | - | not needed here
vrrp_sync_group | smtp_alert | - | `heartbus watch --json`, or any subscriber, into your mailer
virtual_server | real_server | + | `[[virtual_services.real_servers]]`
virtual_server | delay_loop | + | `interval` of the check
virtual_server | lvs_sched lb_algo | + | `scheduler`
virtual_server | lvs_method lb_kind | + | `method` of real servers and fallback
virtual_server | protocol | + | `protocol`
virtual_server | persistence_timeout | + | `persistent`
virtual_server | persistence_granularity | + | `netmask`
virtual_server | persistence_engine | - | `persistence_engine`, by hand
virtual_server | ops | + | `one_packet`
virtual_server | virtualhost | + | `virtualhost` of the check
virtual_server | sorry_server | + | `fallback`
virtual_server | retry | + | `fall` of the check: one more
virtual_server | alpha omega quorum hysteresis quorum_up quorum_down | + | `start`, `cleanstop`,
    `quorum`, `hysteresis`, `quorum_up`, `quorum_down`
virtual_server | sorry_server_inhibit inhibit_on_failure | - | `quiescent` of the service
virtual_server | sorry_server_lvs_method | - | `method` of `[virtual_services.fallback]`
virtual_server | hashed flag-1 flag-2 flag-3 sh-port sh-fallback mh-port mh-fallback | - |
    `scheduler_flags`, by hand
virtual_server | ha_suspend | - | not needed: both directors check always, so a takeover finds a
    warm table
virtual_server | weight connect_timeout delay_before_retry warmup | - | of each real server,
    `connect_timeout` and `fast_interval` of the check
virtual_server | ip_family | - | the address says it
virtual_server | smtp_alert snmp_name | - | `heartbus watch --json`, `heartbus metrics`
real_server | weight | + | `weight`
real_server | uthreshold lthreshold | + | `upper_threshold`, `lower_threshold`
real_server | inhibit_on_failure | + | `quiescent` of the service, if all its real servers say it
real_server | lvs_method | + | `method`
real_server | virtualhost | + | `virtualhost` of the check
real_server | notify_up notify_down | - | subscribe to `realserver.up`, `realserver.down`
real_server | alpha delay_loop retry delay_before_retry warmup log_all_failures smtp_alert
    snmp_name | - | of the service: `start`, `interval`, `fall`, `fast_interval`
real_server | HTTP_GET SSL_GET TCP_CHECK SMTP_CHECK DNS_CHECK UDP_CHECK PING_CHECK MISC_CHECK
    FILE_CHECK | + | `[virtual_services.check]`, of the first real server for all
real_server | BFD_CHECK | - | a check of another type
check | connect_timeout misc_timeout | + | `connect_timeout`, `negotiate_timeout`
check | connect_port | + | `port`
check | retry nb_get_retry | + | `fall`: one more
check | url | + | `request`, and `pages` for more than one
check | virtualhost | + | `virtualhost`
check | misc_path | + | `command`
check | misc_dynamic | + | `dynamic_weight`
check | name | + | `request` of a DNS check
check | enable_sni | + | always sent
check | connect_ip bindto bind_port bind_if fwmark | - | a check of the real server itself;
    `through_vip` asks as clients do
check | alpha delay_loop delay_before_retry warmup fast_recovery user | - | of the service:
    `start`, `interval`, `fast_interval`
check | host helo_name type payload require_reply min_reply_length max_reply_length track_file
    weight http_protocol | - | `request` and `receive` of the check, by hand
url | path digest regex status_code | + | `request`, `digest`, `receive`, `statuses`
url | virtualhost regex_no_match regex_options regex_stack regex_min_offset regex_max_offset
    tls_compliant | - | `virtualhost` of the check; the others in the pattern itself
"""

OLD_STATEMENTS: Final = _table(_ROWS)
