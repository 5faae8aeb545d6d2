//! Request bodies of the EC2 Query protocol: `Action=…&Version=2016-11-15&…`, form-encoded.
//!
//! It must never leave a character unescaped that RFC 3986 does not call unreserved: a value comes from tags and configuration.

/// The version of the API that all bodies ask for.
pub const VERSION: &str = "2016-11-15";

/// A body under construction. Fields stand in it in the order in which they were added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form(String);

impl Form {
    /// A request for an action.
    pub fn new(action: &str) -> Self {
        Self("Action=".to_owned() + action).with("Version", VERSION)
    }

    /// One more parameter.
    pub fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.0.push('&');
        encode(name, &mut self.0);
        self.0.push('=');
        encode(value.as_ref(), &mut self.0);
        self
    }

    /// `NAME.1=…&NAME.2=…`.
    pub fn list<T: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        values.into_iter().enumerate().fold(self, |form, (n, value)| form.with(&format!("{name}.{}", n + 1), value))
    }

    /// The filter of that number, from 1.
    pub fn filter(self, number: usize, name: &str, values: &[&str]) -> Self {
        self.with(&format!("Filter.{number}.Name"), name).list(&format!("Filter.{number}.Value"), values)
    }

    /// The octets to send.
    pub fn body(self) -> String {
        self.0
    }
}

/// The value of a parameter in a body, decoded; none if it is not there.
pub fn value_of(body: &str, name: &str) -> Option<String> {
    body.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| decode(value))
}

fn encode(text: &str, out: &mut String) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        if let Some(value) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            out.push(value);
            at += 3;
        } else {
            out.push(if byte == b'+' { b' ' } else { byte });
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_body_is_what_the_protocol_says() {
        let form = Form::new("DescribeInstances").filter(1, "tag:farm:name", &["mail"]).list("InstanceId", ["i-1", "i-2"]);
        assert_eq!(
            form.body(),
            "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3Afarm%3Aname&Filter.1.Value.1=mail\
             &InstanceId.1=i-1&InstanceId.2=i-2"
        );
    }

    #[test]
    fn a_value_is_found_again() {
        assert_eq!(value_of("Action=A&B=x%20y&C=1+2", "B").as_deref(), Some("x y"));
        assert_eq!(value_of("Action=A&B=x%20y&C=1+2", "C").as_deref(), Some("1 2"));
        assert_eq!(value_of("Action=A&AB=1", "B"), None);
        assert_eq!(value_of("B=%", "B").as_deref(), Some("%"));
        assert_eq!(value_of("B=%é", "B").as_deref(), Some("%é"));
    }

    proptest! {
        #[test]
        fn any_text_survives(text in ".*") {
            let body = Form::new("A").with("B", &text).body();
            prop_assert!(body.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(value_of(&body, "B"), Some(text));
        }
    }
}
