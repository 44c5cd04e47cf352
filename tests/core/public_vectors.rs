//! Signatures and CBOR of public test suites, read from local copies; without them these tests print
//! a message and check nothing.

use std::path::PathBuf;

use doorward_protocol::wire::*;
use serde_json::Value as Json;

fn find(name: &str) -> Option<Vec<u8>> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../shared/vectors", name]
        .iter()
        .collect();
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        println!("skipped: {} is not here", path.display());
    }
    bytes
}

fn json(name: &str) -> Option<Json> {
    Some(serde_json::from_slice(&find(name)?).unwrap())
}

fn hex(value: &Json) -> Vec<u8> {
    let text = value.as_str().unwrap().to_lowercase();
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn accepts(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (key.try_into(), signature.try_into()) else {
        return false;
    };
    PublicKey::new(&Bytes(key)).is_ok_and(|key| key.verify(message, signature).is_ok())
}

#[test]
fn wycheproof_signatures_are_verified_as_expected() {
    let Some(suite) = json("wycheproof-ed25519.json") else {
        return;
    };
    let mut counts = (0, 0);
    for group in suite["testGroups"].as_array().unwrap() {
        let key = hex(&group["publicKey"]["pk"]);
        for test in group["tests"].as_array().unwrap() {
            let valid = test["result"] == "valid";
            let accepted = accepts(&key, &hex(&test["msg"]), &hex(&test["sig"]));
            assert_eq!(accepted, valid, "{test}");
            *(if valid { &mut counts.0 } else { &mut counts.1 }) += 1;
        }
    }
    assert_eq!(counts, (88, 63));
}

/// The verification equation of `PublicKey::verify` without its checks of the key.
fn strict(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into().unwrap());
    let signature = ed25519_dalek::Signature::from_slice(signature).unwrap();
    key.is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

/// 43 cases pass the strict equation. All but one have a key with a torsion component; such a key is
/// never installed, so the equation is never evaluated with it.
#[test]
fn of_the_edge_cases_of_ed25519_only_the_strict_ones_with_a_clean_key_are_accepted() {
    let Some(suite) = json("cctv-ed25519.json") else {
        return;
    };
    let cases = suite.as_array().unwrap();
    let (mut equation, mut accepted) = (0, 0);
    for case in cases {
        let key = hex(&case["key"]);
        let message = case["msg"].as_str().unwrap().as_bytes();
        let signature = hex(&case["sig"]);
        let holds = strict(&key, message, &signature);
        let flags = case["flags"].as_array();
        let mut flags = flags.into_iter().flatten().filter_map(Json::as_str);
        let clean = !flags.any(|flag| flag.ends_with("_A"));
        assert_eq!(accepts(&key, message, &signature), holds && clean, "{case}");
        equation += usize::from(holds);
        accepted += usize::from(holds && clean);
    }
    assert_eq!((cases.len(), equation, accepted), (914, 43, 1));
}

/// Returns the inputs of a suite: every byte string under the key `encoded`.
fn encoded(suite: &[u8]) -> Vec<Vec<u8>> {
    let mut decoder = minicbor::Decoder::new(suite);
    let mut inputs = Vec::new();
    while decoder.position() < suite.len() {
        if decoder.datatype().unwrap() != minicbor::data::Type::String {
            step(&mut decoder);
        } else if decoder.str().unwrap() == "encoded" {
            inputs.push(decoder.bytes().unwrap().to_vec());
        }
    }
    inputs
}

/// Descends into containers and skips everything else.
fn step(decoder: &mut minicbor::Decoder<'_>) {
    use minicbor::data::Type;
    match decoder.datatype().unwrap() {
        Type::Map => drop(decoder.map().unwrap()),
        Type::Array => drop(decoder.array().unwrap()),
        Type::Tag => drop(decoder.tag().unwrap()),
        _ => decoder.skip().unwrap(),
    }
}

/// Returns which parsers accept the bytes.
fn parsers(bytes: &[u8]) -> Vec<(&'static str, bool)> {
    vec![
        ("envelope", Envelope::parse(bytes).is_ok()),
        ("bundle", Bundle::parse(bytes).is_ok()),
        ("issuers", decode_exact::<Issuers>(bytes).is_ok()),
        ("registration", decode_exact::<Registration>(bytes).is_ok()),
        ("share", decode_exact::<Share>(bytes).is_ok()),
        ("roster", decode_exact::<Roster>(bytes).is_ok()),
        ("revocations", decode_exact::<Revocations>(bytes).is_ok()),
        ("release", decode_exact::<Release>(bytes).is_ok()),
        ("command", decode_exact::<Command>(bytes).is_ok()),
        ("approval", decode_exact::<Approval>(bytes).is_ok()),
        ("receipt", decode_exact::<Receipt>(bytes).is_ok()),
        ("state", decode_exact::<State>(bytes).is_ok()),
        ("checkpoint", decode_exact::<Checkpoint>(bytes).is_ok()),
        ("value", decode_exact::<Value>(bytes).is_ok()),
        ("map", decode_exact::<Map<Text, Value>>(bytes).is_ok()),
    ]
}

#[test]
fn malformed_cbor_is_refused_by_every_parser() {
    let Some(suite) = find("cbor-rfc8949-bad.cbor") else {
        return;
    };
    let inputs = encoded(&suite);
    assert_eq!(inputs.len(), 47);
    for input in inputs {
        for (parser, accepted) in parsers(&input) {
            assert!(!accepted, "{parser} takes {input:02x?}");
        }
    }
}

#[test]
fn well_formed_cbor_is_accepted_only_in_the_right_shape() {
    let Some(suite) = find("cbor-rfc8949-good.cbor") else {
        return;
    };
    let inputs = encoded(&suite);
    assert_eq!(inputs.len(), 88);
    for input in inputs {
        for (parser, accepted) in parsers(&input) {
            let small = matches!(parser, "value" | "map");
            assert!(!accepted || small, "{parser} takes {input:02x?}");
        }
    }
}

#[test]
fn the_bytes_to_be_signed_are_those_of_cose_and_its_eddsa_message_is_refused() {
    let Some(suite) = json("cose-eddsa-sig-01.json") else {
        return;
    };
    let text = suite["input"]["plaintext"].as_str().unwrap();
    let protected = [0xa2, 0x01, 0x27, 0x03, 0x00];
    assert_eq!(
        to_be_signed(&protected, text.as_bytes()),
        hex(&suite["intermediates"]["ToBeSign_hex"])
    );
    let message = hex(&suite["output"]["cbor"]);
    assert!(Envelope::parse(&message).is_err());
    let tagged = [&[0xd8, 0x3d][..], &message].concat();
    assert!(matches!(
        Envelope::parse(&tagged),
        Err(WireError::BadEnvelope(_))
    ));
}
