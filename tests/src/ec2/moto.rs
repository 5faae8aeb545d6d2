//! moto, the cloud without machines: its process, and calls to it past the proxy.
//!
//! It must never outlive the test: it ends when its standard input does.

use super::form;
use super::validate::KEY_ID;
use super::xml::Element;
use crate::daemon::root;
use crate::http;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The region of all tests.
pub const REGION: &str = "eu-central-1";
/// The zones that have a subnet.
pub const ZONES: [&str; 3] = ["eu-central-1a", "eu-central-1b", "eu-central-1c"];

/// The process.
pub struct Moto {
    child: Child,
    addr: SocketAddr,
}

/// What a launch needs to be there.
#[derive(Debug, Clone)]
pub struct Network {
    /// The image.
    pub image: String,
    /// One subnet in each of [`ZONES`], in that order. Their addresses are loopback addresses, so that an instance's private address
    /// is one where a local process can really listen.
    pub subnets: Vec<String>,
    /// A security group.
    pub group: String,
}

/// An error of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// EC2's code.
    pub code: String,
    /// EC2's words.
    pub message: String,
}

/// The Python that has what `tests/ec2/requirements.txt` says: the one that `./check` set up, or the machine's.
pub fn python() -> Option<PathBuf> {
    let candidates = [root().join("target/python/bin/python3"), PathBuf::from("python3")];
    candidates.into_iter().find(|python| {
        let mut probe = Command::new(python);
        probe.args(["-c", "import moto.server, botocore, flask"]).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    })
}

/// [`python`], or a loud word on standard error that the test does not run.
pub fn python_or_skip(what: &str) -> Option<PathBuf> {
    let found = python();
    if found.is_none() {
        eprintln!("SKIPPED: {what}: no python3 with moto (tests/ec2/requirements.txt)");
    }
    found
}

impl Moto {
    /// Starts it.
    pub fn start(python: &std::path::Path) -> Self {
        let mut command = Command::new(python);
        command.arg(root().join("tests/ec2/moto_server.py"));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("python3 starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("moto's port");
        let port: u16 = line.trim().parse().unwrap_or_else(|_| panic!("moto does not start: {line:?}"));
        Self { child, addr: ([127, 0, 0, 1], port).into() }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// One call, past the proxy.
    pub fn call(&self, action: &str, params: &[(&str, &str)]) -> Result<Element, ApiError> {
        call(self.addr, action, params)
    }

    /// A network of its own on 127.A.B.0/24, and an image.
    pub fn network(&self, [a, b, c]: [u8; 3]) -> Network {
        let vpc = self.call("CreateVpc", &[("CidrBlock", &format!("{a}.{b}.{c}.0/24"))]).expect("a network");
        let vpc = vpc.text_at("vpc/vpcId").to_owned();
        let subnet = |(zone, host): (&str, u8)| {
            let block = format!("{a}.{b}.{c}.{host}/26");
            let params = [("VpcId", vpc.as_str()), ("CidrBlock", &block), ("AvailabilityZone", zone)];
            self.call("CreateSubnet", &params).expect("a subnet").text_at("subnet/subnetId").to_owned()
        };
        let subnets = ZONES.into_iter().zip([64, 128, 192]).map(subnet).collect();
        let image = self.call("RegisterImage", &[("Name", "farm")]).expect("an image").text_at("imageId").to_owned();
        let group = [("GroupName", "farm"), ("GroupDescription", "servers of the farm"), ("VpcId", &vpc)];
        let group = self.call("CreateSecurityGroup", &group).expect("a security group").text_at("groupId").to_owned();
        Network { image, subnets, group }
    }

    /// All instances that moto knows, terminated ones included.
    pub fn instances(&self) -> Vec<Element> {
        let answer = self.call("DescribeInstances", &[]).expect("moto's list");
        answer.items("reservationSet").flat_map(|r| r.items("instancesSet").cloned().collect::<Vec<_>>()).collect()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The header that tells moto which region is meant; it does not check the signature.
pub fn authorization() -> String {
    format!("AWS4-HMAC-SHA256 Credential={KEY_ID}/20260101/{REGION}/ec2/aws4_request, SignedHeaders=host, Signature=0")
}

/// One call to an EC2 API, at moto or at the proxy.
pub fn call(addr: SocketAddr, action: &str, params: &[(&str, &str)]) -> Result<Element, ApiError> {
    let body = form::encode([("Action", action)].into_iter().chain(params.iter().copied()));
    send(addr, &body).unwrap_or_else(|e| Err(ApiError { status: 0, code: "Lost".into(), message: e.to_string() }))
}

/// A body as it is.
pub fn send(addr: SocketAddr, body: &str) -> std::io::Result<Result<Element, ApiError>> {
    let auth = authorization();
    let headers = [("authorization", auth.as_str()), ("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    let response = http::request(addr, "POST", "/", &headers, body.as_bytes())?;
    Ok(read(response.status, &response.text()))
}

/// What an answer says.
pub fn read(status: u16, text: &str) -> Result<Element, ApiError> {
    let tree =
        Element::parse(text).map_err(|e| ApiError { status, code: "NotXml".into(), message: format!("{e}: {text}") })?;
    let error = tree.at("Errors/Error").map(|error| ApiError {
        status,
        code: error.text_at("Code").into(),
        message: error.text_at("Message").into(),
    });
    error.map_or(Ok(tree), Err)
}
