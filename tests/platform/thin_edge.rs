//! Commands forwarded to the machine's own MQTT bus in the format of thin-edge.io, with a real broker:
//! a command is published only if it is allowed, contains its arguments as data, and is cleared
//! afterwards.

use doorward_testkit::hostile_inputs;
use doorward_testkit::site;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use doorward_client::HolderKey;
use doorward_client::{SendParams, send};
use doorward_protocol::wire::{Bytes, Map, Outcome, PublicKey, Text, Value};
use doorward_transport::MqttClient;
use hostile_inputs::hostile;
use serde_json::{Value as Json, json};
use site::{COUNT, Mosquitto, Site, block_on, wait_until, wish};

const OPERATIONS: &str = r#"
[operations."machine.restart"]
class = "interrupt"
handler = "mqtt"
topic = "te/device/main///cmd/restart"
timeout_s = 3
[operations."machine.label"]
class = "change"
handler = "mqtt"
topic = "te/device/main///cmd/label"
timeout_s = 20
args.label = { type = "text" }
args.count = { type = "int", min = 0, max = 9, optional = true }
"#;

/// Topic and payload of a message on the bus.
type Message = (String, Vec<u8>);

struct Machine {
    site: Site,
    bus: Mosquitto,
}

impl Machine {
    fn new() -> Self {
        let mut site = Site::new(COUNT);
        site.ready();
        site.kill();
        let bus = Mosquitto::start(site.path(), "bus");
        let path = site.path().join("doorward.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        let config = format!("{config}[bus]\nurl = \"{}\"\n{OPERATIONS}", bus.url());
        std::fs::write(&path, config).unwrap();
        site.start();
        site.ready();
        Self { site, bus }
    }

    /// Starts a service on the bus that publishes the responses of `respond` to each command, in order;
    /// returns a receiver of all messages on the bus.
    fn service(&self, respond: impl Fn(&Json) -> Vec<Json> + Send + 'static) -> Receiver<Message> {
        let broker = self.bus.broker();
        let (sender, messages) = channel();
        let (ready, is_ready) = channel();
        std::thread::spawn(move || {
            block_on(async move {
                let mut client = MqttClient::connect(&broker).await.unwrap();
                client.subscribe(vec!["te/#".to_owned()]).await.unwrap();
                ready.send(()).unwrap();
                while let Ok(message) = client.next(Duration::from_secs(60)).await {
                    let Some((topic, payload)) = message else {
                        return;
                    };
                    let command: Json = serde_json::from_slice(&payload).unwrap_or_default();
                    if sender.send((topic.clone(), payload)).is_err() {
                        return;
                    }
                    if command["status"] == "init" {
                        for response in respond(&command) {
                            let response = response.to_string().into_bytes();
                            client.publish(topic.clone(), response, true).await.unwrap();
                        }
                    }
                }
            });
        });
        is_ready.recv().unwrap();
        messages
    }

    /// Retained messages on the bus.
    fn retained(&self) -> BTreeMap<String, Vec<u8>> {
        block_on(async {
            let mut client = MqttClient::connect(&self.bus.broker()).await.unwrap();
            client.subscribe(vec!["te/#".to_owned()]).await.unwrap();
            let mut all = BTreeMap::new();
            while let Ok(Some((topic, payload))) = client.next(Duration::from_millis(300)).await {
                all.insert(topic, payload);
            }
            all
        })
    }

    fn send(&self, person: &str, operation: &str, args: &[&str]) -> Json {
        self.site.send_with(person, operation, args, 15)
    }
}

