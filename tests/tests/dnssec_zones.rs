//! Zones that we sign, judged by those who verify zones for a living: BIND's dnssec-verify and NLnet Labs' ldns-verify-zone; and keys
//! that go both ways between BIND and us.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]
#![allow(clippy::disallowed_methods, reason = "peers judge signatures by the clock of this machine")]

use dnslb_core::dnssec::{ActiveKeys, Algorithm, Denial, FLAG_SEP, FLAG_ZONE, SigningKey, SigningPlan, Validity, sign_zone};
use dnslb_core::name::Name;
use dnslb_core::zone::{Files, Zone, load};
use farm_shared::time::Wall;
use farm_tests::daemon::{Scratch, bins, root};
use farm_tests::peer::installed;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| error.to_string())
    }
}

/// The zone files of the repository with their apexes.
fn zones() -> Vec<(Name, PathBuf)> {
    let files = |folder: &str| {
        let folder = root().join(folder);
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "zone"));
        files
    };
    let mut all: Vec<PathBuf> = files("tests/zones").into_iter().chain(files("zones")).collect();
    all.sort();
    let apex = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        let origin = text.lines().find_map(|line| line.strip_prefix("$ORIGIN "));
        let stem = path.file_stem().unwrap().to_str().unwrap();
        Name::from_text(origin.unwrap_or(stem).trim()).unwrap()
    };
    all.into_iter().map(|path| (apex(&path), path)).collect()
}

fn now() -> Wall {
    Wall(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64)
}

fn key(algorithm: Algorithm, flags: u16, octet: u8) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_private(algorithm, flags, &[octet; 32]).unwrap())
}

