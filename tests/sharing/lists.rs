//! Cancellation, revocation lists, and confirmations of devices.

use doorkey::domain::{AccountRole, Actor, RuleCode, Status};
use doorkey::service::LIST_REFRESH_INTERVAL;
use doorward_protocol::wire::{Kind, Outcome, Revocations, hash};

use super::world::{NOW, World, device, id, receipt, rule, state};

pub async fn s38_s61_s62_cancelling_makes_one_list_and_is_applied_once_confirmed(world: World) {
    let ole = world.get_account("ole").await;
    let audience = device("ups-1");
    let [a, b, c] = ["a", "b", "c"];
    let (a, b, c) = (
        world.share("ups-1", a).await.unwrap(),
        world.share("ups-1", b).await.unwrap(),
        world.share("ups-1", c).await.unwrap(),
    );
    let ids = [a.id, b.id];
    let each = world
        .platform
        .cancel(Actor::Account(&ole), &ids, NOW)
        .await
        .unwrap();
    assert_eq!(each.len(), 1, "one list for one device");
    let list: Revocations = world.claims(&audience).await;
    assert_eq!(list.body.seq, 1);
    let token = world.token(&c).await.unwrap();
    assert!(!list.ends(&token));
    assert_eq!(list.body.shares.len(), 2);
    assert_eq!(world.token(&a).await, None, "it is deleted from the broker");
    assert_eq!(world.status(&a.id).await, Status::CancelRequested);
    assert!(world.apply_state("ups-1", 1, &[(&audience, 0)]).await);
    assert_eq!(world.status(&a.id).await, Status::CancelRequested);
    assert!(world.apply_state("ups-1", 1, &[(&audience, 1)]).await);
    assert_eq!(world.status(&a.id).await, Status::CancelApplied);
    assert_eq!(world.status(&c.id).await, Status::Active);
    let eve = world.account("eve", AccountRole::Holder).await;
    let hers = world
        .platform
        .cancel(Actor::Account(&eve), &[c.id], NOW)
        .await;
    assert_eq!(rule(hers), RuleCode::Unknown);
}

pub async fn s18_giving_up_a_share_frees_its_slot_and_no_other(world: World) {
    let anna = world.account("anna", AccountRole::User).await;
    let hers = world.share("ups-1", "anna").await.unwrap();
    let bens = world.share("ups-1", "ben").await.unwrap();
    let not_hers = world.platform.relinquish(&anna, &bens.id, NOW).await;
    assert_eq!(rule(not_hers), RuleCode::Unknown);
    world
        .platform
        .relinquish(&anna, &hers.id, NOW)
        .await
        .unwrap();
    assert_eq!(world.status(&hers.id).await, Status::Relinquished);
    assert_eq!(world.status(&bens.id).await, Status::Active);
    for name in ["c", "d", "e"] {
        world.share("ups-1", name).await.unwrap();
    }
    assert_eq!(
        rule(world.share("ups-1", "f").await),
        RuleCode::SlotsFull,
        "the device has not confirmed it"
    );
    world
        .apply_state("ups-1", 1, &[(&device("ups-1"), 1)])
        .await;
    world.share("ups-1", "f").await.unwrap();
}

pub async fn s59_a_share_is_on_the_device_once_its_receipt_has_arrived(world: World) {
    let share = world.share("ups-1", "anna").await.unwrap();
    assert!(world.confirm_share("ups-1", &share, Outcome::Done).await);
    assert_eq!(world.status(&share.id).await, Status::OnDevice);
    world
        .platform
        .extend(Actor::Issuer, &share.id, 60, NOW)
        .await
        .unwrap();
    assert_eq!(
        world.status(&share.id).await,
        Status::Active,
        "the device has an older version"
    );
    assert!(world.confirm_share("ups-1", &share, Outcome::Done).await);
    assert_eq!(world.status(&share.id).await, Status::OnDevice);
    let alerts = world.platform.alerts(&id("ole"), 10).await.unwrap();
    assert_eq!(
        alerts
            .iter()
            .filter(|alert| alert.kind == "new_share")
            .count(),
        1
    );
    let other = world.share("ups-1", "ben").await.unwrap();
    assert!(world.confirm_share("ups-1", &other, Outcome::Denied).await);
    assert_eq!(world.status(&other.id).await, Status::Refused);
}

pub async fn n04_a_confirmation_that_the_device_did_not_sign_is_refused(world: World) {
    let audience = device("ups-1");
    let share = world.share("ups-1", "anna").await.unwrap();
    let hex = share.id.hex();
    let published = world
        .platform
        .statement(&audience, Kind::Share, &hex)
        .await
        .unwrap()
        .unwrap();
    let about = hash(&published);
    let on = id("ups-1");
    for bytes in [
        receipt("ups-1", "ups-2", &share.id, about, Outcome::Done),
        receipt("ups-2", "ups-1", &share.id, about, Outcome::Done),
        receipt("ups-1", "ups-1", &share.id, hash(b"else"), Outcome::Done),
        b"junk".to_vec(),
    ] {
        assert!(!world.platform.apply_receipt(&on, &bytes).await.unwrap());
    }
    assert_eq!(world.status(&share.id).await, Status::Active);
    world
        .platform
        .cancel(Actor::Issuer, &[share.id], NOW)
        .await
        .unwrap();
    for bytes in [
        state("ups-1", "ups-2", 1, &[(&audience, 9)]),
        state("ups-2", "ups-1", 1, &[(&audience, 9)]),
    ] {
        assert!(!world.platform.apply_state(&on, &bytes, NOW).await.unwrap());
    }
    assert!(
        !world
            .platform
            .apply_state(&id("no-such"), b"", NOW)
            .await
            .unwrap()
    );
    assert_eq!(world.status(&share.id).await, Status::CancelRequested);
}

