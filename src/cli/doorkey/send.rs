//! `doorkey send`: who asks, what is brought along, and where a large result goes.

use std::process::ExitCode;
use std::time::Duration;

use super::Home;
use super::args::Send;
use super::fetch;
use super::values::Argument;
use crate::cli::send::{self, Request};
use crate::cli::{Failure, block_on, status};
use crate::files;
use crate::issuer::{Holder, Wish};
use crate::wire::{Audience, Bundle, Id, KeyBytes, Map, Outcome, PublicKey, Receipt, Registration};

/// Sends it, and shows what came of it.
pub(super) fn run(home: &Home, args: Send, json: bool) -> Result<ExitCode, Failure> {
    let holder = Holder::open(&args.key)?;
    let (mut carry, mut news) = (Vec::new(), Vec::new());
    let mut device_key = args.device_key.map(|key| key.0);
    if let Some(pass) = &args.pass {
        let bytes = files::read(pass, 1 << 16)?;
        device_key = device_key.or(key_in_pass(&bytes, &args.device));
        carry.push(bytes);
    }
    // An issuer has the news, and whoever comes to the device can bring them.
    let known = block_on(async {
        let platform = home.open().await?;
        let device = platform.device(&args.device).await?;
        Ok((device, platform.news(&args.device).await?))
    });
    match known {
        Ok((Some(device), kept)) => {
            device_key = device_key.or(Some(device.key));
            news = kept;
        }
        Ok((None, _)) => {}
        // Those who hold a pass need no issuer's files.
        Err(_) if device_key.is_some() || !home.directory.exists() => {}
        Err(failure) => return Err(failure),
    }
    for file in &args.carry {
        carry.push(files::read(file, 1 << 16)?);
    }
    let device_key = device_key.ok_or_else(|| {
        Failure::new(
            status::DATA,
            format!(
                "the key of {} is not known, so its receipts could not be verified",
                args.device
            ),
        )
        .with_remedy("Give --pass FILE, --device-key HEX, or the issuer's directory.")
    })?;
    let device_key = PublicKey::new(&device_key)
        .map_err(|error| Failure::new(status::DATA, format!("the device's key: {error}")))?;
    let wish = Wish {
        device: args.device,
        operation: args.operation,
        args: Map::new(
            args.args
                .into_iter()
                .map(|Argument(name, value)| (name, value)),
        ),
        ttl: args.ttl,
        dry: args.dry_run,
    };
    let broker = args.broker.broker().ok_or_else(|| {
        Failure::new(status::USAGE, "no broker was named").with_remedy("Give --broker URL.")
    })?;
    let request = Request {
        carry: &carry,
        news: &news,
        wait: Duration::from_secs(args.wait),
        results: args.out.is_some(),
        told: &|receipt| tell(receipt, json),
        ..Request::new(&broker, &device_key, &holder, &wish)
    };
    let sent = block_on(send::send(&request))?;
    send::print(&request, &sent, json);
    if let (Some(path), Some(receipt)) = (&args.out, &sent.receipt)
        && receipt.body.outcome == Outcome::Done
    {
        let result = block_on(fetch::whole(&request, receipt, sent.pieces))?;
        files::replace(path, &result, 0o600)?;
        if !json {
            println!("written   {} bytes to {}", result.len(), path.display());
        }
    }
    Ok(ExitCode::from(send::exit_of(sent.receipt.as_ref())))
}

/// How far a long operation has come, for those who watch.
fn tell(receipt: &Receipt, json: bool) {
    use std::io::IsTerminal;
    if json && !std::io::stderr().is_terminal() {
        return;
    }
    let rows = receipt.body.result.iter();
    let rows: Vec<String> = rows
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    eprintln!("executing {}", rows.join(", "));
}

/// The device's key in the registration of a pass. Whoever gave the pass vouches for it.
fn key_in_pass(pass: &[u8], device: &Id) -> Option<KeyBytes> {
    let bundle = Bundle::parse(pass).ok()?;
    bundle
        .statements
        .into_iter()
        .filter_map(Result::ok)
        .filter_map(|envelope| envelope.claims::<Registration>().ok())
        .find(|registration| registration.aud == Audience::Device(device.clone()))
        .map(|registration| registration.body.device)
}
