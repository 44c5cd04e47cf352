//! Making and listing shares.

use doorkey::domain::{AccountRole, Actor, RuleCode, ShareTarget, Status};
use doorward_protocol::wire::{Kind, Plan, Registration, Timestamp};

use super::world::{DAY, NOW, World, device, id, key, rule};

pub async fn s01_s14_each_device_gets_a_share_of_its_own_and_the_owner_stays_the_owner(
    world: World,
) {
    let ole = world.get_account("ole").await;
    let before = world
        .platform
        .statement(&device("ups-1"), Kind::Registration, "")
        .await
        .unwrap();
    let to = ShareTarget::Key(id("anna"), key("anna").public());
    let audiences = ["ups-1", "ups-2", "ups-3"].map(device);
    let new = World::new_share(to, &["view"]);
    let made = world
        .platform
        .share(Actor::Account(&ole), &audiences, &new, NOW)
        .await
        .unwrap();
    let shares: Vec<_> = made
        .each
        .into_iter()
        .map(|(_, share)| share.unwrap())
        .collect();
    assert_eq!(shares.len(), 3);
    assert!(shares[0].id != shares[1].id && shares[1].id != shares[2].id);
    for share in &shares {
        let token = world.token(share).await.unwrap();
        assert_eq!((token.sub, token.body.by), (id("anna"), id("ole")));
    }
    let ids = [shares[1].id];
    world
        .platform
        .cancel(Actor::Account(&ole), &ids, NOW)
        .await
        .unwrap();
    let status = [&shares[0], &shares[1], &shares[2]];
    assert_eq!(world.status(&status[0].id).await, Status::Active);
    assert_eq!(world.status(&status[1].id).await, Status::CancelRequested);
    assert_eq!(world.status(&status[2].id).await, Status::Active);
    let after = world
        .platform
        .statement(&device("ups-1"), Kind::Registration, "")
        .await
        .unwrap();
    assert_eq!(before, after);
}

pub async fn s02_the_sixth_person_is_refused_before_anything_is_signed(world: World) {
    for name in ["a", "b", "c", "d", "e"] {
        world.share("ups-1", name).await.unwrap();
    }
    assert_eq!(rule(world.share("ups-1", "f").await), RuleCode::SlotsFull);
    world
        .share("ups-1", "e")
        .await
        .expect("a second share of one person takes no second slot");
    assert_eq!(
        world
            .platform
            .shares(&device("ups-1"), NOW)
            .await
            .unwrap()
            .len(),
        6
    );
    world
        .share("ups-2", "f")
        .await
        .expect("another device has slots of its own");
}

pub async fn s19_s20_without_sharing_in_the_plan_no_new_share_is_made_and_old_ones_stay(
    world: World,
) {
    let share = world.share("ups-1", "anna").await.unwrap();
    let plan = Plan {
        name: id("basic"),
        end: None,
    };
    world
        .platform
        .set_plan(Actor::Issuer, &id("ups-1"), plan, NOW)
        .await
        .unwrap();
    assert_eq!(rule(world.share("ups-1", "ben").await), RuleCode::Plan);
    world
        .confirm_share("ups-1", &share, doorward_protocol::wire::Outcome::Done)
        .await;
    assert_eq!(world.status(&share.id).await, Status::Suspended);
    // Issued before the registration, though in the same second: a device must not treat it as a new
    // share.
    let registration: Registration = world.claims(&device("ups-1")).await;
    assert!(world.token(&share).await.unwrap().iat < registration.iat);
    let longer = world
        .platform
        .extend(Actor::Issuer, &share.id, DAY, NOW.plus(5));
    assert_eq!(
        rule(longer.await),
        RuleCode::Plan,
        "a device would treat it as a new share"
    );
}

