//! Answers that are late, cut, huge, garbage or somebody else's: never a panic, never a repetition, never "refused" by mistake.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/server.rs"]
mod server;

use common::{clock, farm, limits, request, run_body, settings};
use redirector_core::scale::{ErrorKind, ProviderCall};
use redirector_ec2::{Client, Ec2, Limits, Settings};
use server::{Act, Server, answer};
use std::time::Duration;

const OK: &str = "<RunInstancesResponse><instancesSet><item><instanceId>i-1</instanceId><instanceState><name>pending</name>\
    </instanceState><launchTime>2026-11-21T12:01:53.000Z</launchTime></item></instancesSet></RunInstancesResponse>";

fn impatient(endpoint: &str) -> Settings {
    Settings { call_timeout: Duration::from_millis(700), ..settings(endpoint) }
}

fn refusal(code: &str) -> String {
    format!("<Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors></Response>")
}

#[tokio::test]
async fn what_is_no_answer_is_unknown_and_asked_once() {
    let half = answer(200, "", OK)[..120].to_vec();
    let cut = format!("HTTP/1.1 200 X\r\nConnection: close\r\n\r\n{}", &OK[..OK.len() - 5]).into_bytes();
    let cases: Vec<(&str, Act)> = vec![
        ("reset", Act::Reset),
        ("closed", Act::Say(Vec::new())),
        ("half a body", Act::Say(half)),
        ("a body cut without a length", Act::Say(cut)),
        ("garbage for HTTP", Act::Say(b"\x00\xff\x16\x03garbage\r\n\r\n".to_vec())),
        ("garbage for XML", Act::Say(answer(200, "", "<a><b></a>"))),
        ("an empty body", Act::Say(answer(200, "", ""))),
        ("another document", Act::Say(answer(200, "", "<html/>"))),
        ("64 MiB", Act::Flood(64 << 20)),
        ("silence", Act::Silence),
        ("500", Act::Say(answer(500, "", "oops"))),
        ("somebody else's 403", Act::Say(answer(403, "", "<html>Forbidden</html>"))),
        ("a redirect", Act::Say(answer(301, "Location: http://127.0.0.1:1/\r\n", ""))),
        ("an internal error", Act::Say(answer(500, "", &refusal("InternalError")))),
        ("a deep document", Act::Say(answer(200, "", &"<a>".repeat(100_000)))),
    ];
    for (name, act) in cases {
        let server = Server::start(move |_, _| act.clone()).await;
        let ec2 = Ec2::new(impatient(&server.endpoint), farm("mail"), limits());
        let call = ProviderCall::Launch(request("mail", "b1", vec![run_body("ami-1", "mail", "b1")]));
        let error = ec2.call(&call).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Transient, "{name}: {error:?}");
        assert!(error.message.starts_with("RunInstances: "), "{name}: {}", error.message);
        assert_eq!(server.requests().len(), 1, "{name}: sent once");
    }
}

#[tokio::test]
async fn the_octets_on_the_wire_are_those_of_the_request() {
    let server = Server::start(|_, _| Act::Say(answer(200, "", OK))).await;
    let ec2 = Ec2::new(settings(&server.endpoint), farm("mail"), limits());
    let body = run_body("ami-1", "mail", "b1") + "&UserData=a%2Bb%2F%3D&Weird=%7e+x";
    ec2.call(&ProviderCall::Launch(request("mail", "b1", vec![body.clone()]))).await.unwrap();
    let requests = server.requests();
    let (head, sent) = requests[0].split_once("\r\n\r\n").unwrap();
    assert_eq!(sent, body);
    let head = head.to_ascii_lowercase();
    for part in
        ["post / http/1.1", "authorization: aws4-hmac-sha256 credential=test/", "/us-east-1/ec2/aws4_request", "x-amz-date:"]
    {
        assert!(head.contains(part), "{part} in {head}");
    }
}

#[tokio::test]
async fn refusals_by_code_and_a_clock_that_is_off() {
    let cases = [
        (503, "RequestLimitExceeded", ErrorKind::Throttled),
        (500, "InsufficientInstanceCapacity", ErrorKind::NoCapacity),
        (400, "IdempotentParameterMismatch", ErrorKind::Mismatch),
        (400, "InvalidInstanceID.NotFound", ErrorKind::NotFound),
    ];
    for (status, code, kind) in cases {
        let server = Server::start(move |_, _| Act::Say(answer(status, "", &refusal(code)))).await;
        let client = Client::new(settings(&server.endpoint)).await;
        assert_eq!(client.send(&run_body("ami-1", "mail", "b1")).await.unwrap_err().kind, kind, "{code}");
    }
    let date = "Date: Sat, 21 Nov 2020 12:00:00 GMT\r\n";
    let server = Server::start(move |_, _| Act::Say(answer(403, date, &refusal("SignatureDoesNotMatch")))).await;
    let settings = Settings { clock: clock(0), ..settings(&server.endpoint) };
    let error = Client::new(settings).await.send(&run_body("ami-1", "mail", "b1")).await.unwrap_err();
    assert!(error.message.contains("s ahead of EC2's"), "{}", error.message);
}

