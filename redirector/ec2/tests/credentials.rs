//! The usual chain of credentials, down to IMDSv2: this test runs itself again in an environment of its own, since a process must not
//! change the environment that its other threads read.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/server.rs"]
mod server;

use common::settings;
use redirector_ec2::{Client, Form, Settings};
use server::{Act, Server, answer};
use std::process::Stdio;

const ENDPOINT: &str = "EC2_TEST_ENDPOINT";

/// The other half, in a process of its own.
#[tokio::test]
#[ignore = "run by the tests of this file, with an environment"]
async fn one_call() {
    let Ok(endpoint) = std::env::var(ENDPOINT) else { return };
    let client = Client::new(Settings { keys: None, ..settings(&endpoint) }).await;
    match client.send(&Form::new("DescribeInstances").body()).await {
        Ok(answer) => println!("answer: {}", answer.name),
        Err(error) => println!("error: {:?}: {error}", error.kind),
    }
}

async fn run(endpoint: &str, environment: &[(&str, &str)]) -> String {
    let home = std::env::temp_dir().join("no-such-home");
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "one_call", "--ignored", "--nocapture"])
        .env_clear()
        .env("HOME", home)
        .env(ENDPOINT, endpoint)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn api() -> impl Fn(usize, &str) -> Act {
    |_, _| Act::Say(answer(200, "", "<DescribeInstancesResponse/>"))
}

#[tokio::test]
async fn keys_of_the_environment() {
    let server = Server::start(api()).await;
    let keys = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_SESSION_TOKEN", "session")];
    let said = run(&server.endpoint, &keys).await;
    assert!(said.contains("answer: DescribeInstancesResponse"), "{said}");
    let head = server.requests()[0].to_ascii_lowercase();
    assert!(head.contains("credential=akiaenv/") && head.contains("x-amz-security-token: session"), "{head}");
}

#[tokio::test]
async fn the_role_of_the_instance_by_imds_v2() {
    let server = Server::start(api()).await;
    let imds = Server::start(|_, request| {
        let first = request.lines().next().unwrap_or_default();
        let has_token = request.to_ascii_lowercase().contains("x-aws-ec2-metadata-token: t0ken");
        Act::Say(match first {
            "PUT /latest/api/token HTTP/1.1" => answer(200, "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n", "t0ken"),
            _ if !has_token => answer(401, "", ""),
            "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1" => answer(200, "", "scaler"),
            "GET /latest/meta-data/iam/security-credentials/scaler HTTP/1.1" => answer(
                200,
                "",
                r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAROLE","SecretAccessKey":"s","Token":"session","Expiration":"2100-01-01T00:00:00Z"}"#,
            ),
            _ => answer(404, "", ""),
        })
    })
    .await;
    let said = run(&server.endpoint, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &imds.endpoint)]).await;
    let asked: Vec<String> = imds.requests().iter().filter_map(|r| r.lines().next().map(str::to_owned)).collect();
    assert!(said.contains("answer: DescribeInstancesResponse"), "{said} {asked:?}");
    assert!(server.requests()[0].contains("Credential=ASIAROLE/"), "{:?}", server.requests());
    assert!(asked[0].starts_with("PUT /latest/api/token"), "{asked:?}");
}

#[tokio::test]
async fn no_credentials_at_all_are_said_and_nothing_is_sent() {
    let server = Server::start(api()).await;
    let said = run(&server.endpoint, &[("AWS_EC2_METADATA_DISABLED", "true")]).await;
    assert!(said.contains("error: Transient: DescribeInstances: not sent"), "{said}");
    assert!(said.to_ascii_lowercase().contains("credential"), "{said}");
    assert_eq!(server.requests().len(), 0);
}
