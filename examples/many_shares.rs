//! Signs many shares of one device and a long revocation list, to measure their cost:
//! `many_shares ISSUER DEVICE SHARES CANCELLED FILE`. `doorward import FILE` imports them on the
//! device.
#![allow(missing_docs, reason = "this is a program")]

use std::error::Error;
use std::path::Path;

use doorkey::keys::Keys;
use doorward_protocol::wire::{
    Audience, Bytes, Confirmation, Id, Map, Operation, Permission, Revocations, RevocationsBody,
    Role, SecretKey, Share, ShareBody, Timestamp, hash,
};

const DAY: u64 = 86400;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [issuer, device, shares, cancelled, file] = args.as_slice() else {
        return Err("usage: many_shares ISSUER DEVICE SHARES CANCELLED FILE".into());
    };
    let keys = Keys::open(Path::new(issuer))?;
    let device = Audience::Device(Id::new(device)?);
    let now = doorward_transport::clock::system();
    let mut out = Vec::new();
    for at in 0..shares.parse()? {
        out.extend(keys.sign(Role::Shares, &share(&keys, &device, at, now)?)?);
    }
    out.extend(keys.sign(
        Role::Revocations,
        &list(&keys, device, cancelled.parse()?, now),
    )?);
    std::fs::write(file, out)?;
    Ok(())
}

fn name(what: &str, at: u64) -> [u8; 32] {
    hash(format!("{what} {at}").as_bytes()).0
}

fn id(what: &str, at: u64) -> Bytes<16> {
    Bytes(std::array::from_fn(|byte| name(what, at)[byte]))
}

fn share(keys: &Keys, device: &Audience, at: u64, now: Timestamp) -> Result<Share, Box<dyn Error>> {
    let holder = SecretKey::from_seed(&name("holder", at));
    let read = Operation::new("status.read")?;
    let reboot = Operation::new("device.reboot")?;
    let permission = || Permission { args: None };
    Ok(Share {
        iss: keys.name().clone(),
        sub: Id::new(&format!("person-{at}"))?,
        aud: device.clone(),
        exp: now.plus(30 * DAY),
        nbf: now,
        iat: now,
        cti: id("share", at),
        cnf: Confirmation(holder.public()),
        body: ShareBody {
            format: 1,
            version: 1,
            permissions: Map::new([(read, permission()), (reboot, permission())]),
            by: Id::new("ole")?,
            description: None,
            lease: None,
            region: Id::new("eu")?,
            group: None,
            limits: None,
        },
    })
}

fn list(keys: &Keys, device: Audience, cancelled: u64, now: Timestamp) -> Revocations {
    Revocations {
        iss: keys.name().clone(),
        aud: device,
        iat: now,
        body: RevocationsBody {
            format: 1,
            // Higher than any number that the ledger has used so far.
            seq: 1_000_000,
            next: now.plus(DAY),
            shares: Map::new((0..cancelled).map(|at| (id("cancelled", at), now.plus(30 * DAY)))),
            holders: Map::default(),
            subjects: Map::default(),
            before: Timestamp(0),
        },
    }
}
