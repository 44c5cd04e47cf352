//! Groups and site shares.

use doorkey::domain::{AccountRole, Actor, Group, LookupKey, RuleCode, ShareTarget, Status};
use doorkey::service::NewGroup;
use doorward_protocol::wire::{Audience, Kind, Map, Roster, RosterBody, sign};

use super::world::{DAY, NOW, World, device, id, key, rule};

fn site() -> Audience {
    Audience::Site(id("depot"))
}

/// Registers two chargers of ole at the site depot, and the group of tess.
async fn depot(world: &World) -> Group {
    for name in ["ev-1", "ev-2"] {
        world
            .register(name, |new| new.site = Some(id("depot")))
            .await;
    }
    let tess = world.account("tess", AccountRole::GroupAdmin).await;
    let new = NewGroup {
        id: id("tzbv"),
        lookup_key: LookupKey::new("TZBV").unwrap(),
        name: "Test Zonnepanelen BV".into(),
        key: key("tzbv").public(),
        hosts: vec!["portal.tzbv.example".into()],
    };
    world.platform.add_group(&tess, new).await.unwrap()
}

fn roster(seq: u64, members: &[&str], signer: &str) -> Vec<u8> {
    let roster = Roster {
        sub: id("tzbv"),
        exp: NOW.plus(30 * DAY),
        iat: NOW,
        body: RosterBody {
            format: 1,
            seq,
            members: Map::new(members.iter().map(|name| (key(name).public(), id(name)))),
        },
    };
    sign(&roster, &key(signer))
}

