"""Connections to a port of a network namespace of its own, in which the limits of the firewall are loaded.

Usage: firewall.py RULES, in a namespace where this is root. The rules are for port 80, with 10 connections for each address.
Prints how many of 14 connections of one address are made, then of 3 of another one, for IPv4; then of the 14 for IPv6.
"""

import fcntl
import socket
import struct
import subprocess
import sys

SIOCSIFFLAGS, IFF_UP_AND_RUNNING = 0x8914, 0x41


def raise_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP_AND_RUNNING))


def made(family, server, client, attempts):
    """The connections of so many attempts; they stay open as long as the list."""
    connections = []
    for _ in range(attempts):
        connection = socket.socket(family)
        connection.bind((client, 0))
        connection.settimeout(10)
        try:
            connection.connect((server, 80))
            connections.append(connection)
        except ConnectionError:
            pass
    return connections


raise_loopback()
# Loading them again takes the place of what was there.
for _ in range(2):
    subprocess.run(["nft", "-f", sys.argv[1]], check=True)
with socket.create_server(("127.0.0.1", 80), backlog=64):
    greedy = made(socket.AF_INET, "127.0.0.1", "127.0.0.21", 14)
    other = made(socket.AF_INET, "127.0.0.1", "127.0.0.22", 3)
with socket.create_server(("::1", 80), family=socket.AF_INET6, backlog=64):
    greedy_ipv6 = made(socket.AF_INET6, "::1", "::1", 14)
print(len(greedy), len(other), len(greedy_ipv6))
