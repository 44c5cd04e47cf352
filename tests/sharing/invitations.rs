//! Invitations, guests and sessions.

use doorkey::domain::{
    AccountRole, Actor, Email, INVITATION_LIFETIME, InviteCode, RuleCode, ShareTarget, Status,
};
use doorkey::service::{SESSION_LIFETIME, accept_message, sign_in_message};
use doorward_protocol::wire::{Bytes, Text};

use super::world::{NOW, World, device, id, key, rule};

pub async fn s15_s16_s17_an_invitation_grants_nothing_until_its_code_is_given(world: World) {
    let (invitation, code, shares) = world.invite(&["ups-1", "ups-2"], "anna").await;
    assert_eq!(world.status(&shares[0].id).await, Status::Pending);
    assert_eq!(world.token(&shares[0]).await, None, "nothing is signed");
    let outgoing = world
        .platform
        .ledger()
        .claim_outgoing(100, NOW)
        .await
        .unwrap();
    assert!(
        outgoing
            .iter()
            .all(|o| o.id.kind != doorward_protocol::wire::Kind::Share)
    );
    let (shown, audiences) = world
        .platform
        .invitation(&invitation, &code, NOW)
        .await
        .unwrap();
    assert_eq!(
        (shown.address.as_str(), audiences.len()),
        ("anna@example.org", 2)
    );
    let acceptance = world.acceptance(&invitation, "anna");
    let passes = world
        .platform
        .accept(&invitation, &code, &acceptance, NOW)
        .await
        .unwrap();
    assert_eq!(passes.len(), 2);
    for (share, pass) in &passes {
        assert_eq!(world.status(&share.id).await, Status::Active);
        let token = world.token(share).await.unwrap();
        assert_eq!((token.sub, token.cnf.0), (id("anna"), key("anna").public()));
        assert!(pass.len() > 300, "the registration and the token");
    }
    let anna = world.get_account("anna").await;
    assert_eq!(
        (anna.role, anna.email.unwrap().as_str()),
        (AccountRole::User, "anna@example.org")
    );
    let again = world
        .platform
        .accept(&invitation, &code, &acceptance, NOW)
        .await;
    assert_eq!(rule(again), RuleCode::CodeUsed);
}

pub async fn s19_an_invitation_from_before_a_downgrade_is_not_accepted_after_it(world: World) {
    let (invitation, code, shares) = world.invite(&["ups-1"], "anna").await;
    let plan = |name: &str| doorward_protocol::wire::Plan {
        name: id(name),
        end: None,
    };
    let ups = id("ups-1");
    let set = |plan| world.platform.set_plan(Actor::Issuer, &ups, plan, NOW);
    set(plan("basic")).await.unwrap();
    let acceptance = world.acceptance(&invitation, "anna");
    let accept = || world.platform.accept(&invitation, &code, &acceptance, NOW);
    assert_eq!(rule(accept().await), RuleCode::Plan);
    assert_eq!(world.status(&shares[0].id).await, Status::Pending);
    set(plan("advanced")).await.unwrap();
    accept().await.unwrap();
}

pub async fn s16_five_wrong_codes_lock_an_invitation_permanently(world: World) {
    let (invitation, code, _) = world.invite(&["ups-1"], "anna").await;
    let acceptance = world.acceptance(&invitation, "anna");
    for _ in 0..5 {
        let wrong = InviteCode::from_input("22222-22222");
        let tried = world
            .platform
            .accept(&invitation, &wrong, &acceptance, NOW)
            .await;
        assert_eq!(rule(tried), RuleCode::WrongCode);
    }
    let right = world
        .platform
        .accept(&invitation, &code, &acceptance, NOW)
        .await;
    assert_eq!(rule(right), RuleCode::CodeLocked);
    assert_eq!(
        rule(world.platform.invitation(&invitation, &code, NOW).await),
        RuleCode::CodeLocked
    );
}

pub async fn s53_s55_a_withdrawn_or_expired_invitation_is_no_longer_valid(world: World) {
    let (withdrawn, code, shares) = world.invite(&["ups-1"], "anna").await;
    world
        .platform
        .cancel(Actor::Issuer, &[shares[0].id], NOW)
        .await
        .unwrap();
    assert_eq!(
        rule(world.platform.invitation(&withdrawn, &code, NOW).await),
        RuleCode::NoLongerValid
    );
    assert_eq!(
        world.status(&shares[0].id).await,
        Status::CancelApplied,
        "it was never on a device"
    );
    let (expired, code, shares) = world.invite(&["ups-1"], "ben").await;
    let over = NOW.plus(INVITATION_LIFETIME);
    assert_eq!(
        rule(world.platform.invitation(&expired, &code, over).await),
        RuleCode::NoLongerValid
    );
    world.platform.run_maintenance(over).await.unwrap();
    assert_eq!(world.status(&shares[0].id).await, Status::Lapsed);
    let unknown = world.platform.invitation(&Bytes([0; 16]), &code, NOW).await;
    assert_eq!(rule(unknown), RuleCode::NoLongerValid);
}

