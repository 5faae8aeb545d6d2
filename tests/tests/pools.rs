//! Pools as clients, resolvers and operators see them, through real sockets: sites by address and by client subnet, private views, SRV and
//! HTTPS records, a pool at the apex and at a wildcard; dig and kdig read what the binary says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use farm_tests::daemon::{Daemon, Scratch, bins};
use farm_tests::peer::{installed, skipped};
use farm_tests::{dns, wait};
use hickory_proto::rr::RecordType;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const ZONE: &str =
    "$TTL 60\n@ SOA ns1 admin 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.53\n@ MX 10 mail\nmail A 192.0.2.54\n";

/// Clients of 127.0.0.0/24 are at `here`, and the resolver 127.0.9.1 speaks for others.
const CONFIG: &str = r#"
[[site]]
name = "here"
prefixes = ["127.0.0.0/24", "198.51.100.0/24"]
[[site]]
name = "there"
prefixes = ["127.0.1.0/24", "203.0.113.0/25"]
[[view]]
name = "inside"
prefixes = ["127.0.1.0/24"]
[ecs]
enabled = true
trusted = ["127.0.0.1"]
[[pool]]
name = "www"
publish = ["lb.example", "*.apps.lb.example"]
k = 1
nearest_site = true
private_views = ["inside"]
target_zone = "hosts.lb.example"
[pool.https]
alpn = ["h2", "h3"]
port = 8443
[[pool.service]]
name = "_imaps._tcp.lb.example"
port = 993
backups = 1
[[pool.member]]
name = "h1"
addresses = ["192.0.2.1", "2001:db8::1"]
site = "here"
[[pool.member]]
name = "t1"
addresses = ["192.0.2.2"]
private_addresses = ["10.0.0.2"]
site = "there"
[[pool]]
name = "all"
publish = ["all.lb.example"]
k = 4
[[pool.member]]
name = "www"
pool = "www"
"#;

struct Served {
    scratch: Scratch,
    daemon: Daemon,
    config: PathBuf,
}

fn write(scratch: &Scratch, pools: &str) -> PathBuf {
    let zone = scratch.write("lb.zone", ZONE);
    let token = scratch.path().join("admin.token");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{}\"\n\
         [[zone]]\nname = \"lb.example\"\nfile = \"{}\"\n{pools}",
        token.display(),
        zone.display()
    );
    scratch.write("dnslb.toml", &text)
}

fn serve(name: &str) -> Served {
    let scratch = Scratch::new(name);
    let config = write(&scratch, CONFIG);
    let daemon = Daemon::serve("dnslb", &scratch, &config, &[]);
    Served { scratch, daemon, config }
}

impl Served {
    fn server(&self) -> SocketAddr {
        self.daemon.port("dns")
    }

