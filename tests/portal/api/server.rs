//! The service in this process on a free port, with accounts, devices and shares.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crate::accounts;
pub use crate::accounts::{id, key};

use doorkey::domain::{AccountRole, Actor, Email, LookupKey, NewShare, ShareTarget};
use doorkey::email::templates::Emails;
use doorkey::http::Shared;
use doorkey::http::rate_limit::RateLimiter;
use doorkey::serve::{Options, serve};
use doorkey::service::{NewGroup, Platform, sign_in_message};
use doorward_protocol::wire::{Audience, Bytes, Map, Roster, RosterBody, sign};
use doorward_transport::clock;
use doorward_transport::clock::Stopwatch;
use serde_json::{Value, json};

pub struct ApiServer {
    pub address: SocketAddr,
    _directory: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// Id of anna's share of ups-1.
    pub share: String,
    /// Id of an invitation of another person.
    pub invitation: String,
}

impl ApiServer {
    /// Starts the service. ole owns ups-1, ups-del and the site depot; anna has a share of ups-1 and is
    /// in the group tzbv, which has no shares; eve is a holder with a device of her own; otto is an
    /// operator.
    pub fn start(requests_per_minute: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (sender, ready) = std::sync::mpsc::channel();
        let path = directory.path().to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let now = clock::system();
                let platform = Platform::init(&path, None, id("acme"), now).await.unwrap();
                sender.send(populate(&platform).await).unwrap();
                let shared = Shared {
                    platform,
                    outbox_changed: tokio::sync::Notify::new(),
                    rate_limiter: RateLimiter::new(requests_per_minute),
                    started: Stopwatch::start(),
                    emails: Emails::new("http://doors.example", None),
                };
                let options = Options {
                    listener,
                    broker: None,
                };
                let stop = async {
                    let _ = stopped.await;
                };
                serve(Arc::new(shared), options, stop).await.unwrap();
            });
        });
        let (share, invitation) = ready.recv().unwrap();
        Self {
            address,
            _directory: directory,
            stop: Some(stop),
            thread: Some(thread),
            share,
            invitation,
        }
    }

    /// Sends a request; returns the status and the JSON of the response.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build();
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let text = body.map(Value::to_string).unwrap_or_default();
        let mut response = config.new_agent().run(request.body(text).unwrap()).unwrap();
        let body = response.body_mut().read_to_vec().unwrap();
        let value = serde_json::from_slice(&body).unwrap_or_default();
        (response.status().as_u16(), value)
    }

    /// Opens a session and returns its token.
    pub fn sign_in(&self, who: &str) -> String {
        let account = json!({ "account": who });
        let (_, challenge) = self.request("POST", "/v1/challenges", None, Some(&account));
        let nonce = challenge["nonce"].as_str().unwrap();
        let message = sign_in_message(&id("acme"), &id(who), &Bytes::from_hex(nonce).unwrap());
        let signed = json!({
            "account": who, "nonce": nonce, "signature": key(who).sign_text(&message).hex(),
        });
        let (status, session) = self.request("POST", "/v1/sessions", None, Some(&signed));
        assert_eq!(status, 201, "{session}");
        session["token"].as_str().unwrap().to_owned()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn populate(platform: &Platform) -> (String, String) {
    let now = clock::system();
    for (name, role) in [
        ("ole", AccountRole::Holder),
        ("anna", AccountRole::User),
        ("eve", AccountRole::Holder),
        ("otto", AccountRole::Operator),
        ("fay", AccountRole::FacilityAdmin),
    ] {
        let account = accounts::account(name, role, now);
        platform.add_account(&account).await.unwrap();
    }
    for (device, owner, site) in [
        ("ups-1", "ole", None),
        ("ups-del", "ole", None),
        ("ev-1", "ole", Some("depot")),
        ("hers", "eve", None),
    ] {
        let mut new = accounts::registration(device, owner);
        new.site = site.map(id);
        platform.register(new, now).await.unwrap();
    }
    let new_share = |to| NewShare {
        to,
        permissions: vec!["view".into()],
        end: now.plus(86400),
        description: None,
        region: id("eu"),
        limits: None,
    };
    for device in ["ups-1", "ups-del"] {
        let new = new_share(ShareTarget::Key(id("anna"), key("anna").public()));
        let audience = [Audience::Device(id(device))];
        platform
            .share(Actor::Issuer, &audience, &new, now)
            .await
            .unwrap();
    }
    let ups = [Audience::Device(id("ups-1"))];
    let anna = platform.account(&id("anna")).await.unwrap().unwrap();
    let hers = platform.shared_with(&anna, 0, now).await.unwrap();
    let hers = hers
        .iter()
        .find(|listed| listed.share.audience == ups[0])
        .unwrap();
    let invited = new_share(ShareTarget::Address(Email::new("new@example.org").unwrap()));
    let made = platform
        .share(Actor::Issuer, &ups, &invited, now)
        .await
        .unwrap();
    let ole = platform.account(&id("ole")).await.unwrap().unwrap();
    let group = NewGroup {
        id: id("tzbv"),
        lookup_key: LookupKey::new("TZBV").unwrap(),
        name: "Team".into(),
        key: key("tzbv").public(),
        hosts: Vec::new(),
    };
    platform.add_group(&ole, group).await.unwrap();
    let roster = Roster {
        sub: id("tzbv"),
        exp: now.plus(86400),
        iat: now,
        body: RosterBody {
            format: 1,
            seq: 1,
            members: Map::new([(key("anna").public(), id("anna"))]),
        },
    };
    platform
        .accept_roster(&sign(&roster, &key("tzbv")), now)
        .await
        .unwrap();
    (hers.share.id.hex(), made.invitation.unwrap().0.id.hex())
}
