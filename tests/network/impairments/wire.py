"""A cable between two network namespaces that can be made bad: packets of two tun devices, handed
from one to the other, late or not at all. It stands for the kernel's netem, which not every kernel
has; the packets, and the TCP above them, are real.

    wire.py SOCKET DEVICE DEVICE

makes the devices, says "ready" and takes datagrams on SOCKET: "LOSS DELAY", like "0.3 2.0"; loss
1 is a cable that is pulled."""

import fcntl
import heapq
import os
import random
import select
import socket
import struct
import sys
import time

# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
# Packets that are on their way at most, as in a router's queue.
QUEUE = 1000


def tun(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def main():
    control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    control.bind(sys.argv[1])
    near, far = tun(sys.argv[2]), tun(sys.argv[3])
    other = {near: far, far: near}
    poll = select.poll()
    for descriptor in (near, far, control.fileno()):
        poll.register(descriptor, select.POLLIN)
    print("ready", flush=True)
    chance = random.Random(1)
    loss, delay = 0.0, 0.0
    # When, the order among equals, where to, and what.
    under_way, count = [], 0
    while True:
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            _, _, to, packet = heapq.heappop(under_way)
            try:
                os.write(to, packet)
            except OSError:
                pass  # the device is down, or full: lost
        wait = (under_way[0][0] - now) * 1000 + 1 if under_way else None
        for descriptor, _ in poll.poll(wait):
            if descriptor == control.fileno():
                loss, delay = map(float, control.recv(64).split())
                continue
            try:
                packet = os.read(descriptor, 65536)
            except OSError:
                continue
            if chance.random() >= loss and len(under_way) < QUEUE:
                count += 1
                heapq.heappush(under_way, (time.monotonic() + delay, count, other[descriptor], packet))


main()
