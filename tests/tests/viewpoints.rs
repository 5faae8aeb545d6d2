//! N of M viewpoints agree: three real dnslb, each with a way of its own to the same backend, which can be cut.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{Daemon, SOON, Scratch, bins};
use farm_tests::{dns, http, wait};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

const ZONE: &str = "$TTL 300\n@ SOA ns1 host 1 2 3 4 7\n@ NS ns1\nns1 60 A 192.0.2.1\n";
const NAMES: [&str; 3] = ["ns1", "ns2", "ns3"];

/// One of them.
struct Node {
    daemon: Daemon,
    config: PathBuf,
    /// Where its checks connect to.
    way: SocketAddr,
    open: Option<TcpListener>,
}

/// Peers of the node `own` at these addresses; all of them agree.
fn config(scratch: &Scratch, own: usize, way: SocketAddr, peers: &[(usize, SocketAddr)]) -> PathBuf {
    let name = NAMES[own];
    let peer =
        |(at, addr): &(usize, SocketAddr)| format!("[[viewpoints.peer]]\nname = \"{}\"\naddr = \"{addr}\"\n", NAMES[*at]);
    let peers: String = peers.iter().map(peer).collect();
    let agree = if peers.is_empty() { "" } else { "agree = 2\n" };
    let port = way.port();
    let text = format!(
        "[server]\nid = \"{name}\"\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         token_file = \"{name}.token\"\n[[zone]]\nname = \"lb.example.com\"\nfile = \"lb.zone\"\n\
         [viewpoints]\nlisten = [\"127.0.0.1:0\"]\nkey_file = \"viewpoints.key\"\ninterval = \"100ms\"\nlease = \"1s\"\n{peers}\
         [[pool]]\nname = \"web\"\npublish = [\"web.lb.example.com\"]\nfail_open = 0.0\nslow_start = \"0s\"\n\
         [[pool.member]]\nname = \"m\"\naddresses = [\"127.0.0.1\"]\n\
         [pool.check]\nport = {port}\ninterval = \"200ms\"\ntimeout = \"200ms\"\nrise = 1\nfall = 2\n{agree}"
    );
    scratch.write(&format!("{name}.toml"), &text)
}

impl Node {
    fn status(&self) -> serde_json::Value {
        let admin = self.daemon.port("admin").to_string();
        let mut command = Command::new(bins().join("dnslb"));
        command.args(["status", "--json", "--admin", &admin, "--config"]).arg(&self.config);
        serde_json::from_slice(&command.output().expect("dnslb status").stdout).unwrap_or_default()
    }

    fn votes(&self, down: u64, up: u64) {
        wait::until(&format!("{down} down and {up} up at {}", self.config.display()), SOON, || {
            let votes = self.status().pointer("/pools/0/members/0/votes").cloned().unwrap_or_default();
            (votes["down"] == down && votes["up"] == up).then_some(())
        });
    }

    fn named(&self) -> usize {
        dns::lookup(self.daemon.port("dns"), "web.lb.example.com").map_or(0, |(addresses, _)| addresses.len())
    }

    fn cut(&mut self) {
        self.open = None;
    }

    fn mend(&mut self) {
        self.open = Some(TcpListener::bind(self.way).expect("its way again"));
    }
}

fn start(scratch: &Scratch) -> Vec<Node> {
    scratch.write("lb.zone", ZONE);
    let key = scratch.write("viewpoints.key", &format!("{}\n", "5a".repeat(32)));
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a secret");
    let mut nodes: Vec<Node> = Vec::new();
    for own in 0..NAMES.len() {
        let open = TcpListener::bind("127.0.0.1:0").expect("a port");
        let way = open.local_addr().expect("its address");
        let config = config(scratch, own, way, &[]);
        nodes.push(Node { daemon: Daemon::serve("dnslb", scratch, &config, &[]), config, way, open: Some(open) });
    }
    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.daemon.port("viewpoints")).collect();
    for (own, node) in nodes.iter().enumerate() {
        let peers: Vec<_> = addresses.iter().copied().enumerate().filter(|(at, _)| *at != own).collect();
        config(scratch, own, node.way, &peers);
        reload(node);
    }
    nodes
}

