#![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]
use super::*;
use crate::testing::TempDir;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes a certificate that signs itself, valid for two days, and its key.
fn make(folder: &Path, cert: &str, key: &str, names: &[&str], algorithm: &[&str]) {
    let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey"])
        .args(algorithm)
        .args(["-nodes", "-days", "2", "-subj", "/CN=x", "-addext", &format!("subjectAltName={}", names.join(","))])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert])
        .current_dir(folder)
        .output();
    assert!(made.unwrap().status.success());
}

const P256: [&str; 3] = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// A folder; none, and a word about it, without openssl.
fn folder(name: &str) -> Option<TempDir> {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("{name}: skipped, there is no openssl");
        return None;
    }
    Some(TempDir::new())
}

fn pair(folder: &Path, name: &str, names: &[&str]) -> Pair {
    make(folder, &format!("{name}.pem"), &format!("{name}.key"), names, &P256);
    Pair::read(&folder.join(format!("{name}.pem")), &folder.join(format!("{name}.key"))).unwrap()
}

#[test]
fn a_bad_pair_leaves_the_old_one_in_place() {
    let Some(folder) = folder("reload") else { return };
    let [cert, key, other] = ["cert.pem", "key.pem", "other.pem"].map(|name| folder.path().join(name));
    make(folder.path(), "cert.pem", "key.pem", &["a.example"], &P256);
    make(folder.path(), "other.pem", "other-key.pem", &["b.example"], &P256);
    let now = Wall(0);
    let certificates = Certificates::new(Pair::read(&cert, &key).unwrap());
    let served = || certificates.pairs()[0].key.cert.first().unwrap().to_vec();
    let first = served();
    assert_eq!(certificates.look(now), Ok(false));
    // The new certificate is there before its key: no pair, and said once.
    std::fs::rename(&other, &cert).unwrap();
    assert!(certificates.look(now).unwrap_err().contains("make no pair"));
    assert_eq!(certificates.look(now), Ok(false));
    assert_eq!(served(), first);
    std::fs::rename(folder.path().join("other-key.pem"), &key).unwrap();
    assert_eq!(certificates.look(now), Ok(true));
    let second = served();
    assert_ne!(second, first);
    for (file, text) in [(&key, &b"no key"[..]), (&cert, b""), (&cert, &[0xff; 64])] {
        std::fs::write(file, text).unwrap();
        assert!(certificates.look(now).is_err());
    }
    std::fs::remove_file(&cert).unwrap();
    assert!(certificates.look(now).is_err());
    make(folder.path(), "cert.pem", "key.pem", &["c.example"], &P256);
    assert!(certificates.look(Wall(u64::MAX)).unwrap_err().contains("out of date"));
    let end = certificates.not_after();
    let same = Pair::read(&cert, &key).unwrap();
    assert!(!certificates.is_worse(&same, end), "valid");
    assert!(!certificates.is_worse(&same, Wall(end.0 + 1)), "as bad as the one in force");
    assert!(certificates.is_worse(&Pair { not_after: Wall(1), ..same }, Wall(2)));
    assert_eq!(served(), second);
    assert_eq!(certificates.loads(), [1, 6]);
}

#[test]
fn a_key_never_shows_in_an_error() {
    let Some(folder) = folder("secret") else { return };
    make(folder.path(), "cert.pem", "key.pem", &["a.example"], &P256);
    let key = folder.path().join("key.pem");
    std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n").unwrap();
    let why = Pair::read(&folder.path().join("cert.pem"), &key).err().unwrap();
    assert!(why.ends_with("no private key in PEM form"), "{why}");
}

#[test]
fn the_name_chooses_the_pair() {
    let Some(folder) = folder("names") else { return };
    let make_pair = |name: &str, names: &[&str]| pair(folder.path(), name, names);
    let all = vec![
        make_pair("front", &["Front.example", "www.front.example"]),
        make_pair("wild", &["*.farm.example", "farm.example"]),
        make_pair("one", &["one.farm.example"]),
    ];
    let certificates = Certificates::of(all);
    let check = |certificates: &Certificates, name: Option<&str>, expect: &str| {
        let index = certificates.current.0.load();
        let chosen = index.choose(name, &[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
        assert_eq!(chosen.files[0], folder.path().join(format!("{expect}.pem")), "{name:?}");
    };
    for (name, expect) in [
        (None, "front"),
        (Some("front.example"), "front"),
        (Some("FRONT.example."), "front"),
        (Some("a.farm.example"), "wild"),
        (Some("farm.example"), "wild"),
        (Some("one.farm.example"), "one"),
        (Some("a.b.farm.example"), "front"),
        (Some("farm.example.elsewhere"), "front"),
        (Some(""), "front"),
        (Some("."), "front"),
    ] {
        check(&certificates, name, expect);
    }
    // What the daemon obtains comes last, is renewed in place, and outlives a reload of the configured ones.
    certificates.put(make_pair("acme", &["acme.example", "front.example"]));
    certificates.put(make_pair("acme", &["acme.example", "acme-2.example"]));
    assert_eq!(certificates.pairs().len(), 4);
    check(&certificates, Some("acme-2.example"), "acme");
    check(&certificates, Some("front.example"), "front");
    certificates.configure(vec![make_pair("one", &["one.farm.example"])]);
    check(&certificates, Some("acme.example"), "acme");
    check(&certificates, Some("front.example"), "one");
    assert_eq!(certificates.loads(), [3, 0]);
    assert!(Certificates::of(Vec::new()).current.0.load().choose(Some("a"), &[]).is_none());
}

#[test]
fn one_bad_pair_hinders_no_other() {
    let Some(folder) = folder("two") else { return };
    let names = ["a", "b"];
    let certificates = Certificates::of(names.map(|name| pair(folder.path(), name, &[&format!("{name}.example")])).into());
    let before = certificates.pairs();
    std::fs::write(folder.path().join("a.pem"), "").unwrap();
    let _ = pair(folder.path(), "b", &["new.example"]);
    let why = certificates.look(Wall(0)).unwrap_err();
    assert!(why.contains("a.pem") && !why.contains("b.pem"), "{why}");
    let after = certificates.pairs();
    assert!(Arc::ptr_eq(&before[0], &after[0]));
    assert_eq!(after[1].names(), ["new.example"]);
    assert_eq!(certificates.look(Wall(0)), Ok(false));
}

#[test]
fn the_client_s_algorithms_choose_among_pairs_of_one_name() {
    let Some(folder) = folder("algorithms") else { return };
    let ecdsa = pair(folder.path(), "ecdsa", &["a.example"]);
    make(folder.path(), "rsa.pem", "rsa.key", &["a.example"], &["rsa:2048"]);
    let file = |name: &str| -> PathBuf { folder.path().join(name) };
    let certificates = Certificates::of(vec![ecdsa, Pair::read(&file("rsa.pem"), &file("rsa.key")).unwrap()]);
    for (scheme, expect) in [
        (SignatureScheme::ECDSA_NISTP256_SHA256, "ecdsa.pem"),
        (SignatureScheme::RSA_PSS_SHA256, "rsa.pem"),
        (SignatureScheme::ED25519, "ecdsa.pem"),
    ] {
        let index = certificates.current.0.load();
        assert_eq!(index.choose(Some("a.example"), &[scheme]).unwrap().files[0], file(expect), "{scheme:?}");
    }
}
