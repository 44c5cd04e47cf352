"""A simulated UPS on a serial line: the Megatec protocol on a pseudo-terminal.

    ups.py TTY WIRE

makes TTY, prints "ready", and writes every command that it receives to WIRE, one per line. While the
file TTY.mains-lost exists, it runs on battery."""

import os
import sys
import tty

TTY, WIRE = sys.argv[1], sys.argv[2]
READS = {
    b"F": b"#230.0 004 024.0 50.0\r",
    b"I": b"#%-15s %-10s %-10s\r" % (b"doorward", b"test", b"1"),
}


def status():
    lost = os.path.exists(TTY + ".mains-lost")
    return b"(230.0 230.0 230.0 014 49.9 27.2 30.0 %s0000000\r" % (b"1" if lost else b"0")


def main():
    controller, line = os.openpty()
    tty.setraw(line)
    os.symlink(os.ttyname(line), TTY)
    print("ready", flush=True)
    received = b""
    while True:
        received += os.read(controller, 256)
        while b"\r" in received:
            command, received = received.split(b"\r", 1)
            if command == b"Q1":
                os.write(controller, status())
            elif command in READS:
                os.write(controller, READS[command])
            else:
                with open(WIRE, "ab") as wire:
                    wire.write(command + b"\n")


main()