fn reload(node: &Node) {
    node.daemon.signal(rustix::process::Signal::HUP);
}

#[test]
fn a_member_is_down_once_two_of_three_say_so() {
    let scratch = Scratch::new("viewpoints");
    let mut nodes = start(&scratch);
    for node in &nodes {
        node.votes(0, 3);
        assert_eq!(node.named(), 1);
    }
    // One alone cannot reach it: everybody, itself too, knows better.
    nodes[0].cut();
    for node in &nodes {
        node.votes(1, 2);
        assert_eq!(node.named(), 1);
    }
    let status = nodes[0].status();
    let member = &status["pools"][0]["members"][0];
    assert_eq!(member["standing"], "in_service");
    assert!(
        member["why"].as_str().is_some_and(|why| why.starts_with("1 of 3 viewpoints say down, 2 must: connect")),
        "{member}"
    );
    // Two of three.
    nodes[1].cut();
    for node in &nodes {
        node.votes(2, 1);
        wait::until("an empty answer", SOON, || (node.named() == 0).then_some(()));
        assert_eq!(node.status()["pools"][0]["members"][0]["standing"], "down");
    }
    let down = "dnslb_member_viewpoints{pool=\"web\",member=\"m\",says=\"down\"}";
    assert_eq!(nodes[2].daemon.metric(down), Some(2.0));
    nodes[1].mend();
    for node in &nodes {
        node.votes(1, 2);
        wait::until("the member again", SOON, || (node.named() == 1).then_some(()));
    }
    // Whoever is not heard counts neither way: of the two that are left, both must say so.
    nodes[2].daemon.kill();
    for node in nodes.iter().take(2) {
        node.votes(1, 1);
        assert_eq!(node.named(), 1);
        wait::until("ns3 not to be heard", SOON, || {
            let metric = node.daemon.metric("dnslb_viewpoint_heard{viewpoint=\"ns3\"}");
            (metric == Some(0.0) && node.daemon.log().contains("viewpoint_silent")).then_some(())
        });
    }
    nodes[1].daemon.kill();
    nodes[0].votes(1, 0);
    wait::until("an empty answer", SOON, || (nodes[0].named() == 0).then_some(()));
}

#[test]
fn strangers_learn_nothing() {
    let scratch = Scratch::new("viewpoint-strangers");
    let nodes = start(&scratch);
    let addr = nodes[0].daemon.port("viewpoints");
    wait::until("its peers to be heard", SOON, || {
        (nodes[0].daemon.metric("dnslb_viewpoint_heard{viewpoint=\"ns2\"}") == Some(1.0)).then_some(())
    });
    let refused = || nodes[0].daemon.metric("dnslb_viewpoint_questions_total{outcome=\"refused\"}").unwrap_or_default();
    let before = refused();
    for path in ["/v1/viewpoint", "/metrics", "/v1/status"] {
        let response = http::get(addr, path).expect("an answer");
        assert!(matches!(response.status, 403 | 404), "{path}: {}", response.status);
        assert!(!response.text().contains("web"), "{path}");
    }
    assert!(refused() - before >= 3.0);
    // Another secret: neither side believes the other.
    let bad = scratch.write("bad.key", &format!("{}\n", "5b".repeat(32)));
    std::fs::set_permissions(&bad, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a secret");
    let text = std::fs::read_to_string(&nodes[0].config).expect("its configuration");
    replace(&nodes[0].config, &text.replace("viewpoints.key", "bad.key"));
    reload(&nodes[0]);
    nodes[0].votes(0, 1);
    nodes[1].votes(0, 2);
}

fn replace(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
}
