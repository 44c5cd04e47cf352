"""Makes the seed corpora of the fuzz targets from samples.json: complete bundles, and the claims for
the targets of a single object."""

import hashlib
import json
import pathlib

HERE = pathlib.Path(__file__).parent
CORPUS = HERE.parent.parent / "fuzz" / "corpus"
WHOLE = ["bundle", "envelope", "device"]


def head(data, at):
    """Length and offset of the byte string that begins at `at`."""
    kind, short = data[at] >> 5, data[at] & 31
    if kind != 2:
        raise ValueError("no byte string")
    if short < 24:
        return short, at + 1
    size = 1 << (short - 24)
    return int.from_bytes(data[at + 1 : at + 1 + size], "big"), at + 1 + size


def claims(data):
    """Kind and claims of the first envelope in the data."""
    length, start = head(data, 4)
    protected = data[start : start + length]
    kind = protected.split(b"doorward-")[1].split(b"+cwt")[0].decode()
    length, start = head(data, start + length + 1)
    return kind, data[start : start + length]


def keep(target, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def listener():
    """Packets of a listener client that connects, subscribes, publishes and disconnects, in the form
    that the fuzzer reads."""
    topic = b"doorward/v1/ups-7/"
    connect = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00"

    def packet(first, body):
        return bytes([first, len(body)]) + body

    def text(value):
        return len(value).to_bytes(2, "big") + value

    return [
        connect,
        connect + packet(0x82, b"\x00\x01\x00" + text(topic + b"state") + b"\x01"),
        connect + packet(0x82, b"\x00\x02\x00" + text(topic + b"receipts/" + b"ab" * 32) + b"\x01"),
        connect + packet(0xA2, b"\x00\x03\x00" + text(topic + b"state")),
        connect + packet(0x32, text(topic + b"command") + b"\x00\x04\x00x"),
        connect + packet(0x31, text(topic + b"statements/share/01") + b"\x00x"),
        connect + b"\xc0\x00\xe0\x00",
    ]


def main():
    samples = json.loads((HERE / "samples.json").read_text())
    bundles = [bytes.fromhex(text) for text in samples["setting"]]
    bundles += [bytes.fromhex(sample["bundle"]) for sample in samples["samples"]]
    for target in (HERE.parent.parent / "fuzz" / "fuzz_targets").glob("*.rs"):
        (CORPUS / target.stem).mkdir(parents=True, exist_ok=True)
    for bundle in bundles:
        for target in WHOLE:
            keep(target, bundle)
        try:
            kind, payload = claims(bundle)
        except (ValueError, IndexError):
            continue
        if (CORPUS / kind).is_dir():
            keep(kind, payload)
    for seed in listener():
        keep("listener", seed)


main()
