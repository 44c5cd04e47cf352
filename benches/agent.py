"""A typical agent of a device in Python, for comparing commands per second: one device, holders and their
operations from a file, one answer for each command. It writes no log and stores nothing across restarts.

    agent.py PORT DEVICE FILE

FILE: {"device_seed": hex, "holders": {hex public key: ["operation", ...]}, "epoch": hex}
"""

import hashlib
import json
import signal
import socket
import sys
import time

import cbor2
import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from paho.mqtt.subscribeoptions import SubscribeOptions

PRIVATE, ED25519, DONE, UNSIGNED_CLOCK = -65537, -19, 3, 2
CLAIMS, BODY = [3, 4, 6, 7, PRIVATE], [0, 1, 2, 3, 4, 5]


def header(kind, key):
    return cbor2.dumps({1: ED25519, 4: key, 16: f"application/doorward-{kind}+cwt"})


def to_be_signed(protected, payload):
    return cbor2.dumps(["Signature1", protected, b"", payload])


def decode(data):
    value = cbor2.loads(data)
    if cbor2.dumps(value) != data:
        raise ValueError("not in the shortest form, or with trailing bytes")
    return value


class Holder:
    def __init__(self, public, operations, device):
        self.key = Ed25519PublicKey.from_public_bytes(public)
        self.operations = frozenset(operations)
        self.receipts = f"doorward/v1/{device}/receipts/{public.hex()}"
        self.counters = {}  # by instance: the highest counter, and a bit for each of the 64 up to it

    def use_up(self, instance, counter):
        highest, seen = self.counters.get(instance, (0, 0))
        ahead = counter - highest
        if ahead > 0:
            seen = (seen << min(ahead, 64) | 1) & (1 << 64) - 1
        elif ahead <= -64 or seen >> -ahead & 1:
            raise ValueError("replay")
        else:
            seen |= 1 << -ahead
        self.counters[instance] = (max(highest, counter), seen)


class Agent:
    def __init__(self, device, setting):
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            self.boot = bytes.fromhex(file.read().replace("-", ""))
        self.device, self.epoch = device, bytes.fromhex(setting["epoch"])
        self.key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(setting["device_seed"]))
        self.header = header("receipt", self.key.public_key().public_bytes_raw())
        publics = {bytes.fromhex(key): operations for key, operations in setting["holders"].items()}
        # The header of a command varies only by the key, so it is the key of this map.
        self.holders = {header("command", it): Holder(it, may, device) for it, may in publics.items()}

    def decide(self, data, now, uptime):
        """Returns the holder of an allowed command and uses up its counter."""
        envelope = decode(data)
        protected, unprotected, payload, signature = envelope.value.value
        if (envelope.tag, envelope.value.tag, unprotected) != (61, 18, {}):
            raise ValueError("not an envelope")
        holder = self.holders[protected]
        holder.key.verify(signature, to_be_signed(protected, payload))
        claims = decode(payload)
        body = claims[PRIVATE]
        until = body.pop(6, [uptime, self.boot])
        if list(claims) != CLAIMS or list(body) != BODY or body[0] != 1 or not 0 < body[1] < 1 << 64:
            raise ValueError("malformed, or a dry run")
        issued, expires = claims[6], claims[4]
        if claims[3] != self.device or body[3] != self.epoch or body[4] not in holder.operations:
            raise ValueError("wrong device, epoch or operation")
        if not issued < expires <= issued + 300 or not issued - 120 <= now < expires:
            raise ValueError("from the future, expired, or valid for too long")
        if until[1] != self.boot or until[0] < uptime:
            raise ValueError("expired by the uptime")
        holder.use_up(body[2], body[1])
        return holder

    def receipt(self, data, now, uptime):
        """A signed receipt with the outcome `done`, without a registration, lists and a log."""
        standing = {0: self.epoch, 1: self.boot, 2: uptime, 3: UNSIGNED_CLOCK, 4: 0, 5: {}}
        body = {0: 1, 1: hashlib.sha256(data).digest(), 2: DONE, 5: {}, 6: standing, 7: [0, bytes(32)]}
        payload = cbor2.dumps({1: self.device, 6: now, PRIVATE: body})
        signature = self.key.sign(to_be_signed(self.header, payload))
        return cbor2.dumps(cbor2.CBORTag(61, cbor2.CBORTag(18, [self.header, {}, payload, signature])))

    def on_message(self, client, _, message):
        now, uptime = int(time.time()), int(time.clock_gettime(time.CLOCK_BOOTTIME))
        if message.retain or len(message.payload) > 4096:
            return
        try:
            holder = self.decide(message.payload, now, uptime)
        except Exception:  # a command that is not allowed gets no answer
            return
        client.publish(holder.receipts, self.receipt(message.payload, now, uptime), qos=1)


def main():
    port, device, path = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        agent = Agent(device, json.load(file))
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, f"agent-{device}", protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(65535)
    options = SubscribeOptions(qos=1, retainAsPublished=True)
    client.on_socket_open = lambda _, __, it: it.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.on_connect = lambda *_: client.subscribe(f"doorward/v1/{device}/command", options=options)
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_message = agent.on_message
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    client.connect("127.0.0.1", int(port))
    client.loop_forever()


if __name__ == "__main__":
    main()
