"""A second client of the doorward protocol, written from docs/protocol.md alone.

It shares no code with the device, so agreement of both shows that the document is complete.
"""

import hashlib
import os
import threading
import time
from dataclasses import dataclass

import cbor2
import paho.mqtt.client as mqtt
from cbor2 import CBORTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cwt import COSE, COSEKey

ED25519, EDDSA = -19, -8
PRIVATE = -65537
READ, CHANGE, INTERRUPT, DANGER = range(4)
OUTCOMES = ["denied", "accepted", "executing", "done", "failed", "unknown", "allowed"]
PENDING = ("accepted", "executing")  # a later receipt has the outcome
WAIT = 10.0


class ProtocolError(Exception):
    """The other side did not behave as documented."""


# Deterministic CBOR


def _ordered(value):
    """Return the value with maps in bytewise key order; cbor2's own canonical order is by length."""
    if isinstance(value, (bool, str, bytes)):
        return value
    if isinstance(value, int):
        if not -(2**64) <= value < 2**64:
            raise ProtocolError("an integer would need a tag")
        return value
    if isinstance(value, (list, tuple)):
        return [_ordered(item) for item in value]
    if isinstance(value, dict):
        pairs = sorted((encode(key), key, item) for key, item in value.items())
        return {key: _ordered(item) for _, key, item in pairs}
    if isinstance(value, CBORTag) and value.tag in (61, 18):
        return CBORTag(value.tag, _ordered(value.value))
    raise ProtocolError(f"{type(value).__name__} has no place in an object")


def encode(value):
    return cbor2.dumps(_ordered(value))


def decode(data):
    try:
        value = cbor2.loads(data)
    except Exception as error:  # cbor2 also raises errors of the standard library
        raise ProtocolError(f"not CBOR: {error}") from error
    # Detects long forms, wrong order, duplicate keys and trailing bytes.
    if encode(value) != data:
        raise ProtocolError("not deterministic CBOR")
    return value


# Keys and envelopes


class Key:
    """An Ed25519 key from its 32-byte seed."""

    def __init__(self, seed=None):
        self.seed = seed or os.urandom(32)
        self.public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()

    @classmethod
    def from_file(cls, path):
        with open(path, encoding="ascii") as file:
            return cls(bytes.fromhex(file.read().strip()))

    def cose(self, alg):
        return COSEKey.new({1: 1, 2: self.public, 3: alg, -1: 6, -2: self.public, -4: self.seed})


def typ(kind):
    return f"application/doorward-{kind}+cwt"


def seal(kind, payload, key, alg=ED25519):
    """Sign payload bytes unchecked, so that a test can also sign invalid ones."""
    cose = COSE.new(deterministic_header=True)
    header = {1: alg, 4: key.public, 16: typ(kind)}
    inner = cose.encode_and_sign(payload, key.cose(alg), header, {}, out="cbor2/CBORTag")
    return cbor2.dumps(CBORTag(61, inner))


def sign(kind, claims, key):
    return seal(kind, encode(claims), key)


def unseal(data, kind, public):
    """Verify an envelope of this kind and key, and return its claims."""
    outer = decode(data)
    if not (isinstance(outer, CBORTag) and outer.tag == 61):
        raise ProtocolError("no CWT tag")
    inner = outer.value
    if not (isinstance(inner, CBORTag) and inner.tag == 18 and isinstance(inner.value, list)):
        raise ProtocolError("no COSE_Sign1 tag")
    if len(inner.value) != 4 or inner.value[1] != {}:
        raise ProtocolError("not the four parts of an envelope")
    header = decode(inner.value[0])
    if header != {1: ED25519, 4: public, 16: typ(kind)}:
        raise ProtocolError(f"header of a {kind} is {header}")
    verifier = COSEKey.new({1: 1, 2: public, 3: ED25519, -1: 6, -2: public})
    try:
        payload = COSE.new(verify_kid=True).decode(inner, verifier)
    except Exception as error:
        raise ProtocolError(f"signature of a {kind} is invalid: {error}") from error
    return decode(payload)


