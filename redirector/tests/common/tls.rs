//! Certificates for one test, and the programs that people check a TLS server with.

use super::{Scratch, until};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A self-signed certificate for these names, as `NAME.pem` and `NAME.key` in the folder.
pub fn certificate(scratch: &Scratch, name: &str, names: &[&str]) -> PathBuf {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let file = scratch.0.join(format!("{name}.pem"));
    // The key first: a pair that does not fit is refused, and looked at again when it changes.
    std::fs::write(scratch.0.join(format!("{name}.key")), signing_key.serialize_pem()).unwrap();
    std::fs::write(&file, cert.pem()).unwrap();
    file
}

/// Whether a program is installed; says so if not.
pub fn installed(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|folder| folder.join(program).is_file())
    });
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

/// curl against `https://mail.test`, which it is told to find at the address.
pub fn curl(addr: SocketAddr, ca: &std::path::Path, arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-s", "-i", "--max-time", "20", "--connect-to", &format!("mail.test:443:{addr}"), "--cacert"])
        .arg(ca)
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    text
}

/// What `openssl s_client` says about a handshake.
pub fn s_client(addr: SocketAddr, arguments: &[&str]) -> String {
    let Output { stdout, stderr, .. } = Command::new("openssl")
        .args(["s_client", "-connect", &addr.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr)
}

/// The names of the certificate that a server shows for a name.
pub fn shown_names(addr: SocketAddr, name: &str) -> String {
    let shown = s_client(addr, &["-servername", name, "-showcerts"]);
    let mut text = Command::new("openssl")
        .args(["x509", "-noout", "-ext", "subjectAltName"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut text.stdin.take().unwrap(), shown.as_bytes()).unwrap();
    String::from_utf8_lossy(&text.wait_with_output().unwrap().stdout).into_owned()
}

/// Waits until a server shows a certificate with this name for the name `asked`.
pub fn until_shown(addr: SocketAddr, asked: &str, name: &str) {
    until(&format!("{name} for {asked}"), || shown_names(addr, asked).contains(name).then_some(()));
}
