//! What went wrong with a call, by meaning and in words for people.
//!
//! The meaning decides what the executor does, so the rule is strict: a refusal counts as definite only if EC2 itself said so, with a
//! code that means that nothing was done. Whatever else happened (no answer, half an answer, somebody else's answer) is
//! [`ErrorKind::Transient`]: the same octets again.
//! Source: EC2 API reference, "Error codes"; IAM "Encoded authorization failure message".

use crate::xml::Element;
use farm_shared::time::Wall;
use redirector_core::scale::{ErrorKind, ProviderError};
use std::fmt;

/// Signatures are valid for 5 minutes; a clock that is further off than this is worth a word, in milliseconds.
const SKEW_MS: u64 = 60_000;
const MESSAGE_CHARS_MAX: usize = 600;
const POLICY: &str = "docs/iam-policy.json";

/// A call that did not do what it was to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// What it means.
    pub kind: ErrorKind,
    /// EC2's code, as in `InsufficientInstanceCapacity`; empty if EC2 did not answer.
    pub code: String,
    /// For people: what happened, and what to do about it where that is known.
    pub message: String,
}

impl CallError {
    /// Nobody knows what became of it.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Transient, code: String::new(), message: message.into() }
    }

    /// EC2's answer to `action` with a status that is no success. `date` is the answer's own, `now` ours.
    pub fn of_answer(action: &str, status: u16, body: &Element, date: Option<Wall>, now: Wall) -> Self {
        let error = body.child("Errors").and_then(|e| e.child("Error")).or_else(|| body.child("Error"));
        let Some(code) = error.and_then(|e| e.text_at("Code")) else {
            return Self::of_status(action, status, "an answer without an error code");
        };
        let message = error.and_then(|e| e.text_at("Message")).unwrap_or_default();
        Self::of_code(action, status, code, message, date, now)
    }

    /// A status whose body is not EC2's: a proxy's or a balancer's, so nothing is known for certain.
    pub fn of_status(action: &str, status: u16, why: &str) -> Self {
        let kind = if status == 429 { ErrorKind::Throttled } else { ErrorKind::Transient };
        Self { kind, code: String::new(), message: format!("{action}: HTTP {status}, {why}") }
    }

    /// An error that EC2 named.
    pub fn of_code(action: &str, status: u16, code: &str, message: &str, date: Option<Wall>, now: Wall) -> Self {
        let code = code.strip_prefix("Client.").or_else(|| code.strip_prefix("Server.")).unwrap_or(code);
        let kind = kind_of(status, code, message);
        Self { kind, code: code.to_owned(), message: explain(action, code, message, date, now) }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CallError {}

impl From<CallError> for ProviderError {
    fn from(error: CallError) -> Self {
        Self { kind: error.kind, message: error.message }
    }
}

/// The meaning of an error code.
fn kind_of(status: u16, code: &str, message: &str) -> ErrorKind {
    match code {
        "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "EC2ThrottledException"
        | "TooManyRequestsException"
        | "PriorRequestNotComplete"
        | "BandwidthLimitExceeded"
        | "SlowDown" => ErrorKind::Throttled,
        _ if code.starts_with("Throttl") => ErrorKind::Throttled,
        // EC2 sends some of these as HTTP 500; the code says that nothing was started all the same.
        "InsufficientInstanceCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientCapacity"
        | "InsufficientCapacityOnHost"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientFreeAddressesInSubnet"
        | "InsufficientVolumeCapacity"
        | "InstanceLimitExceeded"
        | "VcpuLimitExceeded"
        | "MaxSpotInstanceCountExceeded"
        | "MaxSpotFleetRequestCountExceeded"
        | "SpotMaxPriceTooLow"
        | "ReservationCapacityExceeded"
        | "UnfulfillableCapacity"
        | "VolumeTypeNotAvailableInZone"
        | "Unsupported" => ErrorKind::NoCapacity,
        // A fleet tells in words that a zone lacks a type.
        _ if message.contains("not supported in your requested Availability Zone") => ErrorKind::NoCapacity,
        "IdempotentParameterMismatch" | "IdempotentInstanceTerminated" => ErrorKind::Mismatch,
        _ if code.starts_with("InvalidInstanceID.NotFound") || code == "InvalidInstanceID.Terminated" => ErrorKind::NotFound,
        // The instance or volume is on its way into the state that is asked of it, or a template of ours is.
        "IncorrectInstanceState"
        | "IncorrectState"
        | "IncorrectSpotRequestState"
        | "InvalidInstanceID"
        | "VolumeInUse"
        | "InvalidLaunchTemplateName.NotFoundException"
        | "InvalidLaunchTemplateId.NotFound"
        | "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "Unavailable"
        | "RequestTimeout" => ErrorKind::Transient,
        _ if status >= 500 => ErrorKind::Transient,
        _ => ErrorKind::Denied,
    }
}

fn explain(action: &str, code: &str, message: &str, date: Option<Wall>, now: Wall) -> String {
    let said = cut(message);
    match code {
        "UnauthorizedOperation" | "Client.UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
            denied(action, message)
        }
        "AuthFailure"
        | "SignatureDoesNotMatch"
        | "RequestExpired"
        | "InvalidSignatureException"
        | "RequestTimeTooSkewed" => match date.and_then(|date| skew(date, now)) {
            Some(skew) => {
                format!("{action}: {code}: {skew}, and signatures are valid for minutes only; set the clock ({said})")
            }
            None => format!("{action}: {code}: EC2 does not accept the credentials or their signature: {said}"),
        },
        "InvalidClientTokenId" | "UnrecognizedClientException" | "OptInRequired" | "PendingVerification" | "Blocked" => {
            format!("{action}: {code}: the account or its access key cannot be used in this region: {said}")
        }
        "VcpuLimitExceeded" | "InstanceLimitExceeded" | "MaxSpotInstanceCountExceeded" => {
            format!("{action}: {code}: the account's quota is used up; ask for more at Service Quotas, EC2 ({said})")
        }
        "SpotMaxPriceTooLow" => format!("{action}: {code}: the profile's max_price is below the spot price ({said})"),
        _ if code.starts_with("InvalidAMIID") => {
            format!(
                "{action}: {code}: the profile's image does not exist in this region, or is not shared with the account: {said}"
            )
        }
        _ => format!("{action}: {code}: {said}"),
    }
}

