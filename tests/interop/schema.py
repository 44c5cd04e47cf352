"""Checks docs/doorward.cddl against the samples: every object that a device treats as well-formed
matches the schema, and an object with a malformed shape does not."""

import json
import pathlib
import sys

from pycddl import Schema, ValidationError

ROOT = pathlib.Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "doorward.cddl").read_text()
# Malformed by a rule that a schema cannot express.
BEYOND = {
    "counter 0",
    "ends before it begins",
    "share of what is the owner's",
    "share with a weak key",
    "revocations of number 0",
    "release older than what it needs",
}


def length(data, at):
    """Length and start of the byte string at `at`."""
    short = data[at] & 31
    size = 0 if short < 24 else 1 << (short - 24)
    number = int.from_bytes(data[at + 1 : at + 1 + size], "big") if size else short
    return number, at + 1 + size


def envelopes(bundle):
    """Kind, header and claims of each envelope of a bundle that this project has made."""
    at = 0
    while at < len(bundle):
        if bundle[at : at + 4] != bytes.fromhex("d83dd284"):
            raise ValueError("no envelope")
        size, start = length(bundle, at + 4)
        protected = bundle[start : start + size]
        size, claims = length(bundle, start + size + 1)
        kind = protected.split(b"doorward-")[1].split(b"+cwt")[0].decode()
        yield kind, protected, bundle[claims : claims + size]
        signature, begin = length(bundle, claims + size)
        if signature != 64 or len(bundle) < begin + 64:
            raise ValueError("cut short")
        at = begin + 64


def fits(schemas, bundle):
    try:
        for kind, protected, claims in envelopes(bundle):
            schemas["header"].validate_cbor(protected)
            schemas[kind].validate_cbor(claims)
    except (ValidationError, ValueError, IndexError, KeyError):
        return False
    return bundle != b""


def main():
    kinds = "header issuers registration share roster revocations release command approval"
    # Validation starts at the first rule of a schema.
    schemas = {kind: Schema(f"start = {kind}\n{TEXT}") for kind in kinds.split()}
    samples = json.loads((ROOT / "tests" / "vectors" / "samples.json").read_text())
    rows = [(f"setting {n}", "accepted", text) for n, text in enumerate(samples["setting"])]
    rows += [(s["name"], s["verdict"], s["bundle"]) for s in samples["samples"]]
    wrong = 0
    for name, verdict, text in rows:
        shapeless = ("malformed", "bad_envelope", "wrong_type", "unsupported")
        expected = not verdict.startswith("refused") or not verdict.endswith(shapeless)
        if name in BEYOND or name == "two commands":
            expected = True
        if fits(schemas, bytes.fromhex(text)) != expected:
            wrong += 1
            print(f"{name} ({verdict}): expected {'to fit' if expected else 'not to fit'}")
    print(f"{len(rows)} samples checked against the schema, {wrong} differ")
    sys.exit(1 if wrong else 0)


main()
