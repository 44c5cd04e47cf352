//! The complete life cycle with an issuer on a laptop that has no connection to any broker: its
//! statements reach the device on a USB drive.

use doorward_testkit::site::{COUNT, DOORWARD, Site, wait_until};

/// Writes all statements for the device to a USB drive, and imports them on the device.
fn import_from_usb_drive(site: &Site) {
    site.doorkey(&["bundle", "ups-7", "--out", "usb-drive"]);
    let import = ["import", "usb-drive", "--state", "state"];
    wait_until("the device accepts every statement", || {
        site.run(DOORWARD, &import).status.success()
    });
}

#[test]
fn n27_an_issuer_on_a_laptop_and_a_usb_drive_suffice_for_the_whole_life_cycle() {
    let site = Site::provisioned(COUNT);
    for name in ["ole", "anna"] {
        site.person(name);
    }
    // No command of the issuer names a broker.
    site.doorkey(&[
        "register",
        "ups-7",
        "--device-public-key",
        &site.device_key,
        "--owner",
        "ole",
        "--owner-public-key",
        "ole.pub",
    ]);
    let share = [
        "share",
        "ups-7",
        "--to",
        "anna",
        "--public-key",
        "anna.pub",
        "--allow",
        "status.read,device.reboot",
        "--for",
        "3d",
        "--out",
        "anna.pass",
        "--json",
    ];
    let created = site.doorkey(&share);
    let created: serde_json::Value = serde_json::from_slice(&created.stdout).unwrap();
    assert_eq!(created["published"], false, "{created}");
    let share = created["shares"][0]["share"].as_str().unwrap();
    import_from_usb_drive(&site);

    // The device and its users are connected to the broker of the site.
    site.ready();
    assert_eq!(site.send("anna", "device.reboot", 10)["outcome"], "done");
    assert_eq!(site.reboots(), 1);

    site.doorkey(&["cancel", "ups-7", share]);
    let before_import = site.send("anna", "status.read", 10);
    assert_eq!(before_import["outcome"], "done", "{before_import}");
    import_from_usb_drive(&site);
    assert_eq!(site.send("anna", "status.read", 10)["code"], "revoked");
    assert_eq!(site.send("anna", "device.reboot", 10)["code"], "revoked");
    assert_eq!(site.send("ole", "status.read", 10)["outcome"], "done");
    assert_eq!(site.reboots(), 1);
    site.doorward(&["events", "verify", "--state", "state"]);
}
