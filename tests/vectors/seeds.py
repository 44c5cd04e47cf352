"""Makes the seed corpora of the fuzz targets from samples.json: whole bundles, and for the
targets of one object its claims."""

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
    """Kind and claims of the envelope at the beginning of some bytes."""
    length, start = head(data, 4)
    protected = data[start : start + length]
    kind = protected.split(b"doorward-")[1].split(b"+cwt")[0].decode()
    length, start = head(data, start + length + 1)
    return kind, data[start : start + length]


def keep(target, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


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


main()
