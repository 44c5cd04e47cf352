"""A driver for upsd with functions that the UPS on the serial line lacks: outlets, calibration, and
commands that are slow, fail, or are never answered. It implements upsd's driver socket protocol.

    driver.py SOCKET WIRE

writes every command that it receives to WIRE, one per line. While the file WIRE.stale exists, it
reports that it has lost its UPS."""

import os
import selectors
import shlex
import socket
import sys
import time

SOCKET, WIRE = sys.argv[1], sys.argv[2]
VARIABLES = {
    "ups.status": "OL",
    "ups.mfr": "doorward",
    "outlet.1.status": "on",
    "outlet.2.status": "on",
    "ups.delay.shutdown": "20",
}
WRITABLE = ["ups.delay.shutdown"]
COMMANDS = [
    "outlet.1.load.cycle",
    "outlet.2.load.cycle",
    "calibrate.start",
    "test.battery.start.deep",
    "test.panel.start",
    "beeper.mute",
    "shutdown.return",
]
HANDLED, FAILED = 0, 3


class Driver:
    def __init__(self):
        self.clients, self.later, self.stale = [], [], False

    def send(self, line):
        for client in self.clients:
            client.sendall(line.encode() + b"\n")

    def set(self, name, value):
        VARIABLES[name] = value
        self.send(f'SETINFO {name} "{value}"')

    def dump(self):
        for name, value in VARIABLES.items():
            self.send(f'SETINFO {name} "{value}"')
        for name in WRITABLE:
            self.send(f"SETFLAGS {name} RW STRING")
            self.send(f"SETAUX {name} 8")
        for command in COMMANDS:
            self.send(f"ADDCMD {command}")
        self.send("DATASTALE" if self.stale else "DATAOK")
        self.send("DUMPDONE")

    def execute(self, words, tracking):
        with open(WIRE, "a", encoding="utf-8") as wire:
            wire.write(" ".join(words) + "\n")
        status, delay = HANDLED, 0
        if words[0] == "SET":
            self.set(words[1], words[2])
        elif words[1].startswith("outlet."):
            self.set(words[1].replace("load.cycle", "status"), "off")
        elif words[1] == "calibrate.start":
            self.set("ups.status", "OL CAL")
        elif words[1] == "test.battery.start.deep":
            delay = 2
        elif words[1] == "test.panel.start":
            status = FAILED
        elif words[1] == "beeper.mute":
            return
        if tracking:
            self.later.append((time.monotonic() + delay, f"TRACKING {tracking} {status}"))

    def receive(self, line):
        words = shlex.split(line)
        tracking = None
        if len(words) > 2 and words[-2] == "TRACKING":
            words, tracking = words[:-2], words[-1]
        if words == ["PING"]:
            self.send("PONG")
        elif words == ["DUMPALL"]:
            self.dump()
        elif words[0] in ("INSTCMD", "SET"):
            self.execute(words, tracking)

    def tick(self):
        due = [line for at, line in self.later if at <= time.monotonic()]
        self.later = [(at, line) for at, line in self.later if at > time.monotonic()]
        for line in due:
            self.send(line)
        stale = os.path.exists(WIRE + ".stale")
        if stale != self.stale:
            self.stale = stale
            self.send("DATASTALE" if stale else "DATAOK")


def main():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(SOCKET)
    listener.listen()
    driver, waiting = Driver(), selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ, None)
    while True:
        for key, _ in waiting.select(timeout=0.05):
            if key.data is None:
                client, _ = listener.accept()
                driver.clients.append(client)
                waiting.register(client, selectors.EVENT_READ, {"rest": b""})
                continue
            received = key.fileobj.recv(4096)
            if not received:
                waiting.unregister(key.fileobj)
                driver.clients.remove(key.fileobj)
                continue
            key.data["rest"] += received
            while b"\n" in key.data["rest"]:
                line, key.data["rest"] = key.data["rest"].split(b"\n", 1)
                driver.receive(line.decode())
        driver.tick()


main()
