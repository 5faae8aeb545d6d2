//! What requests get by host and path, what browsers of other origins may do, and where clients ask that follow no redirect.
//!
//! Plain data that passed its check (`read_routes.rs`).

use farm_shared::id::Id;

/// Which status a redirect has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedirectStatus {
    /// 302 for GET and HEAD, 307 for others, which must be repeated with their method and body (RFC 9110 15.4).
    #[default]
    Auto,
    /// Always this one.
    Fixed(u16),
}

impl RedirectStatus {
    /// For a method.
    pub fn of(self, method: &str) -> u16 {
        match self {
            Self::Fixed(status) => status,
            Self::Auto if matches!(method, "GET" | "HEAD") => 302,
            Self::Auto => 307,
        }
    }
}

/// Who is turned away while the farm is being worked on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Maintenance {
    /// Nobody.
    #[default]
    Off,
    /// New sessions.
    New,
    /// Everybody.
    All,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// A host name, `*.suffix`, or `*` for any.
    pub host: String,
    /// The beginning of the path, by whole segments.
    pub path: String,
    /// Where to.
    pub to: RouteTo,
    /// The status.
    pub status: RedirectStatus,
    /// The query is left out.
    pub drop_query: bool,
    /// Taken away from the beginning of the path; may be empty.
    pub strip: String,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTo {
    /// A server of a farm.
    Farm(Id),
    /// A fixed site: scheme, authority and perhaps a path, without a slash at its end.
    Site(String),
    /// A storage bucket, in the same form: it is only read from.
    Bucket(String),
    /// 503.
    Maintenance {
        /// For `Retry-After`, in seconds.
        retry_after_s: u32,
    },
}

/// What browsers may do from pages of other origins (the Fetch standard, 3.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsSpec {
    /// Origins: `https://app.example.com`, `https://*.example.com` or `*`; none is none.
    pub origins: Vec<String>,
    /// Methods beside GET, HEAD and POST, which need no leave.
    pub methods: Vec<String>,
    /// Header fields.
    pub headers: Vec<String>,
    /// Cookies may go along.
    pub credentials: bool,
    /// A browser may remember the leave so long, in seconds.
    pub max_age_s: u64,
}