def digest(envelope):
    return hashlib.sha256(envelope).digest()


# Objects that clients and issuers sign


def now():
    return int(time.time())


def _cnf(public):
    return {1: {1: 1, -1: 6, -2: public}}


def registration(key, platform, account, device, device_key, owner, seq, at, region="eu"):
    return sign("registration", {
        1: platform, 2: account, 3: device, 6: at, 8: _cnf(owner),
        PRIVATE: {
            0: 1, 1: seq, 2: device_key, 3: region, 4: "UPS 700", 6: {0: "basic"},
            7: {0: 1, 1: ["basic"], 2: {"*": 0}}, 8: False, 9: 8,
            10: {READ: 86400, CHANGE: 86400, INTERRUPT: 3600, DANGER: 600}, 11: at,
        },
    }, key)  # fmt: skip


def share(key, platform, account, device, holder, operations, by, start, end, at, ident, region="eu"):
    return sign("share", {
        1: platform, 2: account, 3: device, 4: end, 5: start, 6: at, 7: ident, 8: _cnf(holder),
        PRIVATE: {0: 1, 1: 1, 2: {name: {} for name in operations}, 3: by, 6: region},
    }, key)  # fmt: skip


def revocations(key, platform, audience, seq, at, due, shares=(), holders=(), subjects=(), before=0):
    return sign("revocations", {
        1: platform, 3: audience, 6: at,
        PRIVATE: {0: 1, 1: seq, 2: due, 3: dict(shares), 4: dict(holders), 5: dict(subjects), 6: before},
    }, key)  # fmt: skip


class Commander:
    """A client instance that signs commands with one key and an increasing counter."""

    def __init__(self, key, device):
        self.key, self.device = key, device
        self.instance, self.counter = os.urandom(4), 0

    def claims(self, operation, epoch, args=None, at=None, life=60, counter=None, dry_run=False):
        if counter is None:
            self.counter += 1
            counter = self.counter
        at = now() if at is None else at
        private = {0: 1, 1: counter, 2: self.instance, 3: epoch, 4: operation, 5: args or {}}
        if dry_run:
            private[7] = True
        return {3: self.device, 4: at + life, 6: at, 7: os.urandom(16), PRIVATE: private}

    def command(self, operation, epoch, **how):
        return sign("command", self.claims(operation, epoch, **how), self.key)


# Objects that a device signs


@dataclass
class Standing:
    epoch: bytes
    boot: bytes
    uptime: int
    quality: int
    registration: int
    lists: dict

    @classmethod
    def of(cls, entries):
        if set(entries) != set(range(6)):
            raise ProtocolError(f"entries of a standing are {sorted(entries)}")
        standing = cls(*(entries[number] for number in range(6)))
        if len(standing.epoch) != 16 or len(standing.boot) != 16 or standing.quality not in range(4):
            raise ProtocolError(f"standing is {standing}")
        return standing


@dataclass
class Receipt:
    raw: bytes
    about: bytes
    outcome: str
    code: str
    detail: str
    result: dict
    standing: Standing


@dataclass
class State:
    raw: bytes
    at: int
    standing: Standing
    operations: list


def _signed_by_device(data, kind, device, public, needed, optional=()):
    claims = unseal(data, kind, public)
    if set(claims) != {1, 6, PRIVATE} or claims[1] != device:
        raise ProtocolError(f"claims of a {kind} are {claims}")
    private = claims[PRIVATE]
    if not set(needed) <= set(private) <= set(needed) | set(optional) or private[0] != 1:
        raise ProtocolError(f"entries of a {kind} are {sorted(private)}")
    return claims[6], private


def read_receipt(data, device, public):
    _, entries = _signed_by_device(data, "receipt", device, public, (0, 1, 2, 5, 6, 7), (3, 4))
    if entries[2] not in range(len(OUTCOMES)):
        raise ProtocolError(f"outcome is {entries[2]}")
    return Receipt(data, entries[1], OUTCOMES[entries[2]], entries.get(3, ""), entries.get(4, ""),
                   entries[5], Standing.of(entries[6]))  # fmt: skip


