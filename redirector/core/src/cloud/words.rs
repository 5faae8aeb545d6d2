//! The shapes of names in a profile: what EC2 would refuse later, or a shell would take for its own, is refused here.

use farm_shared::config::Section;
use std::collections::BTreeMap;

/// What a template may ask for, beside the profile's own `[vars]`.
pub const PLACEHOLDERS: [&str; 21] = [
    "agent_folder",
    "agent_unit",
    "agent_user",
    "farm",
    "front_flags",
    "fronts",
    "host",
    "id",
    "instance_type",
    "intent",
    "key",
    "load",
    "market",
    "open",
    "period",
    "port",
    "profile",
    "redirector",
    "region",
    "role",
    "zone",
];

fn is_made_of(text: &str, len_max: usize, others: &[u8]) -> bool {
    (1..=len_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || others.contains(&b))
}

fn is_lower(text: &str, len_max: usize, others: &[u8]) -> bool {
    is_made_of(text, len_max, others) && !text.bytes().any(|b| b.is_ascii_uppercase())
}

/// `us-east-1`.
pub(super) fn is_region(text: &str) -> bool {
    is_lower(text, 32, b"-") && text.ends_with(|c: char| c.is_ascii_digit()) && text.contains('-')
}

/// `us-east-1a`, `us-west-2-lax-1a`.
pub(super) fn is_zone(text: &str) -> bool {
    is_lower(text, 48, b"-") && text.ends_with(|c: char| c.is_ascii_lowercase()) && text.contains('-')
}

/// `ami-0abc…`, or a parameter that holds one.
pub(super) fn is_image(text: &str) -> bool {
    is_resource(text, "ami") || text.strip_prefix("resolve:ssm:").is_some_and(|name| is_made_of(name, 200, b"-._/:"))
}

/// `KIND-0123456789abcdef0`: 8 or 17 hexadecimal digits.
pub(super) fn is_resource(text: &str, kind: &str) -> bool {
    let digits = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-'));
    digits.is_some_and(|d| matches!(d.len(), 8 | 17) && d.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()))
}

/// `c7g.large`, `u-6tb1.metal`.
pub(super) fn is_type(text: &str) -> bool {
    is_lower(text, 48, b"-.") && text.split('.').count() == 2 && !text.starts_with('.') && !text.ends_with('.')
}

/// `/dev/xvda`, `xvdb`.
pub(super) fn is_device(text: &str) -> bool {
    is_made_of(text, 32, b"/")
}

/// A domain name without a final dot, short enough for the longest label before it (RFC 1035 2.3.4: 253 characters in all).
pub(super) fn is_domain(text: &str) -> bool {
    text.len() <= 253 - 64 && text.split('.').all(|label| farm_shared::id::Id::new(label).is_ok())
}

/// A tag's key of the user's own (EC2: 128 characters, not `aws:`).
pub(super) fn is_tag_key(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    (1..=128).contains(&text.chars().count()) && !lower.starts_with("aws:") && !lower.starts_with("farm:") && text != "Name"
}

/// A tag's key that the instance metadata can show.
pub(super) fn is_metadata_tag_key(text: &str) -> bool {
    is_made_of(text, 128, b"+-=.,_:@") && !matches!(text, "." | ".." | "_index")
}

/// A placeholder's name.
pub(super) fn is_word(text: &str) -> bool {
    is_lower(text, 40, b"_")
}

/// A value that neither a shell's quotes nor TOML's can trip over.
pub(super) fn is_harmless(text: &str) -> bool {
    is_made_of(text, 256, b"-._~:/[]@%,=+?&")
}

/// A part's file name.
pub(super) fn is_file_name(text: &str) -> bool {
    is_made_of(text, 60, b"-._")
}

/// Notes a problem if a text is not as it must be.
pub(super) fn check_text(section: &Section, key: &str, text: Option<&str>, good: impl Fn(&str) -> bool, expected: &str) {
    if let Some(text) = text.filter(|text| section.has(key) && !good(text)) {
        let shown: String = text.chars().take(60).collect();
        section.problem(key, format!("{shown:?}"), expected);
    }
}

/// Reads a section whose keys are names of the user's; what does not fit is a problem and left out.
pub(super) fn check_map(
    section: &Section,
    good_key: impl Fn(&str) -> bool,
    expected_key: &str,
    good: impl Fn(&str) -> bool,
    expected: &str,
) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for key in section.keys() {
        let Some(value) = section.optional_string(&key, "") else { continue };
        if !good_key(&key) {
            section.problem(&key, "this key", expected_key);
        } else if !good(&value) {
            let shown: String = value.chars().take(60).collect();
            section.problem(&key, format!("{shown:?}"), expected);
        } else {
            map.insert(key, value);
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        for (good, yes, no) in [
            (is_region as fn(&str) -> bool, &["us-east-1", "ap-northeast-3"][..], &["us-east-1a", "", "US-east-1"][..]),
            (is_zone, &["us-east-1a", "us-west-2-lax-1a"], &["us-east-1", "a", "us-east-1A", "us east-1a"]),
            (
                is_image,
                &["ami-01234567", "ami-0123456789abcdef0", "resolve:ssm:/a/b"],
                &["ami-1", "ami-0123456g", "resolve:ssm:"],
            ),
            (is_type, &["c7g.large", "u-6tb1.metal", "m5.2xlarge"], &["large", "c7g.", "C7g.large", "a.b.c"]),
            (is_domain, &["farm.example.com", "x"], &["", "a..b", "A.b", "a.b.", &["a"; 96].join(".")]),
            (is_tag_key, &["team", "Team name"], &["", "aws:x", "farm:role", "Name"]),
            (
                is_harmless,
                &["udp:192.0.2.1:8081", "http://[2001:db8::1]:80/v1/heartbeat"],
                &["", "a b", "a'b", "a\"b", "$x", "`"],
            ),
        ] {
            for text in yes {
                assert!(good(text), "{text:?}");
            }
            for text in no {
                assert!(!good(text), "{text:?}");
            }
        }
    }
}