#[tokio::test]
async fn half_a_listing_is_no_listing() {
    let page = |token: &str| {
        format!("<DescribeInstancesResponse><reservationSet/><nextToken>{token}</nextToken></DescribeInstancesResponse>")
    };
    let (first, again) = (page("t1"), page("t1"));
    let broken = Server::start(move |n, _| if n == 0 { Act::Say(answer(200, "", &first)) } else { Act::Reset }).await;
    let ec2 = Ec2::new(settings(&broken.endpoint), farm("mail"), limits());
    assert_eq!(ec2.list().await.unwrap_err().kind, ErrorKind::Transient);
    assert!(broken.requests()[1].contains("NextToken=t1"));
    let endless = Server::start(move |_, _| Act::Say(answer(200, "", &again))).await;
    let ec2 = Ec2::new(settings(&endless.endpoint), farm("mail"), limits());
    assert!(ec2.list().await.unwrap_err().message.contains("for ever"));
    assert_eq!(endless.requests().len(), 2);
    for page in ["<html><body>maintenance</body></html>", "<DescribeTagsResponse/>"] {
        let other = Server::start(move |_, _| Act::Say(answer(200, "", page))).await;
        let ec2 = Ec2::new(settings(&other.endpoint), farm("mail"), limits());
        let error = ec2.list().await.unwrap_err();
        assert!(error.kind == ErrorKind::Transient && error.message.contains("an answer to something else"), "{error:?}");
    }
}

#[tokio::test]
async fn old_launch_templates_are_deleted_page_by_page_and_one_that_stays_keeps_no_other() {
    let page = |ids: &[(&str, &str)], token: &str| {
        let item = |(id, at): &(&str, &str)| {
            format!(
                "<item><launchTemplateId>{id}</launchTemplateId><launchTemplateName>farm-mail-0123456789abcdef0123456789abcdef\
                 </launchTemplateName><createTime>{at}</createTime></item>"
            )
        };
        let items: String = ids.iter().map(item).collect();
        format!(
            "<DescribeLaunchTemplatesResponse><launchTemplates>{items}</launchTemplates><nextToken>{token}</nextToken>\
             </DescribeLaunchTemplatesResponse>"
        )
    };
    let (old, young) = ("2020-11-21T12:00:00.000Z", "2999-01-01T00:00:00.000Z");
    let (first, second) = (page(&[("lt-1", old), ("lt-2", young)], "t1"), page(&[("lt-3", old)], ""));
    let act = move |_, request: &str| {
        let said = |action: &str| request.contains(&format!("Action={action}&"));
        let (status, body) = match () {
            () if said("DescribeInstances") => (200, "<DescribeInstancesResponse/>".to_owned()),
            () if said("CreateLaunchTemplate") => (200, "<CreateLaunchTemplateResponse/>".to_owned()),
            () if said("CreateFleet") => (200, "<CreateFleetResponse/>".to_owned()),
            () if request.contains("NextToken=t1") => (200, second.clone()),
            () if said("DescribeLaunchTemplates") => (200, first.clone()),
            () if request.contains("lt-1") => (403, refusal("UnauthorizedOperation")),
            () => (200, "<DeleteLaunchTemplateResponse/>".to_owned()),
        };
        Act::Say(answer(status, "", &body))
    };
    let server = Server::start(act).await;
    let ec2 = Ec2::new(settings(&server.endpoint), farm("mail"), limits());
    ec2.list().await.unwrap();
    assert_eq!(server.requests().len(), 1, "who makes no templates looks for none");
    let bodies = vec!["Action=CreateLaunchTemplate&X=1".into(), "Action=CreateFleet&Type=instant".into()];
    assert!(ec2.call(&ProviderCall::Launch(request("mail", "b1", bodies))).await.is_err());
    ec2.list().await.unwrap();
    ec2.list().await.unwrap();
    let deleted: Vec<String> = server
        .requests()
        .iter()
        .filter_map(|r| r.split_once("Action=DeleteLaunchTemplate").map(|(_, rest)| rest.to_owned()))
        .filter_map(|rest| rest.split_once("LaunchTemplateId=").map(|(_, id)| id.to_owned()))
        .collect();
    assert_eq!(deleted, ["lt-1", "lt-3"], "once in ten minutes, and no young one");
}