def read_state(data, device, public):
    at, entries = _signed_by_device(data, "state", device, public, (0, 1, 2, 3))
    return State(data, at, Standing.of(entries[1]), entries[2])


# Connection to the device


class Link:
    """A connection to the broker of one device. Only verified objects are accepted."""

    def __init__(self, host, port, device, device_key):
        self.device, self.device_key = device, device_key
        self.base = f"doorward/v1/{device}/"
        self.states, self.receipts, self.error = [], [], None
        self._ready, self._changed = False, threading.Condition()
        self._mqtt = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._mqtt.on_connect = self._on_connect
        self._mqtt.on_subscribe = self._on_subscribe
        self._mqtt.on_message = self._on_message
        self._mqtt.connect(host, port)
        self._mqtt.loop_start()
        self.wait(lambda: self._ready, "a subscription")

    def close(self):
        self._mqtt.disconnect()
        self._mqtt.loop_stop()

    def _on_connect(self, client, _data, _flags, _reason, _properties):
        client.subscribe([(self.base + "state", 1), (self.base + "receipts/+", 1)])

    def _on_subscribe(self, _client, _data, _mid, reasons, _properties):
        with self._changed:
            self._ready = not any(reason.is_failure for reason in reasons)
            self._changed.notify_all()

    def _on_message(self, _client, _data, message):
        with self._changed:
            try:
                if message.topic == self.base + "state":
                    self.states.append(read_state(message.payload, self.device, self.device_key))
                elif message.retain:
                    raise ProtocolError("a receipt was retained")
                else:
                    receipt = read_receipt(message.payload, self.device, self.device_key)
                    self.receipts.append((message.topic.rsplit("/", 1)[1], receipt))
            except Exception as error:  # raised in the main thread by wait()
                self.error = ProtocolError(f"{message.topic}: {error}")
            self._changed.notify_all()

    def wait(self, what, name, seconds=WAIT):
        with self._changed:
            found = self._changed.wait_for(lambda: self.error or what(), seconds)
            if self.error:
                raise self.error
            if not found:
                raise ProtocolError(f"no {name} within {seconds:g} s")
            return found

    def publish(self, topic, bundle, retain=False):
        info = self._mqtt.publish(topic, bundle, qos=1, retain=retain)
        info.wait_for_publish(WAIT)
        if not info.is_published():
            raise ProtocolError(f"the broker did not acknowledge {topic}")

    def statement(self, path, envelope):
        """Publish a retained statement, and wait for the next state of the device."""
        seen = len(self.states)
        self.publish(f"{self.base}statements/{path}", envelope, retain=True)
        return self.wait(lambda: self.states[seen:], f"state after {path}")[-1]

    def state(self, condition, name):
        """Wait until the newest state fulfils the condition, and return it."""
        return self.wait(lambda: [s for s in self.states[-1:] if condition(s)], name)[0]

    def request(self, key, command, *statements):
        """Send a command, after statements in the same bundle, and wait for its receipt."""
        seen, about, topic = len(self.receipts), digest(command), key.public.hex()
        self.publish(self.base + "command", b"".join(statements) + command)

        def mine():
            receipts = [r for to, r in self.receipts[seen:] if to == topic and r.about == about]
            return [r for r in receipts if r.outcome not in PENDING]

        return self.wait(mine, "receipt")[-1]

    def unanswered(self, command, *statements, seconds=1.0):
        """Send a command that must not be answered; a receipt on any topic is an error."""
        seen = len(self.receipts)
        self.publish(self.base + "command", b"".join(statements) + command)
        with self._changed:
            if self._changed.wait_for(lambda: self.error or self.receipts[seen:], seconds):
                if self.error:
                    raise self.error
                receipt = self.receipts[-1][1]
                raise ProtocolError(f"there was a receipt: {receipt.outcome} {receipt.code}")