#[test]
fn a_command_appears_on_the_bus_only_if_it_is_allowed_and_is_cleared_when_it_has_ended() {
    let machine = Machine::new();
    let seen = machine.service(|_| {
        vec![
            json!({"status": "executing"}),
            json!({"status": "successful", "took": 3, "log": "all well"}),
        ]
    });
    machine.site.share("anna", "machine.label");
    assert_eq!(
        machine.send("anna", "machine.restart", &[])["code"],
        "not_granted"
    );
    assert_eq!(
        machine.send("anna", "machine.label", &["label=x", "count=10"])["code"],
        "param"
    );
    assert_eq!(
        machine.send("anna", "machine.label", &["label=x", "status=init"])["code"],
        "param"
    );
    assert!(seen.try_recv().is_err(), "nothing was published on the bus");
    let done = machine.send("anna", "machine.label", &["label=rack 4", "count=2"]);
    assert_eq!(done["outcome"], "done", "{done}");
    assert_eq!(
        (&done["result"]["took"], &done["result"]["log"]),
        (&3.into(), &"all well".into())
    );
    let command = done["command"].as_str().unwrap();
    let expected = format!("te/device/main///cmd/label/doorward-{}", &command[..16]);
    let (topic, init) = seen.recv().unwrap();
    assert_eq!(topic, expected);
    let init: Json = serde_json::from_slice(&init).unwrap();
    assert_eq!(
        init,
        json!({"status": "init", "label": "rack 4", "count": 2})
    );
    wait_until("the command is cleared", || machine.retained().is_empty());
}

#[test]
fn failures_and_timeouts_on_the_bus_are_reported_and_cleared_too() {
    let machine = Machine::new();
    let never = machine.send("ole", "machine.restart", &[]);
    assert_eq!(never["code"], "timeout", "{never}");
    wait_until("the command is cleared", || machine.retained().is_empty());
    let _seen = machine.service(|_| vec![json!({"status": "failed", "reason": "no such label"})]);
    let failed = machine.send("ole", "machine.label", &["label=x"]);
    assert_eq!(
        (&failed["outcome"], &failed["detail"]),
        (&"failed".into(), &"no such label".into())
    );
    wait_until("the command is cleared", || machine.retained().is_empty());
}

#[test]
fn after_a_restart_the_response_published_meanwhile_is_the_outcome() {
    let mut machine = Machine::new();
    machine.site.try_send("ole", "machine.restart", 1);
    wait_until("the command is on the bus", || {
        !machine.retained().is_empty()
    });
    machine.site.kill();
    let (topic, _) = machine.retained().pop_first().unwrap();
    block_on(async {
        let client = MqttClient::connect(&machine.bus.broker()).await.unwrap();
        let response = json!({"status": "successful"}).to_string().into_bytes();
        client.publish(topic, response, true).await.unwrap();
    });
    machine.site.start();
    machine.site.ready();
    wait_until("its outcome is in the log", || {
        let events = machine.site.events();
        let is = |event: &&Json, what: &str| event["event"] == what;
        let intent = events
            .iter()
            .find(|event| is(event, "intent") && event["operation"] == "machine.restart");
        let end = events
            .iter()
            .find(|event| is(event, "outcome") && event["command"] == intent.unwrap()["command"]);
        end.is_some_and(|end| end["outcome"] == "done")
    });
    wait_until("the command is cleared", || machine.retained().is_empty());
}

#[test]
fn two_hundred_hostile_texts_are_data_on_the_bus_or_refused() {
    let machine = Machine::new();
    let seen =
        machine.service(|command| vec![json!({"status": "successful", "was": command["label"]})]);
    let site = &machine.site;
    let broker = site.cloud.broker();
    let holder = HolderKey::open(&site.path().join("ole.key")).unwrap();
    let device_key = PublicKey::new(&Bytes::from_hex(&site.device_key).unwrap()).unwrap();
    let mut accepted = 0;
    for text in hostile() {
        let value = (Text::new("label").unwrap(), Value::from(text.as_str()));
        let wish = wish("machine.label", Map::new([value]));
        let request = SendParams::new(&broker, &device_key, &holder, &wish);
        let body = block_on(send(&request)).unwrap().receipt.unwrap().body;
        if text.starts_with('-') || text.chars().any(char::is_control) {
            assert_eq!(body.code.unwrap().as_str(), "param", "{text:?}");
            continue;
        }
        assert_eq!(body.outcome, Outcome::Done, "{text:?} {:?}", body.detail);
        assert_eq!(body.result.get("was"), Some(&Value::Text(text)));
        accepted += 1;
    }
    assert!(accepted > 150, "{accepted}");
    let topics: Vec<String> = seen.try_iter().map(|(topic, _)| topic).collect();
    assert!(
        topics
            .iter()
            .all(|topic| topic.starts_with("te/device/main///cmd/label/doorward-"))
    );
}
