//! Requests of the EC2 Query protocol as form bytes: what is journalled is exactly what goes out.
//!
//! One order of fields and one way to write each octet (RFC 3986 2.1 and 2.3), so that the same request is the same bytes for ever.
//! It must never leave a value unencoded, whatever it holds.

use std::fmt::Write as _;

/// The version of the EC2 API that these requests speak.
pub const API_VERSION: &str = "2016-11-15";

/// A form under construction.
#[derive(Clone, Debug)]
pub struct Form(String);

impl Form {
    /// A request for an action of the API.
    pub fn new(action: &str) -> Self {
        let mut form = Self(String::with_capacity(4096));
        form.push("Action", action);
        form.push("Version", API_VERSION);
        form
    }

    /// Adds a field.
    pub fn push(&mut self, key: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        encode(key, &mut self.0);
        self.0.push('=');
        encode(value, &mut self.0);
    }

    /// Adds a field if it has a value.
    pub fn push_some(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.push(key, value);
        }
    }

    /// The body.
    pub fn finish(self) -> String {
        self.0
    }
}

/// All but the unreserved characters of RFC 3986 2.3 as `%XX`; a space, too, since `+` means one in HTML forms only.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// The fields of a body, decoded, in its order. `None` if it is no form that [`Form`] could have written.
pub fn fields(body: &str) -> Option<Vec<(String, String)>> {
    body.split('&')
        .map(|field| {
            let (key, value) = field.split_once('=')?;
            Some((decode(key)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            b'+' => return None,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exactly_the_unreserved_characters_stand_for_themselves() {
        let mut form = Form::new("RunInstances");
        form.push("Tag.1.Value", "a b+c/d=e&f~g-h._é*\n");
        form.push_some("None", None);
        assert_eq!(
            form.finish(),
            "Action=RunInstances&Version=2016-11-15&Tag.1.Value=a%20b%2Bc%2Fd%3De%26f~g-h._%C3%A9%2A%0A"
        );
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(pairs in proptest::collection::vec((".{0,20}", ".{0,40}"), 0..8)) {
            let mut form = Form::new("X");
            for (key, value) in &pairs {
                form.push(key, value);
            }
            let body = form.finish();
            prop_assert!(body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%=&".contains(&b)));
            prop_assert_eq!(fields(&body).unwrap()[2..].to_vec(), pairs);
        }

        #[test]
        fn nothing_makes_the_reader_fail(text in ".{0,60}") {
            let _ = fields(&text);
        }
    }
}