/// "Denied" with the exact action that is missing, and where the shipped policy allows it.
fn denied(action: &str, message: &str) -> String {
    let wanted = message.split_once("perform: ").and_then(|(_, rest)| {
        rest.split_whitespace().next().map(|w| w.trim_end_matches(['.', ','])).filter(|w| w.contains(':'))
    });
    let wanted = wanted.map_or_else(|| format!("ec2:{action}"), str::to_owned);
    let resource = message.split_once("on resource: ").and_then(|(_, rest)| rest.split_whitespace().next());
    let resource = resource.map_or_else(String::new, |r| format!(" on {}", r.trim_end_matches('.')));
    let statement = statement(action, &wanted);
    let hint = statement.map_or_else(
        || format!("{POLICY} does not ask for it: the launch profile does"),
        |sid| format!("statement {sid:?} of {POLICY} allows it"),
    );
    // The rest is an encoded message of some kilobytes that only sts:DecodeAuthorizationMessage can read.
    let said = message.split("Encoded authorization").next().unwrap_or_default();
    format!("{action}: not allowed to {wanted}{resource}; {hint} (EC2 says: {})", cut(said.trim()))
}

/// The statement of the shipped policy that allows what a call wants.
fn statement(action: &str, wanted: &str) -> Option<&'static str> {
    Some(match wanted {
        "ec2:RunInstances" | "ec2:CreateFleet" => "Launch",
        "ec2:CreateTags" | "ec2:DeleteTags" if action.ends_with("Tags") => "TagOwnInstances",
        "ec2:CreateTags" => "TagWhatIsLaunched",
        "ec2:CreateLaunchTemplate" | "ec2:DeleteLaunchTemplate" => "LaunchTemplates",
        "ec2:TerminateInstances" | "ec2:StartInstances" | "ec2:StopInstances" | "ec2:RebootInstances" => "StopAndStart",
        "ec2:AssociateAddress" | "ec2:AttachVolume" => "FixedRoles",
        "ec2:ModifyInstanceAttribute" => "Drills",
        "iam:PassRole" => "InstanceProfile",
        _ if wanted.starts_with("ec2:Describe") => "Observe",
        _ => return None,
    })
}

fn skew(date: Wall, now: Wall) -> Option<String> {
    let off_ms = date.distance_ms(now);
    let side = if now > date { "ahead of" } else { "behind" };
    (off_ms > SKEW_MS).then(|| format!("this machine's clock is {} s {side} EC2's", off_ms / 1_000))
}

