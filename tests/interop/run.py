"""Runs a newly provisioned device through the protocol and reports the first difference."""

import argparse
import os
import sys
from pathlib import Path

import cbor2

import client
from client import Commander, Key, Link, ProtocolError, now

PLATFORM, OWNER, REGION = "acme", "alice", "eu"
ROLES = ["root", "registry", "shares", "revocations", "firmware"]


def expect(what, found, wanted):
    if found != wanted:
        raise ProtocolError(f"{what} is {found!r}, not {wanted!r}")


def denied(receipt, code):
    expect("the outcome", (receipt.outcome, receipt.code), ("denied", code))


class Run:
    def __init__(self, link, keys):
        self.link, self.keys, self.step = link, keys, ""
        self.device = link.device
        self.epoch = None

    def share(self, holder, account, role="shares", operations=("status.read",), age=0, life=3600):
        """Sign a share that was issued `age` seconds ago and lives for `life` seconds; return id, end, share."""
        ident, at = os.urandom(16), now() - age
        made = client.share(self.keys[role], PLATFORM, account, self.device, holder.key.public,
                            operations, OWNER, at, at + life, at, ident, REGION)  # fmt: skip
        return ident, at + life, made

    def person(self):
        return Commander(Key(), self.device)

    def all(self):
        for step in (self.register, self.mint, self.done, self.not_granted, self.same_again,
                     self.replay, self.ttl_too_long, self.wrong_epoch, self.late, self.stranger,
                     self.broken_signature, self.old_algorithm, self.not_deterministic,
                     self.wrong_role, self.expired_share, self.revoked_in_one_bundle, self.dry_run,
                     self.no_late_answer):  # fmt: skip
            self.step = step.__name__
            step()
            print(f"ok {self.step}", flush=True)

    def register(self):
        # A device that was registered before needs a higher number, so the script can run again.
        seq = self.link.state(lambda s: True, "state").standing.registration + 1
        self.link.statement("registration", client.registration(
            self.keys["registry"], PLATFORM, OWNER, self.device, self.link.device_key,
            Key().public, seq, now(), REGION))  # fmt: skip
        state = self.link.state(lambda s: s.standing.registration == seq, "state that shows the registration")
        for operation in ("status.read", "device.reboot"):
            expect(f"that it offers {operation}", operation in state.operations, True)
        self.epoch = state.standing.epoch

    def mint(self):
        self.bob = self.person()
        self.bobs_share = self.share(self.bob, "bob")
        ident, _, made = self.bobs_share
        self.link.statement(f"share/{ident.hex()}", made)

    def done(self):
        self.first = self.bob.command("status.read", self.epoch)
        self.first_receipt = self.link.request(self.bob.key, self.first)
        expect("the outcome", self.first_receipt.outcome, "done")
        expect("the epoch", self.first_receipt.standing.epoch, self.epoch)

    def not_granted(self):
        self.second = self.bob.command("device.reboot", self.epoch)
        self.second_receipt = self.link.request(self.bob.key, self.second)
        denied(self.second_receipt, "not_granted")

    def same_again(self):
        for command, receipt in ((self.second, self.second_receipt), (self.first, self.first_receipt)):
            expect("the receipt", self.link.request(self.bob.key, command).raw, receipt.raw)

    def replay(self):
        again = self.bob.command("status.read", self.epoch, counter=self.bob.counter)
        denied(self.link.request(self.bob.key, again), "replay")

    def ttl_too_long(self):
        denied(self.link.request(self.bob.key, self.bob.command("status.read", self.epoch, life=301)), "ttl_too_long")

    def wrong_epoch(self):
        denied(self.link.request(self.bob.key, self.bob.command("status.read", os.urandom(16))), "epoch")

    def late(self):
        command = self.bob.command("status.read", self.epoch, at=now() - 120, life=60)
        denied(self.link.request(self.bob.key, command), "late")

    def stranger(self):
        self.link.unanswered(self.person().command("status.read", self.epoch))

    def broken_signature(self):
        command = bytearray(self.bob.command("status.read", self.epoch))
        command[-40] ^= 1  # in R: the signature ends the envelope
        self.link.unanswered(bytes(command))

    def old_algorithm(self):
        payload = client.encode(self.bob.claims("status.read", self.epoch))
        self.link.unanswered(client.seal("command", payload, self.bob.key, client.EDDSA))

    def not_deterministic(self):
        claims = self.bob.claims("status.read", self.epoch)
        payload = cbor2.dumps(dict(reversed(client.decode(client.encode(claims)).items())))
        self.link.unanswered(client.seal("command", payload, self.bob.key))
        # The signature does not cover the head of the array, so it stays valid with a longer form of it.
        good = self.bob.command("status.read", self.epoch)
        expect("the beginning", good[:4].hex(), "d83dd284")
        self.link.unanswered(bytes.fromhex("d83dd29804") + good[4:])

    def wrong_role(self):
        carol = self.person()
        _, _, made = self.share(carol, "carol", role="registry")
        self.link.unanswered(carol.command("status.read", self.epoch), made)

    def expired_share(self):
        # A share that has ended before it arrives is not stored, so its holder stays unknown.
        dave = self.person()
        _, _, made = self.share(dave, "dave", age=600, life=300)
        self.link.unanswered(dave.command("status.read", self.epoch), made)

    def revoked_in_one_bundle(self):
        erin = self.person()
        _, _, made = self.share(erin, "erin")
        ident, end, _ = self.bobs_share
        seq = self.link.states[-1].standing.lists.get(self.device, 0) + 1
        at = now()
        ended = client.revocations(self.keys["revocations"], PLATFORM, self.device, seq, at, at + 3600,
                                   shares={ident: end})  # fmt: skip
        receipt = self.link.request(erin.key, erin.command("status.read", self.epoch), made, ended)
        expect("the outcome for the carrier", receipt.outcome, "done")
        expect("the list in the receipt", receipt.standing.lists.get(self.device), seq)
        self.link.state(lambda s: s.standing.lists.get(self.device) == seq, "state that shows the list")
        denied(self.link.request(self.bob.key, self.bob.command("status.read", self.epoch)), "revoked")
        self.erin = erin

    def dry_run(self):
        command = self.erin.command("status.read", self.epoch, dry_run=True)
        expect("the outcome", self.link.request(self.erin.key, command).outcome, "allowed")

    def no_late_answer(self):
        # A late receipt for one of the unanswered senders would have arrived by now.
        known = {self.bob.key.public.hex(), self.erin.key.public.hex()}
        expect("the set of recipients", {to for to, _ in self.link.receipts}, known)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", required=True, metavar="HOST:PORT")
    parser.add_argument("--device", required=True)
    parser.add_argument("--device-key", required=True, metavar="HEX")
    parser.add_argument("--issuer-keys", required=True, type=Path, metavar="DIR")
    args = parser.parse_args()
    host, _, port = args.broker.rpartition(":")
    link = run = None
    try:
        keys = {role: Key.from_file(args.issuer_keys / f"{role}.key") for role in ROLES}
        link = Link(host, int(port), args.device, bytes.fromhex(args.device_key))
        run = Run(link, keys)
        run.all()
    except (ProtocolError, OSError, ValueError) as error:
        print(f"differs: {run.step if run else 'start'}: {error}")
        return 1
    finally:
        if link:
            link.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