pub async fn s44_a_recipient_cannot_share_with_others_and_strangers_learn_nothing(world: World) {
    let anna = world.account("anna", AccountRole::Holder).await;
    let eve = world.account("eve", AccountRole::Holder).await;
    world.share("ups-1", "anna").await.unwrap();
    let new = World::new_share(ShareTarget::Key(id("ben"), key("ben").public()), &["view"]);
    let share = |actor, on: &'static str| {
        let (platform, new) = (&world.platform, &new);
        async move {
            let made = platform
                .share(actor, &[device(on)], new, NOW)
                .await
                .unwrap();
            rule(made.each.into_iter().next().unwrap().1)
        }
    };
    assert_eq!(
        share(Actor::Account(&anna), "ups-1").await,
        RuleCode::NotResharable
    );
    assert_eq!(
        share(Actor::Account(&eve), "ups-1").await,
        RuleCode::Unknown
    );
    assert_eq!(
        share(Actor::Account(&eve), "no-such").await,
        RuleCode::Unknown
    );
}

pub async fn s45_s46_of_several_devices_each_gets_the_reason_why_it_was_not_shared(world: World) {
    world.register("ups-2", |new| new.demo = true).await;
    let ole = world.get_account("ole").await;
    let audiences = ["ups-1", "ups-2", "no-such"].map(device);
    let new = World::new_share(
        ShareTarget::Key(id("anna"), key("anna").public()),
        &["view"],
    );
    let made = world
        .platform
        .share(Actor::Account(&ole), &audiences, &new, NOW)
        .await
        .unwrap();
    let mut each = made.each.into_iter().map(|(_, made)| made);
    assert!(each.next().unwrap().is_ok());
    assert_eq!(rule(each.next().unwrap()), RuleCode::Demo);
    assert_eq!(rule(each.next().unwrap()), RuleCode::Unknown);
}

pub async fn s42_an_account_whose_role_does_not_permit_sharing_cannot_share(world: World) {
    for (name, role) in [("uma", AccountRole::User), ("otto", AccountRole::Operator)] {
        let account = world.account(name, role).await;
        let new = World::new_share(
            ShareTarget::Key(id("anna"), key("anna").public()),
            &["view"],
        );
        let made = world
            .platform
            .share(Actor::Account(&account), &[device("ups-1")], &new, NOW)
            .await;
        assert_eq!(rule(made), RuleCode::Role);
    }
}

pub async fn s49_s65_two_shares_of_one_person_are_listed_apart(world: World) {
    let first = world.share("ups-1", "anna").await.unwrap();
    let second = world.share("ups-1", "anna").await.unwrap();
    let ole = world.get_account("ole").await;
    let listed = world.platform.shared_by(&ole, 0, NOW).await.unwrap();
    let mut ids: Vec<_> = listed.iter().map(|listed| listed.share.id).collect();
    let mut made = vec![first.id, second.id];
    ids.sort();
    made.sort();
    assert_eq!(ids, made);
    world
        .platform
        .cancel(Actor::Account(&ole), &[first.id], NOW)
        .await
        .unwrap();
    assert_eq!(world.status(&second.id).await, Status::Active);
}

pub async fn s54_a_device_added_later_has_the_same_end_and_an_id_of_its_own(world: World) {
    let (second, third) = (device("ups-2"), device("ups-3"));
    let ole = world.get_account("ole").await;
    let first = world.share("ups-1", "anna").await.unwrap();
    let later = NOW.plus(DAY);
    let added = world
        .platform
        .add_device(Actor::Account(&ole), &first.id, &second, later);
    let added = added.await.unwrap();
    assert_ne!(added.id, first.id);
    let token = world.token(&added).await.unwrap();
    assert_eq!(
        (token.exp, token.nbf, token.aud),
        (first.end, later, device("ups-2"))
    );
    assert_eq!(token.body.permissions, first.permissions);
    world
        .platform
        .cancel(Actor::Account(&ole), &[first.id], later)
        .await
        .unwrap();
    let again = world
        .platform
        .add_device(Actor::Account(&ole), &first.id, &third, later);
    assert_eq!(rule(again.await), RuleCode::Ended);
}

