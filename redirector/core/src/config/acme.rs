//! `[acme]`: certificates that the front door gets by itself (RFC 8555).
//!
//! It must never touch a file that it names; the shell does, and says what it finds.

use farm_shared::config::Section;
use farm_shared::id::Id;
use farm_shared::settings::{LABEL, SOCKET};
use std::collections::BTreeSet;
use std::net::SocketAddr;

const CERTIFICATES_MAX: usize = 16;
const NAMES_MAX: usize = 50;
const PRODUCTION: &str = "https://acme-v02.api.letsencrypt.org/directory";
const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// How a name is proved to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeKind {
    /// A TXT record, put there by a dynamic update (RFC 8555 8.4, RFC 2136).
    Dns01,
    /// A file below `/.well-known/acme-challenge/` (RFC 8555 8.3). Not for wildcards.
    Http01,
}

/// The whole section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcmeSpec {
    /// The certificates; none is off.
    pub certificates: Vec<OrderSpec>,
    /// The address of the authority's directory.
    pub directory: String,
    /// The directory of the rehearsal; none goes without.
    pub rehearsal: Option<String>,
    /// `mailto:` addresses that the authority may write to.
    pub contact: Vec<String>,
    /// A file of certificates that the authority's own may be signed by, beside those of the system.
    pub ca_file: Option<String>,
    /// How names are proved, the preferred way first.
    pub challenges: Vec<ChallengeKind>,
    /// The name server that takes updates.
    pub update_server: Option<SocketAddr>,
    /// The file of the key that updates are signed with.
    pub update_key_file: Option<String>,
    /// Name servers that must serve a challenge before it is looked at; those of the zone's NS records if empty.
    pub servers: Vec<SocketAddr>,
    /// They must within this, in milliseconds.
    pub propagation_ms: u64,
    /// The pause after the first refusal, in milliseconds.
    pub retry_ms: u64,
    /// Where backends fetch certificates from.
    pub listen_agents: Vec<SocketAddr>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderSpec {
    /// Its id: the name of its files.
    pub id: Id,
    /// The names in it, sorted.
    pub names: Vec<String>,
    /// Whether backends may have it, key and all.
    pub agents: bool,
}

impl AcmeSpec {
    /// Reads the section.
    pub(super) fn read(acme: &Section) -> Self {
        let tables = acme.tables("certificate", "One certificate that is ordered and renewed; none: nothing is.");
        let certificates: Vec<_> = tables.iter().filter_map(OrderSpec::read).collect();
        let (ids, count): (BTreeSet<_>, _) = (certificates.iter().map(|c| &c.id).collect(), certificates.len());
        if ids.len() < count {
            acme.problem("certificate", "two with one id", "ids that differ");
        }
        if count > CERTIFICATES_MAX {
            acme.problem("certificate", format!("{count} certificates"), format!("at most {CERTIFICATES_MAX}"));
        }
        let is_used = !certificates.is_empty();
        let directory = acme.string(
            "directory",
            "production",
            "The authority: `production` and `staging` are Let's Encrypt's, any other is the https address of a directory.",
        );
        let directory = directory_of(acme, "directory", &directory);
        let rehearses = acme.boolean(
            "staging_first",
            directory == PRODUCTION,
            "The first order for a set of names goes to the staging directory, so that mistakes cost nothing. Default: true for \
             `production`.",
        );
        let staging = acme.string("staging_directory", "staging", "The directory of that first order.");
        let staging = directory_of(acme, "staging_directory", &staging);
        let contact: Vec<String> = acme.list(
            "contact",
            &[],
            "\"mailto:ADDRESS\"",
            "Whom the authority may write to. Naming an authority here means that its terms of service are agreed to.",
        );
        if let Some(bad) = contact.iter().find(|c| !c.starts_with("mailto:") || !c.contains('@') || c.len() > 300) {
            acme.problem("contact", format!("{bad:?}"), "\"mailto:ADDRESS\"");
        }
        let words: Vec<String> = acme.list(
            "challenges",
            &["dns-01"],
            "\"dns-01\" or \"http-01\"",
            "How names are proved, the preferred way first. A wildcard can only be proved by dns-01; another name falls back to \
             http-01, where that is given, if the record cannot be put into the zone.",
        );
        let kind = |word: &String| match word.as_str() {
            "dns-01" => Some(ChallengeKind::Dns01),
            "http-01" => Some(ChallengeKind::Http01),
            other => {
                acme.problem("challenges", format!("{other:?}"), "\"dns-01\" or \"http-01\"");
                None
            }
        };
        let challenges: Vec<_> = words.iter().filter_map(kind).collect();
        if acme.is_empty_list("challenges") {
            acme.problem("challenges", "none", "\"dns-01\" or \"http-01\", or both");
        }
        let spec = Self {
            directory,
            rehearsal: rehearses.then_some(staging),
            contact,
            ca_file: acme.optional_string(
                "ca_file",
                "A file of certificates (PEM) that the authority's own may be signed by, beside those of the system.",
            ),
            challenges,
            update_server: acme.optional_parsed(
                "update_server",
                SOCKET,
                "The name server that takes dynamic updates (RFC 2136) of the zones, over TCP: a dnslb, for one.",
            ),
            update_key_file: acme.optional_string(
                "update_key_file",
                "The file of the key that updates are signed with, as `tsig-keygen` prints it.",
            ),
            servers: acme.list(
                "servers",
                &[],
                SOCKET,
                "Name servers that must all serve a challenge before the authority is told to look; none: every address of the \
                 zone's NS records, and the update server.",
            ),
            propagation_ms: acme.duration_ms(
                "propagation",
                120_000,
                1_000..=3_600_000,
                "All name servers must serve a challenge within this, or the attempt is given up before the authority looks.",
            ),
            retry_ms: acme.duration_ms(
                "retry",
                120_000,
                1_000..=3_600_000,
                "The pause after a refusal; three times as long after each further one, up to six hours. The authority's rate limits \
                 are kept in any case.",
            ),
            listen_agents: acme.list(
                "listen_agents",
                &[],
                SOCKET,
                "Where backends and other members of the farm fetch the certificates that are theirs to have, over TLS.",
            ),
            certificates,
        };
        if is_used {
            spec.check(acme);
        }
        spec
    }