fn cut(message: &str) -> String {
    let mut text: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_CHARS_MAX).collect();
    if message.chars().count() > MESSAGE_CHARS_MAX {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn answer(status: u16, code: &str, message: &str, ahead_ms: i64) -> CallError {
        let text = format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>r</RequestID></Response>"
        );
        let date = Wall(1_800_000_000_000);
        let now = Wall(date.0.saturating_add_signed(ahead_ms));
        CallError::of_answer("RunInstances", status, &Element::parse(text.as_bytes()).unwrap(), Some(date), now)
    }

    #[test]
    fn codes_have_a_meaning() {
        use ErrorKind::{Denied, Mismatch, NoCapacity, NotFound, Throttled, Transient};
        let cases = [
            (503, "RequestLimitExceeded", Throttled),
            (400, "Throttling", Throttled),
            (400, "ThrottlingException", Throttled),
            (400, "EC2ThrottledException", Throttled),
            (503, "Server.RequestLimitExceeded", Throttled),
            (500, "InsufficientInstanceCapacity", NoCapacity),
            (500, "Server.InsufficientInstanceCapacity", NoCapacity),
            (400, "VcpuLimitExceeded", NoCapacity),
            (400, "InstanceLimitExceeded", NoCapacity),
            (400, "SpotMaxPriceTooLow", NoCapacity),
            (400, "MaxSpotInstanceCountExceeded", NoCapacity),
            (400, "Unsupported", NoCapacity),
            (400, "InsufficientFreeAddressesInSubnet", NoCapacity),
            (403, "UnauthorizedOperation", Denied),
            (401, "AuthFailure", Denied),
            (400, "InvalidAMIID.NotFound", Denied),
            (400, "InvalidParameterValue", Denied),
            (400, "SomethingNew", Denied),
            (400, "IdempotentParameterMismatch", Mismatch),
            (400, "IdempotentInstanceTerminated", Mismatch),
            (400, "InvalidInstanceID.NotFound", NotFound),
            (400, "IncorrectInstanceState", Transient),
            (500, "InternalError", Transient),
            (503, "Unavailable", Transient),
            (503, "SomethingNew", Transient),
        ];
        for (status, code, kind) in cases {
            assert_eq!(answer(status, code, "m", 0).kind, kind, "{status} {code}");
        }
        let elsewhere = "Your requested instance type (x) is not supported in your requested Availability Zone (y).";
        assert_eq!(answer(400, "InvalidFleetConfiguration", elsewhere, 0).kind, NoCapacity);
    }

    #[test]
    fn an_answer_of_somebody_else_proves_nothing() {
        let html = Element::parse(b"<html><body>403 Forbidden</body></html>").unwrap();
        for status in [400, 403, 404, 500, 502, 503, 302] {
            let error = CallError::of_answer("RunInstances", status, &html, None, Wall(0));
            assert_eq!(error.kind, ErrorKind::Transient, "{status}");
        }
    }

    #[test]
    fn a_denial_names_the_action_and_the_statement() {
        let said = "You are not authorized to perform this operation. User: arn:aws:iam::1:user/x is not authorized to perform: \
                    ec2:RunInstances on resource: arn:aws:ec2:eu-central-1:1:instance/* because no identity-based policy allows \
                    it. Encoded authorization failure message: AAAABBBB";
        let error = answer(403, "UnauthorizedOperation", said, 0);
        for part in ["not allowed to ec2:RunInstances on arn:aws:ec2:eu-central-1:1:instance/*", "\"Launch\"", POLICY] {
            assert!(error.message.contains(part), "{part} in {}", error.message);
        }
        assert!(!error.message.contains("AAAABBBB"), "{}", error.message);
        let short = answer(403, "UnauthorizedOperation", "You are not authorized to perform this operation.", 0);
        assert!(short.message.contains("ec2:RunInstances"), "{}", short.message);
        let role =
            answer(403, "UnauthorizedOperation", "User: x is not authorized to perform: iam:PassRole on resource: y", 0);
        assert!(role.message.contains("iam:PassRole on y; statement \"InstanceProfile\""), "{}", role.message);
    }

    #[test]
    fn a_clock_that_is_off_is_said() {
        for (ahead_ms, part) in
            [(400_000, "is 400 s ahead of EC2's"), (-3_600_000, "is 3600 s behind EC2's"), (30_000, "does not accept")]
        {
            for code in ["RequestExpired", "AuthFailure", "SignatureDoesNotMatch"] {
                let error = answer(400, code, "m", ahead_ms);
                assert_eq!(error.kind, ErrorKind::Denied);
                assert!(error.message.contains(part), "{part} in {}", error.message);
            }
        }
    }

    #[test]
    fn a_message_is_bounded() {
        let error = answer(400, "InvalidParameterValue", &"x".repeat(10_000), 0);
        assert!(error.message.chars().count() < MESSAGE_CHARS_MAX + 60);
    }

    #[test]
    fn every_statement_is_in_the_shipped_policy_and_allows_its_action() {
        let text = include_str!("../../../docs/iam-policy.json");
        let policy: serde_json::Value = serde_json::from_str(text).unwrap();
        let statements = policy["Statement"].as_array().unwrap();
        let mut allowed = 0;
        for one in statements {
            let sid = one["Sid"].as_str().unwrap();
            for action in one["Action"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()) {
                let told = statement(action.trim_start_matches("ec2:"), action);
                assert!(told.is_some(), "{action} is allowed and never explained");
                let elsewhere = statements.iter().any(|s| {
                    s["Sid"].as_str() == told && s["Action"].as_array().unwrap().iter().any(|a| a.as_str() == Some(action))
                });
                assert!(elsewhere, "{sid}: {action} is said to be in {told:?}");
                allowed += 1;
            }
        }
        assert!(allowed >= 18, "{allowed}");
    }
}
