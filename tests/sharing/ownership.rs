//! Ownership of devices.

use doorkey::domain::{AccountRole, Actor, RuleCode, Status};
use doorkey::service::Claim;
use doorward_protocol::wire::{Outcome, Plan, Registration, Revocations, Text};

use super::world::{NOW, World, device, id, key, rule};

fn claim(secret: &str) -> Claim {
    Claim {
        device: id("ups-9"),
        device_key: key("ups-9").public(),
        secret: secret.into(),
        model: Text::new("Smart-UPS").unwrap(),
        site: None,
    }
}

pub async fn s11_the_bearer_of_the_claim_secret_becomes_the_owner_only_once(world: World) {
    let (ole, mia) = (
        world.get_account("ole").await,
        world.account("mia", AccountRole::Holder).await,
    );
    let uma = world.account("uma", AccountRole::User).await;
    world
        .platform
        .add_claim(&id("ups-9"), "label-code")
        .await
        .unwrap();
    world
        .register("ev-1", |new| new.site = Some(id("depot")))
        .await;
    let foreign = Claim {
        site: Some(id("depot")),
        ..claim("label-code")
    };
    let to_foreign_site = world.platform.claim(&mia, foreign, NOW).await;
    assert_eq!(
        rule(to_foreign_site),
        RuleCode::Unknown,
        "the site of another owner"
    );
    let wrong = world.platform.claim(&ole, claim("guessed"), NOW).await;
    assert_eq!(rule(wrong), RuleCode::WrongClaim);
    assert_eq!(
        rule(world.platform.claim(&uma, claim("label-code"), NOW).await),
        RuleCode::Role
    );
    let owned = world
        .platform
        .claim(&mia, claim("label-code"), NOW)
        .await
        .unwrap();
    assert_eq!((owned.owner, owned.plan.name), (id("mia"), id("basic")));
    let again = world.platform.claim(&ole, claim("label-code"), NOW).await;
    assert_eq!(rule(again), RuleCode::WrongClaim);
    world
        .platform
        .add_claim(&id("ups-9"), "another")
        .await
        .unwrap();
    assert_eq!(
        rule(world.platform.claim(&ole, claim("another"), NOW).await),
        RuleCode::WrongClaim
    );
    let registration: Registration = world.claims(&device("ups-9")).await;
    assert_eq!(
        (registration.sub, registration.cnf.0),
        (id("mia"), key("mia").public())
    );
}

pub async fn s12_only_the_owner_deletes_a_device(world: World) {
    let ups = id("ups-1");
    let anna = world.account("anna", AccountRole::Holder).await;
    let eve = world.account("eve", AccountRole::Holder).await;
    let ole = world.get_account("ole").await;
    world.share("ups-1", "anna").await.unwrap();
    let delete = |account| world.platform.delete(account, &ups, NOW);
    assert_eq!(
        rule(delete(Actor::Account(&anna)).await),
        RuleCode::NotOwner
    );
    assert_eq!(rule(delete(Actor::Account(&eve)).await), RuleCode::Unknown);
    delete(Actor::Account(&ole)).await.unwrap();
    assert_eq!(world.platform.device(&ups).await.unwrap(), None);
    assert_eq!(rule(world.share("ups-1", "anna").await), RuleCode::Unknown);
    let again = world.register("ups-1", |_| {}).await;
    assert!(again.seq > 2, "sequence numbers never decrease");
}

pub async fn n17_a_handover_ends_every_share_in_one_step(world: World) {
    let ups = id("ups-1");
    let ole = world.get_account("ole").await;
    let mia = world.account("mia", AccountRole::Holder).await;
    let share = world.share("ups-1", "anna").await.unwrap();
    world.confirm_share("ups-1", &share, Outcome::Done).await;
    let before = world.token(&share).await.unwrap();
    let at = NOW.plus(50);
    world
        .platform
        .transfer_ownership(Actor::Account(&ole), &ups, &id("mia"), at)
        .await
        .unwrap();
    let registration: Registration = world.claims(&device("ups-1")).await;
    assert_eq!(registration.sub, id("mia"));
    assert!(
        before.iat < registration.body.since,
        "the device ends it without a list"
    );
    let list: Revocations = world.claims(&device("ups-1")).await;
    assert!(list.ends(&before));
    assert_eq!(world.status(&share.id).await, Status::CancelRequested);
    assert_eq!(
        rule(world.share("ups-1", "ben").await),
        RuleCode::Unknown,
        "ole is not the owner any more"
    );
    let back = world
        .platform
        .transfer_ownership(Actor::Account(&ole), &ups, &id("ole"), at)
        .await;
    assert_eq!(rule(back), RuleCode::Unknown);
    assert_eq!(world.platform.devices_of(&mia).await.unwrap().len(), 1);
}

pub async fn s20_only_the_platform_sets_plans_and_an_upgrade_restores_operations(world: World) {
    let ups = id("ups-1");
    let ole = world.get_account("ole").await;
    let otto = world.account("otto", AccountRole::Operator).await;
    let share = world.share("ups-1", "anna").await.unwrap();
    world.confirm_share("ups-1", &share, Outcome::Done).await;
    let plan = |name: &str| Plan {
        name: id(name),
        end: None,
    };
    let owner = world
        .platform
        .set_plan(Actor::Account(&ole), &ups, plan("basic"), NOW)
        .await;
    assert_eq!(rule(owner), RuleCode::Role, "an owner cannot set plans");
    let set = |name| {
        world
            .platform
            .set_plan(Actor::Account(&otto), &ups, name, NOW)
    };
    assert_eq!(rule(set(plan("gold")).await), RuleCode::Invalid);
    set(plan("basic")).await.unwrap();
    assert_eq!(world.status(&share.id).await, Status::Suspended);
    set(plan("advanced")).await.unwrap();
    assert_eq!(
        world.status(&share.id).await,
        Status::OnDevice,
        "the same share, not a new one"
    );
    let registration: Registration = world.claims(&device("ups-1")).await;
    assert_eq!(registration.body.seq, 3);
}

pub async fn numbers_increase_by_one_despite_concurrent_writers(world: World) {
    let world = std::rc::Rc::new(world);
    let tasks = tokio::task::LocalSet::new();
    for _ in 0..8 {
        let world = world.clone();
        tasks.spawn_local(async move {
            for _ in 0..5 {
                world
                    .platform
                    .refresh_revocation_list(&device("ups-1"), NOW)
                    .await
                    .unwrap();
                world.register("ups-1", |_| {}).await;
            }
        });
    }
    tasks.await;
    let list: Revocations = world.claims(&device("ups-1")).await;
    assert_eq!(list.body.seq, 40);
    let registration: Registration = world.claims(&device("ups-1")).await;
    assert_eq!(registration.body.seq, 41);
}

pub async fn a_device_named_like_a_site_is_not_registered(world: World) {
    for name in ["site", "site:north"] {
        let new = crate::accounts::registration(name, "ole");
        let refused = world.platform.register(new, NOW).await.unwrap_err();
        assert!(
            refused.to_string().contains("must not be `site`"),
            "{refused}"
        );
        let refused = world
            .platform
            .add_claim(&id(name), "secret")
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("must not be `site`"),
            "{refused}"
        );
    }
}
