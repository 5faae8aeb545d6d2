//! Checks against real servers: openssl's TLS server, an HAProxy agent, node_exporter's text, commands; and operators' words with an
//! end, over a restart.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{Daemon, SOON, Scratch, bins};
use farm_tests::peer::installed;
use farm_tests::{dns, wait};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

const ZONE: &str = "$TTL 300\n@ SOA ns1 host 1 2 3 4 7\n@ NS ns1\nns1 60 A 192.0.2.1\n";

fn config(scratch: &Scratch, pools: &str) -> PathBuf {
    scratch.write("lb.zone", ZONE);
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\nstate_dir = \"state\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         token_file = \"admin.token\"\n[[zone]]\nname = \"lb.example.com\"\nfile = \"lb.zone\"\n{pools}"
    );
    scratch.write("dnslb.toml", &text)
}

/// A pool of members on loopback, each with a check of its own port: pools are named after their members.
fn pool(name: &str, address: &str, check: &str) -> String {
    format!(
        "[[pool]]\nname = \"{name}\"\npublish = [\"{name}.lb.example.com\"]\nfail_open = 0.0\nslow_start = \"0s\"\n[[pool.member]]\n\
         name = \"m\"\naddresses = [\"{address}\"]\n[pool.check]\ninterval = \"200ms\"\ntimeout = \"200ms\"\nrise = 1\nfall = 1\n{check}\n"
    )
}

/// What `dnslb status --json` says of the one member of a pool.
fn member(daemon: &Daemon, config: &Path, pool: &str) -> serde_json::Value {
    let admin = daemon.port("admin").to_string();
    let output = Command::new(bins().join("dnslb"))
        .args(["status", "--json", "--admin", &admin, "--config"])
        .arg(config)
        .output()
        .expect("dnslb status");
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let pools = status["pools"].as_array().cloned().unwrap_or_default();
    let pool = pools.into_iter().find(|found| found["name"] == pool).unwrap_or_default();
    pool["members"][0].clone()
}

fn becomes(daemon: &Daemon, config: &Path, pool: &str, standing: &str) -> serde_json::Value {
    wait::until(&format!("{pool} to be {standing}"), SOON, || {
        let member = member(daemon, config, pool);
        (member["standing"] == standing).then_some(member)
    })
}

/// Serves what `text` says at the time to everybody who connects; `asks` says whether a request comes first.
fn server(text: &Arc<Mutex<String>>, asks: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let text = Arc::clone(text);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            if asks {
                let _ = stream.read(&mut [0; 2_048]);
            }
            let _ = stream.write_all(text.lock().expect("the text").as_bytes());
        }
    });
    port
}

#[test]
fn agents_and_run_queues_move_weights_and_commands_decide() {
    let scratch = Scratch::new("checks");
    let agent = Arc::new(Mutex::new("up 100%\n".to_owned()));
    let exporter = |running: u32| {
        let cpu = "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 1.5e3";
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n# TYPE x\n{cpu}\nnode_procs_running {running}\n")
    };
    let queue = Arc::new(Mutex::new(exporter(1)));
    let flag = scratch.write("flag", "");
    let pools = [
        pool("agent", "127.0.0.1", &format!("kind = \"agent\"\nport = {}", server(&agent, false))),
        pool("queue", "127.0.0.1", &format!("kind = \"node-exporter\"\nport = {}", server(&queue, true))),
        pool("command", "127.0.0.1", &format!("kind = \"exec\"\ncommand = [\"/bin/ls\", \"{}\"]", flag.display())),
    ];
    let config = config(&scratch, &pools.concat());
    let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    for name in ["agent", "queue", "command"] {
        becomes(&daemon, &config, name, "in_service");
        let named = dns::lookup(daemon.port("dns"), &format!("{name}.lb.example.com")).map(|(addresses, _)| addresses.len());
        assert_eq!(named, Some(1), "{name}");
    }
    let weighs = |pool: &str, low: f64, high: f64| {
        wait::until(&format!("the weight of {pool}"), SOON, || {
            let weight = member(&daemon, &config, pool)["weight"].as_f64()?;
            (low..high).contains(&weight).then_some(())
        });
    };
    for (said, standing) in [("drain", "draining"), ("ready", "in_service"), ("down#full", "down"), ("up 25%", "in_service")]
    {
        *agent.lock().expect("the text") = format!("{said}\n");
        becomes(&daemon, &config, "agent", standing);
        let named = dns::lookup(daemon.port("dns"), "agent.lb.example.com").map(|(addresses, _)| addresses.len());
        assert_eq!(named, Some(usize::from(standing == "in_service")), "{said}");
    }
    weighs("agent", 0.24, 0.26);
    // Four processes run or wait on one processor: an eighth of the weight.
    *queue.lock().expect("the text") = exporter(5);
    weighs("queue", 0.1, 0.15);
    assert!(daemon.metric("dnslb_member_run_queue{pool=\"queue\",member=\"m\"}").is_some_and(|queue| queue > 3.0));
    std::fs::remove_file(&flag).expect("removed");
    let down = becomes(&daemon, &config, "command", "down");
    assert!(down["why"].as_str().is_some_and(|why| why.contains("exit status")), "{down}");
}

