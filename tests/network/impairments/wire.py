"""A cable between two network namespaces that can be impaired: packets of two tun devices, forwarded
from one to the other, delayed or dropped. It replaces the kernel's netem, which not every kernel
has; the packets, and the TCP above them, are real.

    wire.py SOCKET DEVICE DEVICE

makes the devices, prints "ready" and reads datagrams from SOCKET: "LOSS DELAY", like "0.3 2.0"; a
loss of 1 is a pulled cable."""

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
# Maximum number of packets in transit, as in a router's queue.
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
    # Delivery time, order among equal times, destination and packet.
    in_transit, count = [], 0
    while True:
        now = time.monotonic()
        while in_transit and in_transit[0][0] <= now:
            _, _, to, packet = heapq.heappop(in_transit)
            try:
                os.write(to, packet)
            except OSError:
                pass  # the device is down, or full: lost
        wait = (in_transit[0][0] - now) * 1000 + 1 if in_transit else None
        for descriptor, _ in poll.poll(wait):
            if descriptor == control.fileno():
                loss, delay = map(float, control.recv(64).split())
                continue
            try:
                packet = os.read(descriptor, 65536)
            except OSError:
                continue
            if chance.random() >= loss and len(in_transit) < QUEUE:
                count += 1
                heapq.heappush(in_transit, (time.monotonic() + delay, count, other[descriptor], packet))


main()
