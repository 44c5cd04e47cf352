//! Rollback of a settings change that disconnects the device.

use std::time::{Duration, Instant};

use super::namespaces::inside;
use super::{INSIDE, World, run_inside};
use doorward_testkit::site::wait_until;

#[test]
fn n20_a_change_that_cuts_the_devices_own_network_is_rolled_back() {
    run_inside("impairments::settings::inside_of_the_namespaces");
}

/// The device's end of the cable to the cloud.
fn interface(namespace: &str) -> String {
    let out = inside(namespace, "ip")
        .args(["-o", "link"])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let mut names = text.lines().filter_map(|line| line.split(": ").nth(1));
    names
        .find(|name| name.starts_with("dw0"))
        .unwrap()
        .to_owned()
}

fn operations(interface: &str) -> String {
    let show = format!(
        "case $(/sbin/ip -o link show {interface}) in *[,\\<]UP[,\\>]*) echo up;; *) echo down;; esac"
    );
    format!(
        "[settings.\"network.cloud\"]\nvalue = {{ type = \"text\", one_of = [\"up\", \"down\"] }}\n\
         get = [\"/bin/sh\", \"-c\", {show:?}]\n\
         set = [\"/sbin/ip\", \"link\", \"set\", \"{interface}\", \"{{value}}\"]\n\
         owner_only = true\nconfirm_s = 3\n\
         [operations.\"config.read\"]\nclass = \"read\"\nhandler = \"builtin\"\n\
         [operations.\"config.write\"]\nclass = \"change\"\nhandler = \"builtin\"\n"
    )
}

#[test]
#[ignore = "is run by the other test, inside its namespaces"]
fn inside_of_the_namespaces() {
    let namespace = std::env::var(INSIDE).unwrap();
    let name = interface(&namespace);
    let operations = operations(&name);
    let world = World::new(&namespace, std::env::temp_dir(), &operations);
    let site = &world.site;
    let send = |operation: &str, args: &[&str], wait| site.send_with("ole", operation, args, wait);
    site.share("dora", "config.write");
    let refused = site.send_with(
        "dora",
        "config.write",
        &["key=network.cloud", "value=down"],
        10,
    );
    assert_eq!(refused["code"], "owner_only", "{refused}");
    let before = send("config.read", &["key=network.cloud"], 10);
    assert_eq!(before["result"]["network.cloud"], "up", "{before}");
    let start = Instant::now();
    let change = ["key=network.cloud", "value=down"];
    let receipt = std::thread::scope(|scope| {
        let sending = scope.spawn(|| send("config.write", &change, 90));
        wait_until("the cable is down", || {
            let out = inside(&namespace, "ip")
                .args(["-o", "link", "show", &name])
                .output();
            !String::from_utf8(out.unwrap().stdout)
                .unwrap()
                .contains("UP")
        });
        assert_eq!(send("status.read", &[], 1)["outcome"], "silence");
        sending.join().unwrap()
    });
    assert_eq!(receipt["outcome"], "failed", "{receipt}");
    assert!(
        receipt["detail"].as_str().unwrap().contains("is up again"),
        "{receipt}"
    );
    assert!(
        start.elapsed() > Duration::from_secs(3),
        "the link was down for a while"
    );
    wait_until("the link is up", || {
        site.status()["links"]["cloud"]["up"] == true
    });
    let after = send("config.read", &["key=network.cloud"], 10);
    assert_eq!(after["result"]["network.cloud"], "up", "{after}");
    // The log contains the change and its outcome.
    let events = site.events();
    let last = events
        .iter()
        .rfind(|event| event["event"] == "outcome" && event["outcome"] == "failed");
    assert!(
        last.unwrap()["text"]
            .as_str()
            .unwrap()
            .contains("is up again"),
        "{last:?}"
    );
}
