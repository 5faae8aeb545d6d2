//! Several farms behind one door, by the real binary: whose request it is, whose session, whose heartbeat, whose server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

mod common;

use common::{Member, Redirector, Scratch, command, until};
use farm_shared::id::Id;
use serde_json::Value;

const OTHER_KEY: &str = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

const MAIN: &str = r#"
[lease]
grace = "20s"
[[farms]]
name = "video"
file = "video.toml"
[[route]]
path = "/watch"
to = "farm"
farm = "video"
"#;

const VIDEO: &str = r#"
farm = { name = "video", key_file = "video.key", allowed_prefixes = ["127.0.0.0/8"] }
[door]
target = "http://{ip}:{port}"
"#;

fn scratch(video: &str) -> Scratch {
    let scratch = Scratch::new();
    std::fs::write(scratch.0.join("video.key"), OTHER_KEY).unwrap();
    std::fs::write(scratch.0.join("video.toml"), video).unwrap();
    scratch
}

fn video_member(id: &str, addr: &str) -> Member {
    let mut member = Member::new(id, addr);
    member.heartbeat.farm = Id::new("video").unwrap();
    member.with_key(OTHER_KEY)
}

fn beat(redirector: &Redirector, members: &mut [Member]) {
    for member in members {
        member.beat(redirector);
    }
}

fn location(redirector: &Redirector, target: &str, headers: &str) -> String {
    let response = redirector.door("GET", target, headers);
    assert_eq!(response.status, 302, "{target}: {}", response.head);
    response.header("location").unwrap().to_owned()
}