#[tokio::test]
async fn throttling_slows_the_next_calls_and_is_counted() {
    let server = Server::start(|_, _| Act::Say(answer(503, "", &refusal("RequestLimitExceeded")))).await;
    let limits = Limits { writes_per_s: 64.0, ..limits() };
    let ec2 = Ec2::new(settings(&server.endpoint), farm("mail"), limits);
    let before = ec2.meters().writes_per_s;
    let call = ProviderCall::Launch(request("mail", "b1", vec![run_body("ami-1", "mail", "b1")]));
    assert_eq!(ec2.call(&call).await.unwrap_err().kind, ErrorKind::Throttled);
    let after = ec2.meters();
    assert!(after.writes_per_s < before * 0.6, "{before} {after:?}");
    assert_eq!(after.calls[&("RunInstances", "throttled")].calls, 1);
    assert_eq!(ec2.meters().reads_per_s, limits.reads_per_s, "reads have a pace of their own");
}

#[tokio::test]
async fn a_fleet_that_is_created_without_an_instance_is_a_refusal() {
    for (code, kind) in [
        ("InsufficientInstanceCapacity", ErrorKind::NoCapacity),
        ("RequestLimitExceeded", ErrorKind::Throttled),
        ("UnauthorizedOperation", ErrorKind::Denied),
    ] {
        let body = format!(
            "<CreateFleetResponse><fleetInstanceSet/><errorSet><item><errorCode>{code}</errorCode></item></errorSet>\
             </CreateFleetResponse>"
        );
        let server = Server::start(move |_, _| Act::Say(answer(200, "", &body))).await;
        let ec2 = Ec2::new(settings(&server.endpoint), farm("mail"), Limits { writes_per_s: 64.0, ..limits() });
        let call = ProviderCall::Launch(request("mail", "b1", vec!["Action=CreateFleet&Type=instant".into()]));
        assert_eq!(ec2.call(&call).await.unwrap_err().kind, kind, "{code}");
        assert_eq!(ec2.meters().writes_per_s < 60.0, kind == ErrorKind::Throttled, "{code}");
    }
}

#[tokio::test]
async fn calls_that_never_end_are_bounded_in_number_and_time() {
    let server = Server::start(|_, _| Act::Silence).await;
    let limits = Limits { calls_max: 2, ..limits() };
    let ec2 = Ec2::new(impatient(&server.endpoint), farm("mail"), limits);
    let calls: Vec<_> = (0..12)
        .map(|_| {
            let ec2 = ec2.clone();
            tokio::spawn(async move { ec2.list().await.unwrap_err().kind })
        })
        .collect();
    let mut kinds = Vec::new();
    for call in calls {
        kinds.push(call.await.unwrap());
    }
    let unknown = kinds.iter().filter(|k| **k == ErrorKind::Transient).count();
    assert!(server.requests().len() <= unknown, "whatever was sent is unknown: {kinds:?}");
    assert!(kinds.contains(&ErrorKind::Throttled), "{kinds:?}");
}

#[tokio::test]
async fn status_checks_that_fail_show_in_the_listing_and_unknown_ones_do_not() {
    let listing = "<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>i-1</instanceId><instanceState>\
        <name>running</name></instanceState><launchTime>2026-11-21T12:01:53.000Z</launchTime><tagSet><item><key>farm:name</key>\
        <value>mail</value></item></tagSet></item></instancesSet></item></reservationSet></DescribeInstancesResponse>";
    let status = "<DescribeInstanceStatusResponse><instanceStatusSet><item><instanceId>i-1</instanceId><systemStatus><status>impaired</status></systemStatus>\
        </item></instanceStatusSet></DescribeInstanceStatusResponse>";
    let act = move |_, request: &str| {
        Act::Say(answer(200, "", if request.contains("DescribeInstanceStatus") { status } else { listing }))
    };
    let server = Server::start(act).await;
    let ec2 = Ec2::new(settings(&server.endpoint), farm("mail"), limits());
    for _ in 0..2 {
        assert!(ec2.list().await.unwrap()[0].impaired.as_ref().unwrap().contains("system"));
    }
    assert_eq!(ec2.meters().calls[&("DescribeInstanceStatus", "ok")].calls, 1, "once a period");
    let act = move |_, request: &str| {
        if request.contains("DescribeInstanceStatus") { Act::Reset } else { Act::Say(answer(200, "", listing)) }
    };
    let server = Server::start(act).await;
    let ec2 = Ec2::new(settings(&server.endpoint), farm("mail"), limits());
    assert_eq!(ec2.list().await.unwrap()[0].impaired, None);
}
