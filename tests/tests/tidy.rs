//! The repository's rules, as far as a program can hold them: who may import whom, licences, versions, lengths, leftovers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops where it cannot go on")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// Direct dependencies of each of our packages that end up in its library or binary.
fn direct(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let ours: BTreeSet<&str> = list(metadata, "workspace_members").filter_map(Value::as_str).collect();
    list(metadata, "packages")
        .filter(|p| ours.contains(text(p, "id")))
        .map(|p| {
            let deps = list(p, "dependencies").filter(|d| d["kind"].is_null()).map(|d| text(d, "name").to_string());
            (text(p, "name").to_string(), deps.collect())
        })
        .collect()
}

/// What packages are built of on Linux, through all layers: name to versions. Proc macros run in the compiler and build scripts
/// before it, so neither counts. (`cargo metadata` would also list what optional features could bring in.)
fn reach(packages: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--locked", "--offline", "--edges", "normal,no-proc-macro", "--prefix", "none", "--no-dedupe"]);
    command.args(["--target", "x86_64-unknown-linux-gnu"]).args(packages.iter().flat_map(|p| ["--package", p]));
    let output = command.current_dir(root()).output().expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let [name, version, ..] = line.split(' ').collect::<Vec<_>>()[..] {
            versions.entry(name.into()).or_default().insert(version.into());
        }
    }
    versions
}

const SHIPPED: [&str; 3] = ["dnslb", "redirector", "farm-agent"];

#[test]
fn imports_only_go_down() {
    let direct = direct(&metadata());
    let layers: [(&str, &[&str]); 11] = [
        ("farm-shared", &[]),
        ("farm-daemon", &["farm-shared"]),
        ("dnslb-core", &["farm-shared"]),
        ("redirector-core", &["farm-shared"]),
        ("redirector-ec2", &["farm-shared", "redirector-core"]),
        ("farm-agent", &["farm-shared", "farm-daemon"]),
        ("dnslb", &["farm-shared", "farm-daemon", "dnslb-core"]),
        ("redirector", &["farm-shared", "farm-daemon", "redirector-core", "redirector-ec2", "farm-agent"]),
        ("farm-tests", &["farm-shared", "farm-daemon", "dnslb-core", "redirector-core", "farm-agent"]),
        ("farm-sim", &["farm-shared", "dnslb-core", "redirector-core", "farm-agent", "farm-bench"]),
        ("farm-bench", &["farm-shared", "farm-daemon", "dnslb-core", "redirector-core", "farm-agent"]),
    ];
    assert_eq!(direct.keys().map(String::as_str).collect::<BTreeSet<_>>(), layers.iter().map(|(name, _)| *name).collect());
    for (package, allowed) in layers {
        let ours: Vec<_> =
            direct[package].iter().filter(|d| direct.contains_key(*d) && !allowed.contains(&d.as_str())).collect();
        assert!(ours.is_empty(), "{package} may not import {ours:?}");
    }
}

#[test]
fn the_cores_are_pure() {
    let banned = ["tokio", "hyper", "axum", "socket2", "rustix", "mio", "tracing-subscriber"];
    for package in ["farm-shared", "dnslb-core", "redirector-core"] {
        let reach = reach(&[package]);
        let found: Vec<_> = banned.iter().filter(|b| reach.contains_key(**b)).collect();
        assert!(found.is_empty(), "{package} reaches {found:?}");
    }
    let lists: Vec<String> =
        ["shared", "dnslb/core", "redirector/core"].map(|c| read(&root().join(c).join("clippy.toml"))).into();
    assert!(lists.windows(2).all(|w| w[0] == w[1]), "the three clippy.toml of the pure crates must be equal");
}

/// SPDX expressions of the crates in use, each term judged: every `AND` part needs one `OR` part that is allowed.
fn licence_allowed(expression: &str) -> bool {
    const ALLOWED: [&str; 12] = [
        "MIT",
        "Apache-2.0",
        "ISC",
        "BSD-3-Clause",
        "BSD-2-Clause",
        "Unicode-3.0",
        "Zlib",
        "0BSD",
        "Unlicense",
        "CC0-1.0",
        "CDLA-Permissive-2.0",
        "Apache-2.0 WITH LLVM-exception",
    ];
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let or = |part: &str| part.split(" OR ").any(|term| ALLOWED.contains(&term.trim()) || term.trim() == "OpenSSL");
    plain.split(" AND ").all(or)
}

#[test]
fn licences_are_permissive() {
    assert!(licence_allowed("MIT OR Apache-2.0") && !licence_allowed("GPL-3.0") && !licence_allowed("MIT AND GPL-2.0-only"));
    let metadata = metadata();
    let ours = reach(&SHIPPED);
    let bad: Vec<_> = list(&metadata, "packages")
        .filter(|p| ours.contains_key(text(p, "name")) && !licence_allowed(text(p, "license")))
        .map(|p| (text(p, "name"), text(p, "license")))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
}

/// Packages that stand twice in what we ship, each with its reason.
const DUPLICATES: [(&str, &str); 2] = [
    ("untrusted", "aws-lc-rs has its own for hickory-proto's TSIG: a reader of slices, 500 lines"),
    ("base64", "instant-acme and pem are one version behind hyper-util"),
];

#[test]
fn no_package_is_shipped_in_two_versions() {
    let excused: BTreeSet<&str> = DUPLICATES.iter().map(|(name, _)| *name).collect();
    let found: BTreeMap<_, _> = reach(&SHIPPED)
        .into_iter()
        .filter(|(name, versions)| versions.len() > 1 && !excused.contains(name.as_str()))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn tracked() -> Vec<PathBuf> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git");
    let names = String::from_utf8(output.stdout).expect("UTF-8 names");
    names.split('\0').filter(|n| !n.is_empty()).map(|n| root().join(n)).filter(|p| p.is_file()).collect()
}

#[test]
fn files_can_be_read_in_one_sitting_and_hold_no_leftovers() {
    let leftovers = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let mut problems = Vec::new();
    for path in tracked().iter().filter(|p| p.extension().is_some_and(|e| e == "rs")) {
        let source = read(path);
        let lines = source.lines().count();
        if lines > 600 {
            problems.push(format!("{}: {lines} lines", path.display()));
        }
        if !source.starts_with("//!") && !source.starts_with("#!") {
            problems.push(format!("{}: no module comment that says why it exists", path.display()));
        }
        for (number, line) in source.lines().enumerate() {
            if leftovers.iter().any(|l| line.contains(l)) {
                problems.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn unsafe_code_stands_in_one_module() {
    let marks = |p: &PathBuf| read(p).contains(concat!("allow(unsafe", "_code)"));
    let sources = tracked().into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs"));
    let found: Vec<_> = sources.filter(marks).collect();
    assert_eq!(found, [root().join("dnslb/src/udp/mmsg.rs")]);
}

#[test]
fn relative_links_of_the_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for path in tracked().iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        for target in read(path).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || file.is_empty() || target.starts_with("mailto:");
            if !outside && !path.parent().expect("a folder").join(file).exists() {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
