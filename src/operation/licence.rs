//! `licence.apply`: installs a licence of the machine's manufacturer for this machine that is newer
//! than the present one, in the file where the manufacturer's programs read it.

use crate::config::LicenceConfig;
use crate::core::OperationResult;
use doorward_protocol::gate::{Code, Now};
use doorward_protocol::wire::{Envelope, Licence, Map, Text, Value};
use doorward_transport::files;

/// Installs the licence if it is valid for this machine.
pub(super) fn apply(config: &LicenceConfig, args: &Map<Text, Value>, now: &Now) -> OperationResult {
    let Some(Value::Bytes(bytes)) = args.get("licence") else {
        return OperationResult::failed(Code::Param, "licence must be the bytes of a licence");
    };
    let licence = match verified(config, bytes) {
        Ok(licence) => licence,
        Err(code) => {
            return OperationResult::failed(
                code,
                "the licence is not signed by this machine's manufacturer",
            );
        }
    };
    if licence.sub.as_str() != config.serial {
        let why = format!(
            "the licence is for serial number {}, this machine has {}",
            licence.sub, config.serial
        );
        return OperationResult::failed(Code::WrongDevice, &why);
    }
    if licence.exp.is_some_and(|exp| exp <= now.estimate) {
        return OperationResult::failed(Code::Expired, "the licence has expired");
    }
    let present = files::read(&config.file, 4096).ok();
    let present = present.and_then(|bytes| verified(config, &bytes).ok());
    let present = present.map_or(0, |licence| licence.body.number);
    if licence.body.number <= present {
        return OperationResult::failed(Code::Downgrade, &format!("licence {present} is in force"));
    }
    if let Err(error) = files::replace(&config.file, bytes, 0o644) {
        return OperationResult::failed(Code::Failed, &error.to_string());
    }
    let features: Vec<&str> = licence.body.features.iter().map(Text::as_str).collect();
    let rows = [
        ("number", Value::Int(licence.body.number.into())),
        ("features", Value::Text(features.join(", "))),
    ];
    OperationResult::done(Map::named(rows))
}

fn verified(config: &LicenceConfig, bytes: &[u8]) -> Result<Licence, Code> {
    let envelope = Envelope::parse(bytes)?;
    let trusted = config.trusted();
    let key = trusted.iter().find(|key| key.bytes() == envelope.signer);
    let licence: Licence = envelope.claims()?;
    envelope.verify(key.ok_or(Code::UnknownIssuer)?)?;
    Ok(licence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorward_protocol::wire::{Bytes, Id, LicenceBody, SecretKey, Timestamp, sign};

    fn licence(serial: &str, number: u32, exp: Option<u64>) -> Licence {
        Licence {
            iss: Id::new("acme-power").unwrap(),
            sub: Id::new(serial).unwrap(),
            exp: exp.map(Timestamp),
            iat: Timestamp(100),
            body: LicenceBody {
                format: 1,
                number,
                features: vec![Text::new("outlet groups").unwrap()],
            },
        }
    }

    #[test]
    fn s08_a_licence_is_for_this_machine_by_its_maker_and_newer_than_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let (maker, other) = (
            SecretKey::from_seed(&[1; 32]),
            SecretKey::from_seed(&[2; 32]),
        );
        let config = LicenceConfig {
            keys: vec![maker.public().hex()],
            serial: "AS1234".to_owned(),
            file: directory.path().join("licence"),
        };
        assert_eq!(config.trusted().len(), 1);
        let now = Now {
            estimate: Timestamp(1000),
            lower_bound: Timestamp(1000),
            quality: 3,
            uptime: 1,
            boot: Bytes([0; 16]),
        };
        let apply = |bytes: Vec<u8>| {
            let args = Map::new([(Text::new("licence").unwrap(), Value::Bytes(bytes))]);
            let ended = super::apply(&config, &args, &now);
            ended.code.map_or("done", Code::name)
        };
        let first = sign(&licence("AS1234", 3, None), &maker);
        let mut broken = first.clone();
        *broken.last_mut().unwrap() ^= 1;
        for (bytes, code) in [
            (sign(&licence("AS9999", 3, None), &maker), "wrong_device"),
            (sign(&licence("AS1234", 3, None), &other), "unknown_issuer"),
            (sign(&licence("AS1234", 3, Some(1000)), &maker), "expired"),
            (broken, "bad_signature"),
            (Vec::new(), "malformed"),
        ] {
            assert_eq!(apply(bytes), code);
            assert!(!config.file.exists());
        }
        assert_eq!(apply(first.clone()), "done");
        assert_eq!(std::fs::read(&config.file).unwrap(), first);
        assert_eq!(
            apply(sign(&licence("AS1234", 3, None), &maker)),
            "downgrade"
        );
        assert_eq!(
            apply(sign(&licence("AS1234", 4, Some(2000)), &maker)),
            "done"
        );
        assert_eq!(apply(first), "downgrade");
    }
}
