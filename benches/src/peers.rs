//! The same decision with other libraries: may this holder reboot this device now? Each function
//! prepares the state that an agent keeps between two commands, and returns a closure that decides
//! one command from its bytes. No command is recorded, so that one can be decided many times.

use std::collections::HashSet;
use std::hint::black_box;

use biscuit_auth::builder::{fact, int, string};
use biscuit_auth::{
    AuthorizerBuilder, AuthorizerLimits, Biscuit, BlockBuilder, KeyPair, PrivateKey, PublicKey,
};
use cedar_policy::*;
use doorward_protocol::wire::{Hash, hash};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::Deserialize;
use serde_json::{Value, json};

const NOON: u64 = 1_795_348_800;
const END: u64 = NOON + 86400;
const DEVICE: &str = "ups-7";
const OPERATION: &str = "device.reboot";

/// Biscuit with commands signed by the holder, in a block that only the holder's key can add.
pub fn biscuit_holder_signed() -> Box<dyn Fn() -> bool> {
    let agent = Biscuits::new();
    let token = with_command(&biscuit(true), "holder", OPERATION, NOON);
    Box::new(move || agent.decide(black_box(&token), NOON, OPERATION))
}

/// Biscuit as a bearer token, its usual mode: possession of the token is sufficient.
pub fn biscuit_bearer() -> Box<dyn Fn() -> bool> {
    let agent = Biscuits::new();
    let token = biscuit(false).to_vec().unwrap();
    Box::new(move || agent.decide(black_box(&token), NOON, OPERATION))
}

/// A share and a command as JWTs, both verified each time, and this number of Cedar policies.
pub fn jwt_cedar(policies: usize) -> Box<dyn Fn() -> bool> {
    let agent = Jwts::new(policies);
    let (share, command) = (jwt(&share(), "issuer"), jwt(&command(OPERATION), "holder"));
    Box::new(move || agent.decide(black_box(&share), black_box(&command), NOON, OPERATION))
}

/// The same for an agent that has verified the share on arrival and stores it.
pub fn jwt_cedar_kept(policies: usize) -> Box<dyn Fn() -> bool> {
    let agent = Jwts::new(policies);
    let kept = agent.accept(&jwt(&share(), "issuer")).unwrap();
    let command = jwt(&command(OPERATION), "holder");
    Box::new(move || agent.decide_under(&kept, black_box(&command), NOON, OPERATION))
}

fn key(name: &str) -> KeyPair {
    let key = PrivateKey::from_bytes(&hash(name.as_bytes()).0, Default::default());
    KeyPair::from(&key.unwrap())
}

