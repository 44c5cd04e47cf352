//! Cancelling, and what devices say of it.

use doorkey::domain::{AccountRole, Actor, RuleCode, Status};
use doorkey::service::FRESH_FOR;
use doorward_protocol::wire::{Kind, Outcome, Revocations, hash};

use super::world::{NOW, World, device, id, receipt, rule, state};

pub async fn s38_s61_s62_cancelling_is_one_list_and_applied_when_the_device_has_said_so(
    world: World,
) {
    let ole = world.who("ole").await;
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
    assert_eq!(world.token(&a).await, None, "no broker keeps it any longer");
    assert_eq!(world.status(&a.id).await, Status::CancelRequested);
    assert!(world.says("ups-1", 1, &[(&audience, 0)]).await);
    assert_eq!(world.status(&a.id).await, Status::CancelRequested);
    assert!(world.says("ups-1", 1, &[(&audience, 1)]).await);
    assert_eq!(world.status(&a.id).await, Status::CancelApplied);
    assert_eq!(world.status(&c.id).await, Status::Active);
    let eve = world.account("eve", AccountRole::Holder).await;
    let hers = world
        .platform
        .cancel(Actor::Account(&eve), &[c.id], NOW)
        .await;
    assert_eq!(rule(hers), RuleCode::Unknown);
}

pub async fn s18_who_gives_up_a_share_frees_the_slot_and_nobody_elses(world: World) {
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
        "the device has not said so"
    );
    world.says("ups-1", 1, &[(&device("ups-1"), 1)]).await;
    world.share("ups-1", "f").await.unwrap();
}

pub async fn s59_a_share_is_on_the_device_when_its_receipt_is_here(world: World) {
    let share = world.share("ups-1", "anna").await.unwrap();
    assert!(world.receives("ups-1", &share, Outcome::Done).await);
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
    assert!(world.receives("ups-1", &share, Outcome::Done).await);
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
    assert!(world.receives("ups-1", &other, Outcome::Denied).await);
    assert_eq!(world.status(&other.id).await, Status::Refused);
}

pub async fn n04_what_a_device_did_not_sign_is_not_its_word(world: World) {
    let audience = device("ups-1");
    let share = world.share("ups-1", "anna").await.unwrap();
    let hex = share.id.hex();
    let kept = world
        .platform
        .statement(&audience, Kind::Share, &hex)
        .await
        .unwrap()
        .unwrap();
    let about = hash(&kept);
    let on = id("ups-1");
    for bytes in [
        receipt("ups-1", "ups-2", &share.id, about, Outcome::Done),
        receipt("ups-2", "ups-1", &share.id, about, Outcome::Done),
        receipt("ups-1", "ups-1", &share.id, hash(b"else"), Outcome::Done),
        b"junk".to_vec(),
    ] {
        assert!(!world.platform.hear_receipt(&on, &bytes).await.unwrap());
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
        assert!(!world.platform.hear_state(&on, &bytes, NOW).await.unwrap());
    }
    assert!(
        !world
            .platform
            .hear_state(&id("no-such"), b"", NOW)
            .await
            .unwrap()
    );
    assert_eq!(world.status(&share.id).await, Status::CancelRequested);
}

pub async fn a_list_that_overflows_raises_the_floor_and_what_is_live_is_signed_anew(world: World) {
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
    assert!(before.is_extended_by(&after), "a device would take it");
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
        "what was signed since has an entry again"
    );
}

pub async fn lists_are_signed_anew_before_they_are_old(world: World) {
    let audience = device("ups-1");
    world.share("ups-1", "anna").await.unwrap();
    let signed = world.platform.chores(NOW).await.unwrap();
    assert!(signed >= 1);
    let list: Revocations = world.claims(&audience).await;
    assert_eq!(list.body.next, NOW.plus(FRESH_FOR));
    assert_eq!(
        world
            .platform
            .chores(NOW.plus(FRESH_FOR - 1))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        world
            .platform
            .chores(NOW.plus(FRESH_FOR + 1))
            .await
            .unwrap(),
        signed
    );
    let again: Revocations = world.claims(&audience).await;
    assert_eq!(again.body.seq, list.body.seq + 1);
}

pub async fn what_one_process_has_taken_to_publish_no_other_takes(world: World) {
    for device in ["ups-1", "ups-2", "ups-3"] {
        for _ in 0..10 {
            world.share(device, "anna").await.unwrap();
        }
    }
    let world = std::rc::Rc::new(world);
    let taken = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let tasks = tokio::task::LocalSet::new();
    for _ in 0..8 {
        let (world, taken) = (world.clone(), taken.clone());
        tasks.spawn_local(async move {
            let mine = world.platform.ledger().outgoing(10, NOW).await.unwrap();
            taken
                .borrow_mut()
                .extend(mine.into_iter().map(|outgoing| outgoing.topic.name));
        });
    }
    tasks.await;
    let mut names = taken.take();
    names.retain(|name| !name.is_empty());
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all, "somebody has taken what was another's");
    assert!(all >= 20, "{all}");
}

pub async fn what_a_broker_should_keep_goes_out_until_the_device_has_it(world: World) {
    let share = world.share("ups-1", "anna").await.unwrap();
    let ledger = world.platform.ledger();
    let out = |at| async move {
        let mut out = ledger.outgoing(100, at).await.unwrap();
        out.retain(|outgoing| outgoing.topic.kind == Kind::Share);
        out
    };
    let first = out(NOW).await;
    assert_eq!(first.len(), 1);
    assert!(out(NOW).await.is_empty(), "somebody has taken it");
    assert_eq!(
        out(NOW.plus(31)).await.len(),
        1,
        "who took it may have died"
    );
    ledger.published(&first[0], NOW.plus(31)).await.unwrap();
    assert!(out(NOW.plus(35)).await.is_empty());
    let again = out(NOW.plus(100)).await;
    assert_eq!(again, first, "the device has not said that it has it");
    world
        .platform
        .extend(Actor::Issuer, &share.id, 60, NOW)
        .await
        .unwrap();
    ledger.published(&again[0], NOW.plus(100)).await.unwrap();
    let newer = out(NOW.plus(100)).await;
    assert_eq!(newer.len(), 1, "it was changed while it was on its way");
    assert_ne!(newer[0].bytes, first[0].bytes);
    ledger.published(&newer[0], NOW.plus(100)).await.unwrap();
    world.receives("ups-1", &share, Outcome::Done).await;
    assert!(out(NOW.plus(1_000_000)).await.is_empty());
    world.platform.chores(share.end.plus(60)).await.unwrap();
    let gone = out(share.end.plus(60)).await;
    assert!(gone[0].bytes.is_empty(), "what has ended need not be kept");
}
