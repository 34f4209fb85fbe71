#!/usr/bin/perl
# Answer every connection to a port with the name of this machine. In Perl because that is part of
# every Debian and starts ten times as fast as Python, which counts when a failover is timed.
use strict;
use warnings;
use Socket;

my ($port) = @ARGV;
setpgrp(0, 0);    # the end of the script that started us is not ours
open(my $file, '<', '/proc/sys/kernel/hostname') or die "hostname: $!";
my $name = <$file>;
socket(my $listener, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, 1) or die "setsockopt: $!";
bind($listener, sockaddr_in($port, INADDR_ANY)) or die "port $port: $!";
listen($listener, 64) or die "listen: $!";
$SIG{PIPE} = 'IGNORE';
while (1) {
    accept(my $connection, $listener) or next;
    syswrite($connection, $name);
    shutdown($connection, 1);
    # Closing with a request unread would reset the connection; do not wait long for one.
    my $readable = '';
    vec($readable, fileno($connection), 1) = 1;
    sysread($connection, my $request, 4096) if select($readable, undef, undef, 0.2);
    close($connection);
}