/// A share. With `signed` it requires a command newer than the last one, signed by the holder.
fn biscuit(signed: bool) -> Biscuit {
    let holder = key("holder").public();
    let mut code = format!(r#"right("{DEVICE}", "{OPERATION}"); check if time($t), $t < {END};"#);
    if signed {
        code += "check if operation($o), last($last), command($o, $counter), $counter > $last";
        code += &format!(" trusting {holder};");
    }
    let share = Biscuit::builder().code(code).unwrap();
    share.build(&key("issuer")).unwrap()
}

fn with_command(share: &Biscuit, by: &str, operation: &str, made: u64) -> Vec<u8> {
    let (key, late) = (key(by), made + 60);
    let code = format!(
        r#"command("{operation}", 1);
        check if device("{DEVICE}"), time($t), $t >= {made}, $t < {late};"#
    );
    let block = BlockBuilder::new().code(code).unwrap();
    let request = share.third_party_request().unwrap();
    let signed = request.create_block(&key.private(), block).unwrap();
    let token = share.append_third_party(key.public(), signed).unwrap();
    token.to_vec().unwrap()
}

fn revoked() -> impl Iterator<Item = Hash> {
    (0..1024_u64).map(|at| hash(&at.to_be_bytes()))
}

struct Biscuits {
    issuer: PublicKey,
    agent: AuthorizerBuilder,
    revoked: HashSet<Vec<u8>>,
}

impl Biscuits {
    fn new() -> Self {
        // The default limit of 1 ms would refuse some commands on a busy machine.
        let limits = AuthorizerLimits {
            max_time: std::time::Duration::from_secs(1),
            ..Default::default()
        };
        let agent = AuthorizerBuilder::new().set_limits(limits);
        let code = "last(0); allow if device($d), operation($o), right($d, $o);";
        let device = fact("device", &[string(DEVICE)]);
        Self {
            issuer: key("issuer").public(),
            agent: agent.code(code).unwrap().fact(device).unwrap(),
            revoked: revoked().map(|id| [id.0; 2].concat()).collect(),
        }
    }

    fn decide(&self, token: &[u8], now: u64, operation: &str) -> bool {
        let Ok(token) = Biscuit::from(token, self.issuer) else {
            return false;
        };
        let ids = token.revocation_identifiers();
        let revoked = ids.iter().any(|id| self.revoked.contains(id));
        let agent = self.agent.clone().fact(fact("time", &[int(now as i64)]));
        let agent = agent.and_then(|it| it.fact(fact("operation", &[string(operation)])));
        let authorizer = agent.and_then(|it| it.build(&token));
        !revoked && authorizer.and_then(|mut it| it.authorize()).is_ok()
    }
}

#[derive(Deserialize)]
struct Share {
    sub: String,
    exp: u64,
    nbf: u64,
    jti: String,
    cnf: Value,
    permissions: Vec<String>,
}

/// A share that was verified, and its holder's key.
type Kept = (Share, DecodingKey);

#[derive(Deserialize)]
struct Command {
    iat: u64,
    exp: u64,
    operation: String,
    counter: u64,
}

fn share() -> Value {
    json!({"sub": "person-7", "aud": DEVICE, "exp": END, "nbf": NOON - 100,
        "jti": hash(b"share").hex(), "cnf": {"jwk": public("holder")}, "permissions": [OPERATION]})
}

fn command(operation: &str) -> Value {
    json!({"aud": DEVICE, "iat": NOON, "exp": NOON + 60, "jti": hash(b"command").hex(),
        "operation": operation, "counter": 1})
}

fn secret(name: &str) -> EncodingKey {
    // PKCS #8 (RFC 8410 section 7), up to the seed.
    let start = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    EncodingKey::from_ed_der(&[start.as_slice(), &hash(name.as_bytes()).0].concat())
}

fn public(name: &str) -> Jwk {
    Jwk::from_encoding_key(&secret(name), Algorithm::EdDSA).unwrap()
}

fn jwt(claims: &Value, by: &str) -> Vec<u8> {
    let header = Header::new(Algorithm::EdDSA);
    encode(&header, claims, &secret(by)).unwrap().into()
}

struct Jwts {
    issuer: DecodingKey,
    validation: Validation,
    last: u64,
    revoked: HashSet<String>,
    policies: PolicySet,
    kinds: [EntityTypeName; 2],
    device: EntityUid,
}

impl Jwts {
    fn new(policies: usize) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[DEVICE]);
        validation.set_required_spec_claims(&["aud", "exp"]);
        // The library would read the clock itself; here the time is an argument.
        validation.validate_exp = false;
        let permit = |at: usize| {
            format!(
                r#"permit(principal == Person::"person-{at}", action == Action::"{OPERATION}",
                resource == Device::"ups-{at}") when {{ context.now < {END} }};"#
            )
        };
        let policies: String = (7..7 + policies).map(permit).collect();
        Self {
            issuer: DecodingKey::from_jwk(&public("issuer")).unwrap(),
            validation,
            last: 0,
            revoked: revoked().map(|id| id.hex()).collect(),
            policies: policies.parse().unwrap(),
            kinds: ["Person", "Action"].map(|kind| kind.parse().unwrap()),
            device: format!("Device::\"{DEVICE}\"").parse().unwrap(),
        }
    }

    fn accept(&self, share: &[u8]) -> Option<Kept> {
        let share = decode::<Share>(share, &self.issuer, &self.validation).ok()?;
        let x = share.claims.cnf["jwk"]["x"].as_str()?;
        let key = DecodingKey::from_ed_components(x).ok()?;
        Some((share.claims, key))
    }

    fn decide(&self, share: &[u8], command: &[u8], now: u64, operation: &str) -> bool {
        self.accept(share)
            .is_some_and(|kept| self.decide_under(&kept, command, now, operation))
    }

    fn decide_under(&self, (share, key): &Kept, command: &[u8], now: u64, asked: &str) -> bool {
        let Ok(command) = decode::<Command>(command, key, &self.validation) else {
            return false;
        };
        let command = command.claims;
        command.counter > self.last
            && command.iat <= now + 120
            && command.exp.saturating_sub(command.iat) <= 300
            && now < command.exp
            && (share.nbf..share.exp).contains(&now)
            && !self.revoked.contains(&share.jti)
            && command.operation == asked
            && share.permissions.contains(&command.operation)
            && self.answer(&share.sub, asked, now) == Some(Decision::Allow)
    }

    fn answer(&self, person: &str, operation: &str, now: u64) -> Option<Decision> {
        let now = RestrictedExpression::new_long(now as i64);
        let context = Context::from_pairs([("now".to_owned(), now)]).ok()?;
        let [person, action] = [(0, person), (1, operation)].map(|(kind, id)| {
            EntityUid::from_type_name_and_id(self.kinds[kind].clone(), EntityId::new(id))
        });
        let request = Request::new(person, action, self.device.clone(), context, None).ok()?;
        let (cedar, entities) = (Authorizer::new(), Entities::empty());
        let answer = cedar.is_authorized(&request, &self.policies, &entities);
        Some(answer.decision())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that one changed bit, the time and the operation change the decision.
    fn minds(token: &[u8], decide: impl Fn(&[u8], u64, &str) -> bool) {
        assert!(decide(token, NOON, OPERATION));
        assert!(!decide(token, END, OPERATION) && !decide(token, NOON, "status.read"));
        for at in (0..token.len()).step_by(7) {
            let mut changed = token.to_vec();
            changed[at] ^= 1;
            assert!(!decide(&changed, NOON, OPERATION), "byte {at}");
        }
    }

    #[test]
    fn a_biscuit_that_is_changed_late_revoked_or_for_something_else_is_refused() {
        assert!(biscuit_holder_signed()() && biscuit_bearer()());
        let mut agent = Biscuits::new();
        let share = biscuit(true);
        let signed = |by, operation, made| with_command(&share, by, operation, made);
        let good = signed("holder", OPERATION, NOON);
        minds(&good, |token, now, asked| agent.decide(token, now, asked));
        let bearer = biscuit(false).to_vec().unwrap();
        minds(&bearer, |token, now, asked| agent.decide(token, now, asked));
        assert!(agent.decide(&signed("holder", OPERATION, END - 1), END - 1, OPERATION));
        assert!(!agent.decide(&signed("holder", OPERATION, END), END, OPERATION));
        assert!(!agent.decide(&good, NOON + 60, OPERATION));
        assert!(!agent.decide(&signed("holder", "status.read", NOON), NOON, "status.read"));
        assert!(!agent.decide(&signed("stranger", OPERATION, NOON), NOON, OPERATION));
        assert!(!agent.decide(&share.to_vec().unwrap(), NOON, OPERATION));
        agent.revoked.extend(share.revocation_identifiers());
        assert!(!agent.decide(&good, NOON, OPERATION));
    }

    #[test]
    fn a_jwt_that_is_changed_late_revoked_or_for_something_else_is_refused() {
        assert!(jwt_cedar(9)() && jwt_cedar_kept(9)() && !jwt_cedar(0)());
        let mut agent = Jwts::new(9);
        let [valid, other] = ["issuer", "stranger"].map(|by| jwt(&share(), by));
        let [good, forged] = ["holder", "stranger"].map(|by| jwt(&command(OPERATION), by));
        let read = jwt(&command("status.read"), "holder");
        minds(&valid, |it, now, asked| agent.decide(it, &good, now, asked));
        minds(&good, |it, now, asked| agent.decide(&valid, it, now, asked));
        let mut ended = share();
        ended["exp"] = json!(NOON);
        assert!(!agent.decide(&jwt(&ended, "issuer"), &good, NOON, OPERATION));
        assert!(!agent.decide(&other, &good, NOON, OPERATION));
        assert!(!agent.decide(&valid, &forged, NOON, OPERATION));
        assert!(!agent.decide(&valid, &good, NOON + 60, OPERATION));
        assert!(!agent.decide(&valid, &read, NOON, "status.read"));
        agent.revoked.insert(hash(b"share").hex());
        assert!(!agent.decide(&valid, &good, NOON, OPERATION));
    }
}