/// A plan with a KSK and a ZSK, or with one key for both.
fn plan(apex: &Name, algorithm: Algorithm, denial: Denial, csk: bool) -> SigningPlan {
    let entry = key(algorithm, FLAG_ZONE | FLAG_SEP, 1);
    let zone = if csk { entry.clone() } else { key(algorithm, FLAG_ZONE, 2) };
    SigningPlan {
        published: vec![entry.dnskey().clone(), zone.dnskey().clone()],
        wished: vec![entry.dnskey().clone()],
        keys: ActiveKeys { apex: apex.clone(), entry: vec![entry], zone: vec![zone], validity: Validity::default() },
        dnskey_ttl_s: 3_600,
        denial,
        serial: None,
    }
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn written(zone: &Zone, path: &Path) {
    let mut text = String::new();
    zone.write_text(&mut text).unwrap();
    std::fs::write(path, text).unwrap();
}

/// The same in the generic form of RFC 3597: ldns does not read the presentation format of every type.
fn written_generic(zone: &Zone, path: &Path) {
    let mut text = String::new();
    for record in zone.records() {
        let hex = farm_shared::hex::encode(record.rdata);
        let (owner, ttl_s, rtype, len) = (record.owner, record.ttl_s, record.rtype.0, record.rdata.len());
        writeln!(text, "{owner} {ttl_s} IN TYPE{rtype} \\# {len} {hex}").unwrap();
    }
    std::fs::write(path, text).unwrap();
}

/// Whether the judges have nothing to say against a signed zone.
fn judged(zone: &Zone, path: &Path, complaints: &mut Vec<String>) {
    written(zone, path);
    let (file, apex) = (path.to_str().unwrap(), zone.apex().to_string());
    if let Some(program) = installed("dnssec-verify") {
        // -z: a CSK is a KSK that signs everything.
        let output = run(&program, &["-z", "-o", &apex, file]);
        if !output.status.success() {
            complaints.push(format!("dnssec-verify {file}: {}", said(&output)));
        }
    }
    if let Some(program) = installed("ldns-verify-zone") {
        written_generic(zone, path);
        let output = run(&program, &["-V2", file]);
        if !output.status.success() {
            complaints.push(format!("ldns-verify-zone {file}: {}", said(&output)));
        }
    }
}

#[test]
fn every_zone_is_signed_as_the_judges_want_it() {
    let scratch = Scratch::new("dnssec-zones");
    let mut complaints = Vec::new();
    let mut count = 0;
    for (apex, path) in zones() {
        let zone = load(&apex, &Disk, path.to_str().unwrap()).unwrap_or_else(|found| panic!("{path:?}: {found:?}")).zone;
        for (denial, algorithm, csk) in [
            (Denial::Nsec, Algorithm::EcdsaP256Sha256, true),
            (Denial::Nsec, Algorithm::Ed25519, false),
            (Denial::Nsec3, Algorithm::EcdsaP256Sha256, false),
            (Denial::Nsec3, Algorithm::Ed25519, true),
        ] {
            let plan = plan(&apex, algorithm, denial, csk);
            let signed = sign_zone(&zone, &plan, None, now()).unwrap();
            count += 1;
            judged(&signed.zone, &scratch.path().join(format!("signed-{count}")), &mut complaints);
        }
    }
    assert!(count >= 12);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn the_judges_see_what_is_wrong() {
    let (Some(verify), Some(ldns)) = (installed("dnssec-verify"), installed("ldns-verify-zone")) else { return };
    let scratch = Scratch::new("dnssec-wrong");
    let apex = Name::from_text("example").unwrap();
    let zone = load(&apex, &Disk, root().join("tests/zones/parent.zone").to_str().unwrap()).unwrap().zone;
    let old = Wall(now().0 - 40 * 86_400_000);
    let signed = sign_zone(&zone, &plan(&apex, Algorithm::Ed25519, Denial::Nsec, true), None, old).unwrap();
    let path = scratch.path().join("old");
    written(&signed.zone, &path);
    for (program, arguments) in [(verify, vec!["-o", "example"]), (ldns, vec![])] {
        let output = run(&program, &[arguments, vec![path.to_str().unwrap()]].concat());
        assert!(!output.status.success(), "{program:?} accepts signatures that have expired");
    }
}

#[test]
fn keys_go_both_ways() {
    let Some(theirs) = installed("dnssec-keygen") else { return };
    let Some(dsfromkey) = installed("dnssec-dsfromkey") else { return };
    let ours = bins().join("dnslb");
    let scratch = Scratch::new("dnssec-keys");
    let dir = scratch.path().to_str().unwrap();
    for algorithm in ["ECDSAP256SHA256", "ED25519"] {
        for kind in ["--ksk", "--zsk", "--csk"] {
            let zone = format!("{}.example", kind.trim_start_matches('-'));
            let output = run(&ours, &["keygen", "--algorithm", algorithm, kind, "-K", dir, &zone]);
            assert!(output.status.success(), "{}", said(&output));
            let base = String::from_utf8(output.stdout).unwrap();
            let public = format!("{dir}/{}.key", base.trim());
            // BIND makes the same DS of our file, and a signature with our key.
            let expect = run(&dsfromkey, &["-2", &public]);
            assert!(expect.status.success(), "{}", said(&expect));
            let found = run(&ours, &["ds", &public]);
            assert_eq!(said(&found), said(&expect));
        }
        let output = run(&theirs, &["-q", "-a", algorithm, "-f", "KSK", "-K", dir, "theirs.example"]);
        let base = said(&output);
        let expect = run(&dsfromkey, &["-2", &format!("{dir}/{}.key", base.trim())]);
        let found = run(&ours, &["ds", "-K", dir, "theirs.example"]);
        assert!(said(&found).contains(said(&expect).trim()), "{} {}", said(&found), said(&expect));
        let cds = run(&dsfromkey, &["-2", "-C", &format!("{dir}/{}.key", base.trim())]);
        let found = run(&ours, &["ds", "--cds", "-K", dir, "theirs.example"]);
        assert!(said(&found).contains(said(&cds).trim()), "{} {}", said(&found), said(&cds));
    }
    // A zone signed by BIND with our keys, KSK and ZSK.
    if let Some(signzone) = installed("dnssec-signzone") {
        for kind in ["--ksk", "--zsk"] {
            assert!(run(&ours, &["keygen", kind, "-K", dir, "both.example"]).status.success());
        }
        let zone = scratch.write("both", "@ 300 SOA ns1 admin 1 2 3 4 5\n@ 300 NS ns1\nns1 300 A 192.0.2.1\n");
        let output = run(&signzone, &["-S", "-K", dir, "-d", dir, "-o", "both.example", zone.to_str().unwrap()]);
        assert!(output.status.success(), "{}", said(&output));
    }
}