pub async fn s23_s25_s26_a_group_gets_access_as_one_and_its_roster_names_members(world: World) {
    let group = depot(&world).await;
    world
        .platform
        .accept_roster(&roster(1, &["anna"], "tzbv"), NOW)
        .await
        .unwrap();
    let ole = world.get_account("ole").await;
    let new = World::new_share(ShareTarget::Group(id("tzbv")), &["partner"]);
    let made = world
        .platform
        .share(Actor::Account(&ole), &[site()], &new, NOW)
        .await
        .unwrap();
    let share = made.each.into_iter().next().unwrap().1.unwrap();
    let token = world.token(&share).await.unwrap();
    assert_eq!(
        (token.body.group, token.cnf.0),
        (Some(id("tzbv")), group.key)
    );
    let published = |world: World| async move {
        let name = key("tzbv").public().hex();
        let bytes = world
            .platform
            .statement(&site(), Kind::Roster, &name)
            .await
            .unwrap();
        (world, bytes)
    };
    let (world, first) = published(world).await;
    assert_eq!(
        first,
        Some(roster(1, &["anna"], "tzbv")),
        "it is published with the share"
    );
    let reached = world
        .platform
        .accept_roster(&roster(2, &["anna", "ben"], "tzbv"), NOW)
        .await;
    assert_eq!(reached.unwrap(), 1);
    let (world, second) = published(world).await;
    assert_eq!(second, Some(roster(2, &["anna", "ben"], "tzbv")));
    let back = world
        .platform
        .accept_roster(&roster(1, &["anna"], "tzbv"), NOW)
        .await;
    assert_eq!(rule(back), RuleCode::Taken);
    let forged = world
        .platform
        .accept_roster(&roster(3, &["eve"], "eve"), NOW)
        .await;
    assert_eq!(rule(forged), RuleCode::Unknown);
    let ben = world.account("ben", AccountRole::User).await;
    assert_eq!(
        world
            .platform
            .shared_with(&ben, 0, NOW)
            .await
            .unwrap()
            .len(),
        1
    );
    world
        .platform
        .accept_roster(&roster(3, &["anna"], "tzbv"), NOW)
        .await
        .unwrap();
    assert!(
        world
            .platform
            .shared_with(&ben, 0, NOW)
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn s31_s32_s33_only_a_manager_of_the_site_decides(world: World) {
    depot(&world).await;
    let lookup = LookupKey::new("tzbv").unwrap();
    let decide = |who: &'static str, approve| {
        let (platform, lookup) = (&world.platform, &lookup);
        async move {
            let who = platform.account(&id(who)).await.unwrap().unwrap();
            let answer = (approve, NOW.plus(DAY));
            platform
                .decide(&who, lookup, &id("depot"), answer, None, NOW)
                .await
        }
    };
    world.account("uma", AccountRole::User).await;
    world.account("fay", AccountRole::FacilityAdmin).await;
    let uma = world.get_account("uma").await;
    assert!(world.platform.sites(&uma).await.unwrap().is_empty());
    for who in ["uma", "fay", "tess"] {
        assert_eq!(rule(decide(who, true).await), RuleCode::Unknown, "{who}");
    }
    let denied = decide("ole", false).await.unwrap();
    assert!(denied.share.is_none());
    assert!(
        world
            .platform
            .shares(&site(), NOW)
            .await
            .unwrap()
            .is_empty()
    );
    let ole = world.get_account("ole").await;
    let appointed = world
        .platform
        .add_site_admin(Actor::Account(&ole), &id("depot"), &id("uma"))
        .await;
    assert_eq!(
        rule(appointed),
        RuleCode::Role,
        "an account with the role user cannot manage a site"
    );
    world
        .platform
        .add_site_admin(Actor::Account(&ole), &id("depot"), &id("fay"))
        .await
        .unwrap();
    let approved = decide("fay", true).await.unwrap().share.unwrap();
    assert_eq!(approved.by, id("fay"), "the approver is recorded");
    let token = world.token(&approved).await.unwrap();
    assert!(
        token
            .body
            .permissions
            .iter()
            .all(|(name, _)| !name.as_str().starts_with("licence"))
    );
}

pub async fn s36_s37_a_share_of_a_site_covers_devices_that_come_later(world: World) {
    depot(&world).await;
    let ole = world.get_account("ole").await;
    let new = World::new_share(ShareTarget::Group(id("tzbv")), &["partner"]);
    let made = world
        .platform
        .share(Actor::Account(&ole), &[site()], &new, NOW)
        .await
        .unwrap();
    let share = made.each.into_iter().next().unwrap().1.unwrap();
    for name in ["ev-1", "ev-2"] {
        world
            .confirm_share(name, &share, doorward_protocol::wire::Outcome::Done)
            .await;
    }
    assert_eq!(world.status(&share.id).await, Status::OnDevice);
    world
        .register("ev-3", |new| new.site = Some(id("depot")))
        .await;
    assert_eq!(
        world.status(&share.id).await,
        Status::Active,
        "the later device has not confirmed it yet"
    );
    let statements = world.platform.statements(&id("ev-3")).await.unwrap();
    let token = world
        .platform
        .statement(&site(), Kind::Share, &share.id.hex())
        .await
        .unwrap();
    assert!(statements.contains(&token.unwrap()));
    // Also a device that is registered a day later: it accepts no share from before its ownership.
    let before = world.token(&share).await.unwrap();
    let mut tomorrow = crate::accounts::registration("ev-9", "ole");
    tomorrow.site = Some(id("depot"));
    let tomorrow = world
        .platform
        .register(tomorrow, NOW.plus(DAY))
        .await
        .unwrap();
    let after = world.token(&share).await.unwrap();
    assert!(before.is_extended_by(&after) && after.iat >= tomorrow.since);
    let elsewhere = world.platform.statements(&id("ups-1")).await.unwrap();
    assert_eq!(elsewhere.len(), 2, "issuers and its registration");
    for name in ["a", "b", "c", "d"] {
        world.share("ev-3", name).await.unwrap();
    }
    assert_eq!(
        rule(world.share("ev-3", "e").await),
        RuleCode::SlotsFull,
        "the group has a slot"
    );
}

pub async fn s27_s28_s29_a_lookup_key_leads_to_a_name_and_members_see_it_at_their_sites(
    world: World,
) {
    let group = depot(&world).await;
    let found = world
        .platform
        .group_by_lookup_key(&LookupKey::new("tzbv").unwrap())
        .await
        .unwrap();
    assert_eq!(found, group);
    let unknown = world
        .platform
        .group_by_lookup_key(&LookupKey::new("tzbx").unwrap())
        .await;
    assert_eq!(rule(unknown), RuleCode::Unknown);
    world
        .platform
        .accept_roster(&roster(1, &["anna"], "tzbv"), NOW)
        .await
        .unwrap();
    let anna = world.account("anna", AccountRole::User).await;
    let eve = world.account("eve", AccountRole::User).await;
    let before = world.platform.groups_at(&anna, &id("depot"), NOW).await;
    assert_eq!(rule(before), RuleCode::Unknown);
    let new = World::new_share(ShareTarget::Group(id("tzbv")), &["partner"]);
    let audience = [site()];
    world
        .platform
        .share(Actor::Issuer, &audience, &new, NOW)
        .await
        .unwrap();
    let seen = world
        .platform
        .groups_at(&anna, &id("depot"), NOW)
        .await
        .unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        rule(world.platform.groups_at(&eve, &id("depot"), NOW).await),
        RuleCode::Unknown
    );
    let uma = world.account("uma", AccountRole::User).await;
    let new = NewGroup {
        id: id("other"),
        lookup_key: LookupKey::new("tzbv").unwrap(),
        name: "Other".into(),
        key: key("other").public(),
        hosts: Vec::new(),
    };
    assert_eq!(
        rule(world.platform.add_group(&uma, new.clone()).await),
        RuleCode::Role
    );
    let tess = world.get_account("tess").await;
    assert_eq!(
        rule(world.platform.add_group(&tess, new).await),
        RuleCode::Taken
    );
    assert!(device("ev-1") != site());
}

pub async fn s39_s41_a_request_for_the_site_of_another_owner_leaks_nothing(world: World) {
    depot(&world).await;
    let lookup = LookupKey::new("tzbv").unwrap();
    let eve = world.account("eve", AccountRole::Holder).await;
    let answer = (true, NOW.plus(DAY));
    let mut rules = Vec::new();
    for site in ["depot", "no-such"] {
        let decided = world
            .platform
            .decide(&eve, &lookup, &id(site), answer, None, NOW)
            .await;
        let sentence = decided.as_ref().unwrap_err().to_string().replace(site, "X");
        rules.push((rule(decided), sentence));
    }
    assert_eq!(
        rules[0], rules[1],
        "an existing and a missing site give the same response"
    );
    let ole = world.get_account("ole").await;
    let url = Some("https://evil.example/");
    let decided = world
        .platform
        .decide(&ole, &lookup, &id("depot"), answer, url, NOW)
        .await;
    assert_eq!(rule(decided), RuleCode::ReturnUrl);
    assert!(
        world
            .platform
            .shares(&site(), NOW)
            .await
            .unwrap()
            .is_empty(),
        "nothing was decided"
    );
    let url = Some("https://portal.tzbv.example/done");
    let decided = world
        .platform
        .decide(&ole, &lookup, &id("depot"), answer, url, NOW)
        .await
        .unwrap();
    assert_eq!(
        decided.return_to.unwrap(),
        "https://portal.tzbv.example/done?success=true&installationId=depot"
    );
}
