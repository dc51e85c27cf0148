//! The limits of the firewall, for proxies that have none.

use tokio::process::Command;

use super::replaced;

/// Goal: the firewall refuses connections of an address that has too many, and no others. Method: the file, with a smaller number,
/// in a network namespace of its own; connections of two addresses, and of an IPv6 one.
#[tokio::test]
async fn the_firewall_bounds_connections_of_one_address() {
    let rules = include_str!("../../../deploy/proxies/nftables/headcount.nft");
    let rules = replaced(rules, "ct count over 1000", "ct count over 10");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("rules.nft");
    std::fs::write(&file, rules).expect("it is writable");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "python3", "tests/cluster/behind/firewall.py"])
        .arg(&file)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", format!("{path}:/usr/sbin"))
        .output()
        .await
        .expect("unshare is there");
    let made = String::from_utf8_lossy(&output.stdout);
    assert_eq!(made.trim(), "10 3 10", "{}", String::from_utf8_lossy(&output.stderr));
}