pub async fn s60_an_extension_is_the_same_share_with_a_later_end(world: World) {
    let ole = world.get_account("ole").await;
    let share = world.share("ups-1", "anna").await.unwrap();
    let before = world.token(&share).await.unwrap();
    let at = NOW.plus(DAY);
    world
        .platform
        .extend(Actor::Account(&ole), &share.id, 7 * DAY, at)
        .await
        .unwrap();
    let after = world.token(&share).await.unwrap();
    assert!(before.is_extended_by(&after), "a device accepts it");
    assert_eq!(
        after.exp,
        before.exp.plus(7 * DAY),
        "from the end, not from now"
    );
    let over = before.exp.plus(7 * DAY);
    let late = world
        .platform
        .extend(Actor::Account(&ole), &share.id, DAY, over)
        .await;
    assert_eq!(rule(late), RuleCode::Ended);
    let eve = world.account("eve", AccountRole::Holder).await;
    let hers = world
        .platform
        .extend(Actor::Account(&eve), &share.id, DAY, at)
        .await;
    assert_eq!(rule(hers), RuleCode::Unknown);
}

pub async fn s58_s64_both_sides_see_what_is_shared(world: World) {
    let ole = world.get_account("ole").await;
    let anna = world.account("anna", AccountRole::User).await;
    let one = world.share("ups-1", "anna").await.unwrap();
    world.share("ups-2", "anna").await.unwrap();
    world.share("ups-2", "ben").await.unwrap();
    assert_eq!(
        world.platform.shared_by(&ole, 0, NOW).await.unwrap().len(),
        3
    );
    let hers = world.platform.shared_with(&anna, 0, NOW).await.unwrap();
    assert_eq!(hers.len(), 2);
    assert!(hers.iter().all(|listed| listed.share.by == id("ole")));
    world
        .platform
        .cancel(Actor::Account(&ole), &[one.id], NOW)
        .await
        .unwrap();
    assert_eq!(
        world
            .platform
            .shared_with(&anna, 0, NOW)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        world.platform.shared_by(&ole, 0, NOW).await.unwrap().len(),
        3,
        "history stays"
    );
}

pub async fn n22_n28_the_access_review_lists_rights_and_unused_permissions(world: World) {
    let ole = world.get_account("ole").await;
    let share = world.share("ups-1", "anna").await.unwrap();
    let other = world.share("ups-1", "ben").await.unwrap();
    let later = |days: u64| NOW.plus(days * DAY);
    for share in [&share, &other] {
        world
            .platform
            .extend(Actor::Issuer, &share.id, 365 * DAY, NOW)
            .await
            .unwrap();
    }
    world
        .platform
        .record_share_use(&id("ups-1"), &share.id, later(20))
        .await
        .unwrap();
    world
        .platform
        .record_share_use(&id("ups-1"), &share.id, later(10))
        .await
        .unwrap();
    let unused = |review: &[doorkey::service::Access]| {
        let unused = review.iter().filter(|access| access.unused);
        unused
            .map(|access| access.listing.share.id)
            .collect::<Vec<_>>()
    };
    let review = world
        .platform
        .review(Actor::Account(&ole), later(61))
        .await
        .unwrap();
    assert_eq!(review.len(), 2);
    assert_eq!(unused(&review), [other.id]);
    let used = review.iter().find_map(|access| access.listing.share.used);
    assert_eq!(used, Some(later(20)), "the last use counts");
    let alerts = world.platform.alerts(&id("ole"), 10).await.unwrap();
    assert_eq!(
        alerts
            .iter()
            .filter(|alert| alert.kind == "first_use")
            .count(),
        1
    );
    world.register("ups-9", |new| new.owner = id("mia")).await;
    assert_eq!(
        world
            .platform
            .review(Actor::Account(&ole), NOW)
            .await
            .unwrap()
            .len(),
        2
    );
    let registration: Registration = world.claims(&device("ups-9")).await;
    assert_eq!(registration.sub, id("mia"));
    assert!(
        world
            .platform
            .review(Actor::Issuer, Timestamp(u64::MAX >> 12))
            .await
            .unwrap()
            .is_empty()
    );
}