pub async fn a_list_that_overflows_raises_the_floor_and_live_shares_are_signed_again(world: World) {
    let audience = device("ups-1");
    let mut ids = Vec::new();
    for _ in 0..1025 {
        ids.push(world.share("ups-1", "anna").await.unwrap());
    }
    let live = world.share("ups-1", "ben").await.unwrap();
    let before = world.token(&live).await.unwrap();
    let all: Vec<_> = ids.iter().map(|share| share.id).collect();
    let later = NOW.plus(100);
    world
        .platform
        .cancel(Actor::Issuer, &all[..1024], later)
        .await
        .unwrap();
    let list: Revocations = world.claims(&audience).await;
    assert_eq!((list.body.shares.len(), list.body.before.0), (1024, 0));
    world
        .platform
        .cancel(Actor::Issuer, &all[1024..], later)
        .await
        .unwrap();
    let list: Revocations = world.claims(&audience).await;
    assert_eq!((list.body.shares.len(), list.body.before), (0, later));
    let after = world.token(&live).await.unwrap();
    assert!(list.ends(&before) && !list.ends(&after));
    assert!(before.is_extended_by(&after), "a device accepts it");
    let first = world.share("ups-1", "cleo").await.unwrap();
    world
        .platform
        .extend(Actor::Issuer, &first.id, 60, later)
        .await
        .unwrap();
    world
        .platform
        .cancel(Actor::Issuer, &[first.id], later)
        .await
        .unwrap();
    let list: Revocations = world.claims(&audience).await;
    assert_eq!(
        list.body.shares.len(),
        1,
        "a share signed afterwards has an entry again"
    );
}

pub async fn lists_are_signed_again_before_they_are_too_old(world: World) {
    let audience = device("ups-1");
    world.share("ups-1", "anna").await.unwrap();
    let signed = world.platform.run_maintenance(NOW).await.unwrap();
    assert!(signed >= 1);
    let list: Revocations = world.claims(&audience).await;
    assert_eq!(list.body.next, NOW.plus(LIST_REFRESH_INTERVAL));
    assert_eq!(
        world
            .platform
            .run_maintenance(NOW.plus(LIST_REFRESH_INTERVAL - 1))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        world
            .platform
            .run_maintenance(NOW.plus(LIST_REFRESH_INTERVAL + 1))
            .await
            .unwrap(),
        signed
    );
    let again: Revocations = world.claims(&audience).await;
    assert_eq!(again.body.seq, list.body.seq + 1);
}

pub async fn a_statement_claimed_by_one_process_is_not_published_by_another(world: World) {
    for device in ["ups-1", "ups-2", "ups-3"] {
        for _ in 0..10 {
            world.share(device, "anna").await.unwrap();
        }
    }
    let world = std::rc::Rc::new(world);
    let claimed = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let tasks = tokio::task::LocalSet::new();
    for _ in 0..8 {
        let (world, claimed) = (world.clone(), claimed.clone());
        tasks.spawn_local(async move {
            let batch = world
                .platform
                .ledger()
                .claim_outgoing(10, NOW)
                .await
                .unwrap();
            claimed
                .borrow_mut()
                .extend(batch.into_iter().map(|outgoing| outgoing.id.name));
        });
    }
    tasks.await;
    let mut names = claimed.take();
    names.retain(|name| !name.is_empty());
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all, "a statement was claimed twice");
    assert!(all >= 20, "{all}");
}

pub async fn a_retained_statement_is_published_until_the_device_has_it(world: World) {
    let share = world.share("ups-1", "anna").await.unwrap();
    let ledger = world.platform.ledger();
    let claim = |at| async move {
        let mut out = ledger.claim_outgoing(100, at).await.unwrap();
        out.retain(|outgoing| outgoing.id.kind == Kind::Share);
        out
    };
    let first = claim(NOW).await;
    assert_eq!(first.len(), 1);
    assert!(claim(NOW).await.is_empty(), "it is claimed");
    assert_eq!(claim(NOW.plus(31)).await.len(), 1, "the claim has expired");
    ledger
        .mark_published(&first[0], NOW.plus(31))
        .await
        .unwrap();
    assert!(claim(NOW.plus(35)).await.is_empty());
    let again = claim(NOW.plus(100)).await;
    assert_eq!(again, first, "the device has not confirmed it");
    world
        .platform
        .extend(Actor::Issuer, &share.id, 60, NOW)
        .await
        .unwrap();
    ledger
        .mark_published(&again[0], NOW.plus(100))
        .await
        .unwrap();
    let newer = claim(NOW.plus(100)).await;
    assert_eq!(
        newer.len(),
        1,
        "it was changed while it was being published"
    );
    assert_ne!(newer[0].bytes, first[0].bytes);
    ledger
        .mark_published(&newer[0], NOW.plus(100))
        .await
        .unwrap();
    world.confirm_share("ups-1", &share, Outcome::Done).await;
    assert!(claim(NOW.plus(1_000_000)).await.is_empty());
    world
        .platform
        .run_maintenance(share.end.plus(60))
        .await
        .unwrap();
    let last = claim(share.end.plus(60)).await;
    assert!(
        last[0].bytes.is_empty(),
        "an ended share is deleted from the broker"
    );
}