    /// What a tool of the family of dig says.
    fn tool(&self, tool: &str, args: &[&str]) -> Option<String> {
        let program = installed(tool)?;
        let port = self.server().port().to_string();
        let output = Command::new(program).args(["@127.0.0.1", "-p", &port]).args(args).output().expect("the tool runs");
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[test]
fn a_client_gets_members_of_its_site() {
    let served = serve("pools-sites");
    let Some(_) = installed("dig") else { return skipped("dig (bind9-dnsutils) is missing") };
    let short = |args: &[&str]| {
        let text = served.tool("dig", &[&["+short", "+tries=1"], args].concat()).expect("dig");
        text.lines().map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let set = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<String>>();
    for _ in 0..10 {
        assert_eq!(short(&["lb.example", "A", "-b", "127.0.0.7"]), set(&["192.0.2.1"]));
        assert_eq!(short(&["x.apps.lb.example", "A", "-b", "127.0.1.7"]), set(&["10.0.0.2"]), "the view's address");
    }
    // The one member with IPv6 is far from this client, but all that there is.
    assert_eq!(short(&["lb.example", "AAAA", "-b", "127.0.1.7"]), set(&["2001:db8::1"]));
    assert_eq!(short(&["all.lb.example", "A"]), set(&["192.0.2.1", "192.0.2.2"]));
    assert_eq!(short(&["lb.example", "MX"]), set(&["10 mail.lb.example."]));

    // A resolver speaks for its client; the scope is the answer's.
    let whole = |args: &[&str]| served.tool("dig", &[&["+tries=1"], args].concat()).expect("dig");
    let check = |subnet: &str, from: &str, name: &str, scope: &str, expect: Option<&str>| {
        let text = whole(&[name, "A", &format!("+subnet={subnet}"), "-b", from]);
        let says = text.lines().find(|line| line.contains("CLIENT-SUBNET")).map(str::trim);
        assert_eq!(says, if scope.is_empty() { None } else { Some(scope) }, "{text}");
        assert!(expect.is_none_or(|expect| text.contains(expect)), "{text}");
    };
    check("203.0.113.0/24", "127.0.0.1", "lb.example", "; CLIENT-SUBNET: 203.0.113.0/24/24", Some("192.0.2.2"));
    check("203.0.113.77/32", "127.0.0.1", "lb.example", "; CLIENT-SUBNET: 203.0.113.77/32/25", Some("192.0.2.2"));
    check("198.51.100.0/24", "127.0.0.1", "lb.example", "; CLIENT-SUBNET: 198.51.100.0/24/24", Some("192.0.2.1"));
    check("203.0.113.0/24", "127.0.0.1", "all.lb.example", "; CLIENT-SUBNET: 203.0.113.0/24/0", None);
    check("203.0.113.0/24", "127.0.0.1", "mail.lb.example", "; CLIENT-SUBNET: 203.0.113.0/24/0", None);
    check("203.0.113.0/24", "127.0.0.2", "lb.example", "", Some("192.0.2.1"));
    let by_site =
        |site: &str| served.daemon.metric(&format!("dnslb_pool_answers_by_site_total{{pool=\"www\",site=\"{site}\"}}"));
    assert_eq!((by_site("here"), by_site("there")), (Some(12.0), Some(13.0)));
}

#[test]
fn services_and_bindings_lead_to_the_addresses_beside_them() {
    let served = serve("pools-services");
    let answer = dns::udp(served.server(), &dns::query("_imaps._tcp.lb.example.", RecordType::SRV)).expect("an answer");
    let lines: BTreeSet<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
    let expect = ["0 100 993 h1.hosts.lb.example.", "1 100 993 t1.hosts.lb.example."].map(str::to_owned);
    assert_eq!(lines, BTreeSet::from(expect));
    for extra in &answer.additionals {
        let own = dns::udp(served.server(), &dns::query(&extra.name.to_string(), extra.record_type())).expect("an answer");
        assert_eq!(own.answers.iter().map(|r| &r.data).collect::<Vec<_>>(), [&extra.data], "the target's own address");
    }
    assert_eq!(answer.additionals.len(), 3);
    let Some(text) = served.tool("kdig", &["lb.example", "HTTPS", "+noall", "+answer", "+additional"]) else {
        return skipped("kdig (knot-dnsutils) is missing");
    };
    let line = text.lines().find(|line| line.contains("HTTPS")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("1 . alpn=h2,h3 port=8443 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1"), "{line}");
    for address in ["A\t192.0.2.1", "AAAA\t2001:db8::1"] {
        let plain = text.split_whitespace().collect::<Vec<_>>().join("\t");
        assert!(plain.contains(address), "{text}");
    }
}

#[test]
fn ask_tells_why_and_a_reload_moves_sites() {
    let served = serve("pools-ask");
    let ask = |args: &[&str]| {
        let output = Command::new(bins().join("dnslb")).arg("ask").args(args).arg("--config").arg(&served.config).output();
        String::from_utf8_lossy(&output.expect("dnslb ask").stdout).into_owned()
    };
    let text = ask(&["lb.example", "A", "--from", "127.0.1.7"]);
    for says in ["is at the site there", "is in the view inside and gets private addresses", "at there: 1 of 1", "10.0.0.2"]
    {
        assert!(text.contains(says), "{says}: {text}");
    }
    let text = ask(&["lb.example", "A", "--client", "127.0.0.1", "--ecs", "203.0.113.0/25"]);
    for says in ["203.0.113.0 is at the site there, is in no view", "192.0.2.2"] {
        assert!(text.contains(says), "{says}: {text}");
    }
    let first = || dns::lookup(served.server(), "lb.example.").map(|(addresses, _)| addresses);
    assert_eq!(first(), Some(vec!["192.0.2.1".parse().unwrap()]));
    write(&served.scratch, &CONFIG.replace("127.0.0.0/24", "127.0.7.0/24").replace("127.0.1.0/24", "127.0.0.0/24"));
    served.daemon.signal(rustix::process::Signal::HUP);
    wait::until("the other site", Duration::from_secs(20), || {
        (first() == Some(vec!["10.0.0.2".parse().unwrap()])).then_some(())
    });
    // What does not fit is refused, and the sites stay.
    write(&served.scratch, &CONFIG.replace("site = \"here\"", "site = \"nowhere\""));
    served.daemon.signal(rustix::process::Signal::HUP);
    wait::until("the refusal", Duration::from_secs(20), || {
        served.daemon.log().contains("the reload is refused").then_some(())
    });
    assert_eq!(first(), Some(vec!["10.0.0.2".parse().unwrap()]));
}
