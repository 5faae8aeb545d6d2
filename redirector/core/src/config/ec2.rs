//! `[provider.ec2]`: how the EC2 API is reached and how fast it may be asked.
//!
//! What is launched stands in launch profiles, not here. Credentials are never an option: they come from the environment, a shared
//! credentials file, a container's or an instance's role, so that no secret lands in this file.

use farm_shared::config::Section;

const REGION_BYTES_MAX: usize = 32;
const ENDPOINT_BYTES_MAX: usize = 300;

/// How EC2 is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Ec2Spec {
    /// The region, as in `eu-central-1`. Several regions are several farms.
    pub region: String,
    /// Scheme and authority of another implementation of the API; the region's own endpoint unless given.
    pub endpoint: Option<String>,
    /// The file of launch profiles.
    pub profile_file: String,
    /// The profile of servers without a role; the file's only one unless given.
    pub profile: Option<String>,
    /// A call that was not answered after this has an unknown fate, in milliseconds.
    pub call_timeout_ms: u64,
    /// A connection that was not made after this is given up, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Calls at a time.
    pub calls_max: usize,
    /// Calls a second that only read, at most.
    pub reads_per_s: f64,
    /// Calls a second that change something, at most.
    pub writes_per_s: f64,
    /// Status checks are asked for this often, in milliseconds.
    pub status_period_ms: u64,
}

impl Default for Ec2Spec {
    fn default() -> Self {
        Self {
            region: String::new(),
            endpoint: None,
            profile_file: String::new(),
            profile: None,
            call_timeout_ms: 20_000,
            connect_timeout_ms: 3_000,
            calls_max: 8,
            reads_per_s: 10.0,
            writes_per_s: 5.0,
            status_period_ms: 30_000,
        }
    }
}

impl Ec2Spec {
    /// Reads the section; what must be there is asked for only if the provider is `used`.
    pub(super) fn read(ec2: &Section, used: bool) -> Self {
        let d = Self::default();
        let spec = Self {
            region: ec2.string("region", "", "The region, as in `eu-central-1`; several regions are several farms."),
            endpoint: ec2.optional_string(
                "endpoint",
                "Scheme and authority of another implementation of the API, as in `http://127.0.0.1:5000`; the region's own \
                 unless given.",
            ),
            profile_file: ec2.string("profile_file", "", "The file of launch profiles (docs/profiles.md)."),
            profile: ec2.optional_string("profile", "The profile of servers without a role; the file's only one unless given."),
            call_timeout_ms: ec2.duration_ms(
                "call_timeout",
                d.call_timeout_ms,
                100..=300_000,
                "A call that was not answered after this has an unknown fate, and is made again.",
            ),
            connect_timeout_ms: ec2.duration_ms(
                "connect_timeout",
                d.connect_timeout_ms,
                100..=60_000,
                "A connection that was not made after this is given up.",
            ),
            calls_max: ec2.integer("calls_max", d.calls_max as i64, 1..=256, "Calls at a time.") as usize,
            reads_per_s: ec2.float(
                "reads_per_s",
                d.reads_per_s,
                0.1..=1_000.0,
                "Calls a second that only read, at most. Halved whenever EC2 says that it is too many, and recovering slowly.",
            ),
            writes_per_s: ec2.float(
                "writes_per_s",
                d.writes_per_s,
                0.1..=1_000.0,
                "Calls a second that change something, at most; likewise.",
            ),
            status_period_ms: ec2.duration_ms(
                "status_period",
                d.status_period_ms,
                1_000..=3_600_000,
                "EC2's status checks of the instances are asked for this often.",
            ),
        };
        if used {
            spec.check(ec2);
        }
        spec
    }

    fn check(&self, ec2: &Section) {
        let in_region = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if self.region.is_empty() || self.region.len() > REGION_BYTES_MAX || !self.region.bytes().all(in_region) {
            ec2.problem("region", format!("{:?}", self.region), "a region, as in \"eu-central-1\"");
        }
        if let Some(endpoint) = &self.endpoint
            && !is_endpoint(endpoint)
        {
            ec2.problem(
                "endpoint",
                format!("{endpoint:?}"),
                "scheme and authority without a path, as in \"http://127.0.0.1:5000\"",
            );
        }
        if self.profile_file.is_empty() {
            ec2.problem("profile_file", "nothing", "the file of launch profiles");
        }
    }
}

fn is_endpoint(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let inner = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    rest.is_some_and(|r| !r.is_empty() && r.len() <= ENDPOINT_BYTES_MAX && r.bytes().all(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_scheme_and_authority() {
        let cases = [
            ("http://127.0.0.1:5000", true),
            ("https://ec2.example.com", true),
            ("https://[::1]:443", true),
            ("ftp://x", false),
            ("http://", false),
            ("http://x/path", false),
            ("http://user@x", false),
            ("127.0.0.1:5000", false),
        ];
        for (text, good) in cases {
            assert_eq!(is_endpoint(text), good, "{text}");
        }
    }
}