pub async fn s43_s56_s57_an_invitation_is_for_one_address_one_key_and_one_region(world: World) {
    world.account("eve", AccountRole::User).await;
    let (invitation, code, _) = world.invite(&["ups-1"], "anna").await;
    let accept = |acceptance| {
        let (platform, code) = (&world.platform, &code);
        async move { rule(platform.accept(&invitation, code, &acceptance, NOW).await) }
    };
    let other_account = world.acceptance(&invitation, "eve");
    assert_eq!(accept(other_account).await, RuleCode::Taken);
    let mut stolen = world.acceptance(&invitation, "anna");
    stolen.key = key("eve").public();
    assert_eq!(
        accept(stolen).await,
        RuleCode::Session,
        "the proof was made with another key"
    );
    let mut elsewhere = world.acceptance(&invitation, "anna");
    elsewhere.region = id("us");
    assert_eq!(accept(elsewhere).await, RuleCode::WrongRegion);
    let right = world.acceptance(&invitation, "anna");
    world
        .platform
        .accept(&invitation, &code, &right, NOW)
        .await
        .unwrap();
    // An existing account can accept only with its own key, even if others read its e-mails.
    world.account("ivy", AccountRole::User).await;
    let (invitation, code, _) = world.invite(&["ups-1"], "ivy").await;
    let mut thief = world.acceptance(&invitation, "ivy");
    thief.key = key("eve").public();
    let message = accept_message(world.platform.name(), &invitation, &id("ivy"));
    thief.proof = key("eve").sign_text(&message);
    let stolen = world.platform.accept(&invitation, &code, &thief, NOW).await;
    assert_eq!(rule(stolen), RuleCode::Taken);
    // The same person in another enterprise has another account, which does not see the share.
    let mut other = world.get_account("anna").await;
    other.id = id("anna-b");
    other.key = key("anna-b").public();
    other.enterprise = id("b");
    world.platform.add_account(&other).await.unwrap();
    assert!(
        world
            .platform
            .shared_with(&other, 0, NOW)
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn s33_a_denial_leaves_nothing_but_the_status_denied(world: World) {
    let (invitation, code, shares) = world.invite(&["ups-1"], "anna").await;
    let wrong = InviteCode::from_input("22222-22222");
    assert_eq!(
        rule(world.platform.decline(&invitation, &wrong, NOW).await),
        RuleCode::WrongCode
    );
    world
        .platform
        .decline(&invitation, &code, NOW)
        .await
        .unwrap();
    assert_eq!(world.status(&shares[0].id).await, Status::Denied);
    let late = world.acceptance(&invitation, "anna");
    let late = world.platform.accept(&invitation, &code, &late, NOW).await;
    assert_eq!(rule(late), RuleCode::NoLongerValid);
}

pub async fn n24_a_guest_has_a_share_and_no_account(world: World) {
    let made = world
        .invite_to(
            &["ups-1"],
            ShareTarget::Guest(Text::new("visitor").unwrap()),
        )
        .await;
    let (invitation, code) = made.invitation.unwrap();
    let ole = world.acceptance(&invitation.id, "ole");
    let taken = world
        .platform
        .accept(&invitation.id, &code, &ole, NOW)
        .await;
    assert_eq!(
        rule(taken),
        RuleCode::Taken,
        "a guest cannot use the name of an account"
    );
    let acceptance = world.acceptance(&invitation.id, "visitor");
    let passes = world
        .platform
        .accept(&invitation.id, &code, &acceptance, NOW)
        .await
        .unwrap();
    assert_eq!(passes.len(), 1);
    assert_eq!(world.platform.account(&id("visitor")).await.unwrap(), None);
    assert_eq!(world.status(&passes[0].0.id).await, Status::Active);
}

pub async fn a_session_is_opened_only_once_and_for_the_signer_of_the_challenge(world: World) {
    let acme = world.platform.name().clone();
    let sign = |who: &str, with: &str, nonce| {
        key(with).sign_text(&sign_in_message(&acme, &id(who), nonce))
    };
    let nonce = world.platform.challenge(&id("ole"), NOW).await.unwrap();
    let forged = sign("ole", "eve", &nonce);
    let tried = world
        .platform
        .sign_in(&id("ole"), &nonce, &forged, NOW)
        .await;
    assert_eq!(rule(tried), RuleCode::Session);
    let right = sign("ole", "ole", &nonce);
    let used = world
        .platform
        .sign_in(&id("ole"), &nonce, &right, NOW)
        .await;
    assert_eq!(
        rule(used),
        RuleCode::Session,
        "a wrong response uses up the challenge"
    );
    let nonce = world.platform.challenge(&id("ole"), NOW).await.unwrap();
    let right = sign("ole", "ole", &nonce);
    let token = world
        .platform
        .sign_in(&id("ole"), &nonce, &right, NOW)
        .await
        .unwrap();
    assert_eq!(
        world.platform.session(&token, NOW).await.unwrap().id,
        id("ole")
    );
    let again = world
        .platform
        .sign_in(&id("ole"), &nonce, &right, NOW)
        .await;
    assert_eq!(rule(again), RuleCode::Session);
    let over = NOW.plus(SESSION_LIFETIME);
    assert_eq!(
        rule(world.platform.session(&token, over).await),
        RuleCode::Session
    );
    world.platform.sign_out(&token).await.unwrap();
    assert_eq!(
        rule(world.platform.session(&token, NOW).await),
        RuleCode::Session
    );
    let nonce = world.platform.challenge(&id("missing"), NOW).await.unwrap();
    let missing = sign("missing", "missing", &nonce);
    let tried = world
        .platform
        .sign_in(&id("missing"), &nonce, &missing, NOW)
        .await;
    assert_eq!(rule(tried), RuleCode::Session);
    assert!(Email::new("anna@example.org").is_ok() && device("x") != device("y"));
}
