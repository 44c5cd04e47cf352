//! A database with many shares. `DOORWARD_SHARES=100000` makes it as large as that of a platform; the
//! times are printed for information.

use crate::accounts;

use std::time::{Duration, Instant};

use doorkey::domain::{Account, AccountRole, Actor, NewShare, ShareTarget};
use doorkey::service::{PAGE, Platform};
use doorward_protocol::wire::{Audience, Timestamp};

use accounts::{id, key};

const NOW: Timestamp = Timestamp(1_800_000_000);

/// A platform with the given number of shares: each device is shared with five people, and each person
/// has a hundred shares.
async fn platform(directory: &std::path::Path, shares: usize) -> Platform {
    let platform = Platform::init(directory, None, id("acme"), NOW)
        .await
        .unwrap();
    let devices: Vec<Audience> = (0..shares / 5)
        .map(|at| Audience::Device(id(&format!("ups-{at}"))))
        .collect();
    for device in &devices {
        let Audience::Device(name) = device else {
            continue;
        };
        let new = accounts::registration(name.as_str(), "ole");
        platform.register(new, NOW).await.unwrap();
    }
    for (at, some) in devices.chunks(100).enumerate() {
        for person in 0..5 {
            let name = format!("person-{at}-{person}");
            let new = share_with(&name);
            let made = platform
                .share(Actor::Issuer, some, &new, NOW)
                .await
                .unwrap();
            assert!(made.each.iter().all(|(_, made)| made.is_ok()));
        }
    }
    platform
}

fn share_with(name: &str) -> NewShare {
    NewShare {
        to: ShareTarget::Key(id(name), key(name).public()),
        permissions: vec!["view".into()],
        end: NOW.plus(86400),
        description: None,
        region: id("eu"),
        limits: None,
    }
}

/// Median time of 21 runs.
async fn timed<F: Future<Output = ()>>(mut work: impl FnMut(u64) -> F) -> Duration {
    let mut times = Vec::new();
    for at in 0..21 {
        let start = Instant::now();
        work(at).await;
        times.push(start.elapsed());
    }
    times.sort();
    times[10]
}

async fn measure(shares: usize) {
    let directory = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let platform = platform(directory.path(), shares).await;
    let made = start.elapsed();
    let mut ole = platform.account(&id("ole")).await.unwrap().unwrap();
    ole.role = AccountRole::Holder;
    let person = Account {
        id: id("person-0-0"),
        ..ole.clone()
    };
    let platform = &platform;
    let device = |at: u64| Audience::Device(id(&format!("ups-{at}")));
    let (ole, person) = (&ole, &person);
    println!("{shares} shares, made in {made:?}:");
    let print = |what: &str, time: Duration| println!("  {what:<44} {time:?}");
    let time = timed(|from| async move {
        let page = platform.shared_by(ole, from % 2 * PAGE, NOW).await.unwrap();
        assert!(!page.is_empty());
    });
    print("list a page of 500 shares by an account", time.await);
    let time = timed(|_| async move {
        let mine = platform.shared_with(person, 0, NOW).await.unwrap();
        assert!(!mine.is_empty());
    });
    print("list the 100 shares with an account", time.await);
    let time = timed(|at| async move {
        let shares = platform.shares(&device(at), NOW).await.unwrap();
        platform
            .cancel(Actor::Account(ole), &[shares[0].id], NOW)
            .await
            .unwrap();
    });
    print("cancel a share", time.await);
    let time = timed(|at| async move {
        let shares = platform.shares(&device(at), NOW).await.unwrap();
        platform
            .extend(Actor::Account(ole), &shares[1].id, 60, NOW)
            .await
            .unwrap();
    });
    print("extend a share", time.await);
    let time = timed(|at| async move {
        let new = share_with(&format!("person-0-{}", at % 5));
        platform
            .share(Actor::Account(ole), &[device(at)], &new, NOW)
            .await
            .unwrap();
    });
    print("share a device", time.await);
    let time = timed(|_| async move {
        let out = platform.ledger().claim_outgoing(32, NOW).await.unwrap();
        assert!(!out.is_empty());
    });
    print("claim 32 statements for publishing", time.await);
    let time = timed(|_| async move {
        platform.run_maintenance(NOW).await.unwrap();
    });
    print("maintenance", time.await);
    platform.ledger().close().await;
}

#[test]
fn a_database_with_many_shares_stays_fast() {
    let set = std::env::var("DOORWARD_SHARES").ok();
    let shares = set.and_then(|text| text.parse().ok()).unwrap_or(1000);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(measure(shares));
}