#[test]
fn certificates_have_days() {
    let Some(openssl) = installed("openssl") else { return };
    let scratch = Scratch::new("certificates");
    let made = Command::new(&openssl)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "20"])
        .args(["-subj", "/CN=m", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(scratch.path())
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl").success());
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    let mut command = Command::new(openssl);
    command.args(["s_server", "-quiet", "-accept", &port.to_string(), "-cert", "cert.pem", "-key", "key.pem"]);
    command.current_dir(scratch.path());
    let _server = Daemon::spawn(command, scratch.path().join("s_server.log"));
    let check = |more: &str| format!("kind = \"tls\"\nport = {port}\ntls_verify = false\nexpiry_days_warn = 30\n{more}");
    let pools = [
        pool("fresh", "127.0.0.1", &check("expiry_days_min = 10")),
        pool("stale", "127.0.0.1", &check("expiry_days_min = 21")),
        pool("strict", "127.0.0.1", &format!("kind = \"tls\"\nport = {port}\nca_file = \"key.pem.none\"\n")),
    ];
    // What cannot be read is an error at once; a certificate that nobody vouches for is a failure.
    let bad = config(&scratch, &pools.concat());
    let refused = Command::new(bins().join("dnslb")).arg("check").arg(&bad).output().expect("dnslb check");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("key.pem.none"));
    let config = config(&scratch, &pools[..2].concat());
    let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    becomes(&daemon, &config, "fresh", "in_service");
    let stale = becomes(&daemon, &config, "stale", "down");
    assert!(stale["why"].as_str().is_some_and(|why| why.starts_with("the certificate ends in 19 days")), "{stale}");
    assert_eq!(daemon.metric("dnslb_member_certificate_days{pool=\"fresh\",member=\"m\"}"), Some(19.0));
    assert!(daemon.log().contains("expiry"));
}

#[test]
fn a_word_for_a_time_survives_a_restart_and_ends() {
    let scratch = Scratch::new("words");
    let member_of = "[[pool]]\nname = \"www\"\npublish = [\"www.lb.example.com\"]\n[[pool.member]]\nname = \"m\"\naddresses = [\"192.0.2.7\"]\n";
    let config = config(&scratch, member_of);
    let mut daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    let say = |daemon: &Daemon, words: &[&str]| {
        let admin = daemon.port("admin").to_string();
        let output = Command::new(bins().join("dnslb"))
            .args(words)
            .args(["--admin", &admin, "--config"])
            .arg(&config)
            .env("SUDO_USER", "ann")
            .output()
            .expect("dnslb");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    assert!(say(&daemon, &["admin", "drain", "www/m", "--for", "soon"]).contains("expected a duration"));
    assert_eq!(say(&daemon, &["admin", "drain", "www/m", "--for", "10m", "--why", "disk"]), "www/m is draining for 10m\n");
    daemon.kill();
    let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    let table = say(&daemon, &["status"]);
    let line = table.lines().find(|line| line.contains("draining")).unwrap_or_default();
    assert!(line.contains("disk [drain by hand, ann, until ") && line.ends_with("; measured in_service]"), "{table}");
    // A short one ends by itself.
    assert_eq!(say(&daemon, &["admin", "down", "www/m", "--for", "300ms"]), "www/m is forced down for 300ms\n");
    let free = becomes(&daemon, &config, "www", "in_service");
    assert_eq!((&free["forced"], &free["word"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    assert_eq!(say(&daemon, &["admin", "down", "www/m"]), "www/m is forced down\n");
    assert_eq!(say(&daemon, &["admin", "auto", "www/m"]), "www/m is as measured again\n");
}
