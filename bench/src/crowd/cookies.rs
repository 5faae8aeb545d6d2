//! Why: a door recognises a returning session, and a backend its own, by cookies; each gets back what it set itself.
//! Never: no server can make a client keep more than a few kilobytes. One jar per authority, so nothing leaks across.

/// Cookies kept for one authority.
pub const COOKIES_MAX: usize = 16;
/// Longest name and value together, bytes.
pub const COOKIE_LEN_MAX: usize = 4_096;

/// The cookies of one authority. Paths, domains and dates are not looked at: a session is shorter than any of them, except
/// that `Max-Age` of 0 or less removes the cookie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jar(Vec<(String, String)>);

impl Jar {
    /// Takes one `Set-Cookie` value; what is malformed, too long or too many is ignored.
    pub fn take(&mut self, set_cookie: &str) {
        let mut parts = set_cookie.split(';');
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || name.len() + value.len() > COOKIE_LEN_MAX {
            return;
        }
        let is_over = parts.filter_map(|attribute| attribute.split_once('=')).any(|(key, value)| {
            key.trim().eq_ignore_ascii_case("max-age") && value.trim().parse::<i64>().is_ok_and(|seconds| seconds <= 0)
        });
        self.0.retain(|(known, _)| known != name);
        if !is_over && self.0.len() < COOKIES_MAX {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    /// The `Cookie` value to send; `None` when there are none.
    pub fn header(&self) -> Option<String> {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_replaces_and_removes() {
        let check = |cookies: &[&str], expect: Option<&str>| {
            let mut jar = Jar::default();
            for cookie in cookies {
                jar.take(cookie);
            }
            assert_eq!(jar.header().as_deref(), expect, "{cookies:?}");
        };
        check(&[], None);
        check(&["a=1; Path=/; HttpOnly", "b=2"], Some("a=1; b=2"));
        check(&["a=1", "a=2"], Some("a=2"));
        check(&["a=1", "a=; max-age=0"], None);
        check(&["a=1; Max-Age=60"], Some("a=1"));
        check(&["a=b=c"], Some("a=b=c"));
        check(&["=x", "x", "", ";;;"], None);
        check(&[&format!("a={}", "x".repeat(COOKIE_LEN_MAX))], None);
    }

    #[test]
    fn jar_is_bounded() {
        let mut jar = Jar::default();
        for number in 0..1_000 {
            jar.take(&format!("c{number}=1"));
        }
        assert_eq!(jar.0.len(), COOKIES_MAX);
    }
}