fn cookie(redirector: &Redirector, target: &str) -> String {
    let response = redirector.door("GET", target, "");
    response.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

fn status_of(redirector: &Redirector, farm: &str) -> Value {
    serde_json::from_slice(&redirector.admin("GET", &format!("/farms/{farm}/v1/status")).body).unwrap()
}

#[test]
fn each_request_and_session_goes_to_its_farm() {
    let scratch = scratch(VIDEO);
    let config = scratch.config(MAIN);
    let redirector = Redirector::start(&scratch, &config);
    // The same id in both: they are two servers.
    let mut members = [Member::new("b1", "127.0.1.11"), video_member("b1", "127.0.2.11")];
    let served = |redirector: &Redirector, members: &mut [Member]| {
        until("both farms in service", || {
            beat(redirector, members);
            let both = ["/", "/watch/1"].map(|t| redirector.door("GET", t, "").status);
            (both == [302, 302]).then_some(())
        });
    };
    served(&redirector, &mut members);
    assert_eq!(location(&redirector, "/inbox?x=1", ""), "http://127.0.1.11:9000/inbox?x=1");
    assert_eq!(location(&redirector, "/watch/1?x=1", ""), "http://127.0.2.11:9000/watch/1?x=1");

    // Neither farm's cookie stands in for the other's, and both live beside each other.
    let [mail, video] = ["/", "/watch/1"].map(|target| cookie(&redirector, target));
    assert!(mail.starts_with("farm=") && video.starts_with("farm-video="), "{mail} {video}");
    let both = format!("cookie: {mail}; {video}\r\n");
    for target in ["/", "/watch/1"] {
        let response = redirector.door("GET", target, &both);
        assert_eq!((response.status, response.header("set-cookie")), (302, None), "{target}: {}", response.head);
    }
    let renamed = format!("cookie: {}\r\n", mail.replace("farm=", "farm-video="));
    assert!(redirector.door("GET", "/watch/1", &renamed).header("set-cookie").is_some());

    // A drain in one is none in the other.
    let drained = redirector.admin("POST", "/farms/video/v1/admin/drain/b1");
    assert_eq!(drained.status, 200, "{}", drained.text());
    until("the drained server out of service", || {
        beat(&redirector, &mut members);
        (redirector.door("GET", "/watch/1", "").status == 503).then_some(())
    });
    assert_eq!(redirector.door("GET", "/", "").status, 302);
    let standing = |farm: &str| status_of(&redirector, farm)["servers"][0]["standing"].clone();
    until("the pictures", || (standing("video") == "draining" && standing("mail") == "in_service").then_some(()));
    assert!(redirector.metric("redirector_servers{farm=\"video\",standing=\"draining\"}") == 1.0);
    assert!(redirector.metric("redirector_servers{farm=\"mail\",standing=\"in_service\"}") == 1.0);
    let page = redirector.admin("GET", "/farms/video/").text();
    assert!(page.contains("Farm video") && page.contains("href=\"/farms/mail/\""), "{page}");
    assert!(page.contains("href=\"/farms/video/server/b1\""), "{page}");

    // The command line says the same.
    let config_text = config.display().to_string();
    let admin = redirector.port("admin").to_string();
    let status = command(&["status", "--config", &config_text, "--admin", &admin, "--farm", "video"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("draining"), "{status:?}");
    let key = |farm: &[&str]| command(&[&["key", "--id", "b1", "--config", &config_text], farm].concat()).stdout;
    assert_ne!(key(&[]), key(&["--farm", "video"]));
    let unknown = command(&["key", "--id", "b1", "--config", &config_text, "--farm", "radio"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("mail, video"), "{unknown:?}");

    // A restart keeps both, and what was said of one.
    beat(&redirector, &mut members);
    redirector.stop();
    let redirector = Redirector::start(&scratch, &config);
    assert_eq!(redirector.door("GET", "/", "").status, 302);
    assert_eq!(redirector.door("GET", "/watch/1", "").status, 503);
    redirector.admin("POST", "/farms/video/v1/admin/clear/b1");
    served(&redirector, &mut members);
    redirector.stop();
}

#[test]
fn a_key_of_one_farm_says_nothing_in_another() {
    let scratch = scratch(VIDEO);
    let redirector = Redirector::start(&scratch, &scratch.config(MAIN));
    let mut forged = Member::new("b1", "127.0.2.11");
    forged.heartbeat.farm = Id::new("video").unwrap();
    let refused = "farm_heartbeats_refused_total{reason=\"bad_mac\"}";
    let before = redirector.metric(refused);
    until("the refusal", || {
        forged.beat_udp(&redirector, None);
        (redirector.metric(refused) > before).then_some(())
    });
    assert_eq!(redirector.door("GET", "/watch/1", "").status, 503);
    assert_eq!(status_of(&redirector, "video")["servers"], Value::Array(vec![]));
}

#[test]
fn a_reload_reaches_every_farm_or_none() {
    let scratch = scratch(VIDEO);
    let config = scratch.config(MAIN);
    let redirector = Redirector::start(&scratch, &config);
    let policy = |farm: &str| status_of(&redirector, farm)["policy"].clone();
    assert_eq!(policy("video"), "weighted");
    let file = scratch.0.join("video.toml");
    std::fs::write(&file, format!("{VIDEO}policy = \"random\"\n")).unwrap();
    let reloaded = redirector.admin("POST", "/v1/reload");
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    until("the new policy", || (policy("video") == "random").then_some(()));
    assert_eq!(policy("mail"), "weighted");

    std::fs::write(&file, format!("{VIDEO}policy = \"best\"\nurl_bytes_max = 100\n")).unwrap();
    let refused = redirector.admin("POST", "/v1/reload").text();
    assert!(refused.contains("video.toml:5: door.policy") && refused.contains("door.url_bytes_max"), "{refused}");
    assert_eq!(policy("video"), "random");

    scratch.config("");
    let refused = redirector.admin("POST", "/v1/reload").text();
    assert!(refused.contains("come and go with a restart"), "{refused}");
    redirector.stop();
}

#[test]
fn what_is_wrong_with_any_farm_is_told_at_once() {
    let cases: [(&str, &str, &[&str]); 4] = [
        (
            MAIN,
            "farm = { name = \"radio\", key_file = \"no.key\" }\n[scaler]\nmin = \"x\"",
            &["\"radio\"", "no.key", "scaler.min"],
        ),
        ("[[farms]]\nname = \"mail\"\nfile = \"video.toml\"", VIDEO, &["\"mail\", twice"]),
        ("[[farms]]\nname = \"video\"\nfile = \"none.toml\"\n[scaler]\nmin = \"x\"", VIDEO, &["none.toml", "scaler.min"]),
        ("[[route]]\npath = \"/x\"\nfarm = \"radio\"", VIDEO, &["\"radio\"", "one of mail"]),
    ];
    for (main, video, expect) in cases {
        let scratch = scratch(video);
        let checked = command(&["check", &scratch.config(main).display().to_string()]);
        let said = String::from_utf8_lossy(&checked.stderr);
        for text in expect {
            assert!(said.contains(text), "{text} is missing in\n{said}");
        }
    }
}