    fn check(&self, acme: &Section) {
        let has = |kind| self.challenges.contains(&kind);
        if has(ChallengeKind::Dns01) {
            if self.update_server.is_none() {
                acme.problem("update_server", "nothing", "the name server that takes updates, for challenge dns-01");
            }
            if self.update_key_file.is_none() {
                acme.problem("update_key_file", "nothing", "the key that updates are signed with, for challenge dns-01");
            }
        }
        let wild = self.certificates.iter().flat_map(|c| &c.names).find(|name| name.starts_with("*."));
        if let Some(name) = wild.filter(|_| !has(ChallengeKind::Dns01)) {
            acme.problem("challenges", format!("no \"dns-01\", but the name {name}"), "\"dns-01\", which wildcards need");
        }
        if !self.listen_agents.is_empty() && !self.certificates.iter().any(|c| c.agents) {
            acme.problem(
                "listen_agents",
                "no certificate that backends may have",
                "a [[acme.certificate]] with agents = true",
            );
        }
    }
}

impl OrderSpec {
    fn read(section: &Section) -> Option<Self> {
        let id = section.parsed::<Id>("id", None, LABEL, "Its id; it is kept as `acme-ID.pem` in the state directory.");
        let mut names: Vec<String> = section.list("names", &[], "a host name", "The names in it; `*.` may lead one.");
        for name in &mut names {
            name.make_ascii_lowercase();
        }
        names.sort();
        names.dedup();
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            section.problem("names", format!("{bad:?}"), "a host name of two labels or more, perhaps with \"*.\" before it");
        }
        if names.is_empty() && section.is_present() {
            section.problem("names", "none", "one name at least");
        }
        if names.len() > NAMES_MAX {
            section.problem("names", format!("{} names", names.len()), format!("at most {NAMES_MAX}"));
        }
        let about = "Whether backends may fetch it with its key: a wildcard of the farm, not the front door's own name, since whoever \
                     takes over one backend has it.";
        let agents = section.boolean("agents", false, about);
        Some(Self { id: id?, names, agents })
    }
}

fn is_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    rest.len() <= 230 && rest.contains('.') && rest.split('.').all(label)
}

fn directory_of(acme: &Section, key: &str, text: &str) -> String {
    match text {
        "production" => PRODUCTION.to_owned(),
        "staging" => STAGING.to_owned(),
        url if url.starts_with("https://") && url.len() <= 500 && url.bytes().all(|b| b.is_ascii_graphic()) => {
            url.to_owned()
        }
        other => {
            acme.problem(key, format!("{other:?}"), "\"production\", \"staging\" or the https address of a directory");
            PRODUCTION.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_certificate_may_have() {
        for (name, good) in [
            ("mail.example.com", true),
            ("*.farm.example.com", true),
            ("example", false),
            ("*.com.*", false),
            ("a.*.example.com", false),
            ("-a.example.com", false),
            ("a..example.com", false),
            ("a_b.example.com", false),
            ("", false),
            ("mail.example.com.", false),
        ] {
            assert_eq!(is_name(name), good, "{name}");
        }
    }
}
