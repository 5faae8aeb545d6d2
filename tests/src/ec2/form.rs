//! Form-encoded bodies of the EC2 query protocol, read and written by hand: the harness must not share a line with what it tests.

use std::collections::BTreeMap;

/// The parameters of a request, by name. A name that came twice keeps its last value, which the validator reports.
pub type Params = BTreeMap<String, String>;

/// The parameters of a body.
pub fn decode(body: &str) -> Params {
    let pairs = body.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (unescape(k), unescape(v))).collect()
}

/// A body with the version that EC2 asks for.
pub fn encode<'a>(params: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pair = |(key, value): (&str, &str)| format!("{}={}", escape(key), escape(value));
    let all = params.into_iter().chain([("Version", "2016-11-15")]);
    all.map(pair).collect::<Vec<_>>().join("&")
}

/// The values of a flat list, `Name.1`, `Name.2`, …, in order.
pub fn list<'a>(params: &'a Params, name: &'a str) -> impl Iterator<Item = &'a str> {
    (1..).map_while(move |n| params.get(&format!("{name}.{n}")).map(String::as_str))
}

/// The filters of a request: name and values.
pub fn filters(params: &Params) -> Vec<(&str, Vec<&str>)> {
    let values = |n: usize| {
        let prefix = format!("Filter.{n}.Value");
        (1..).map_while(|m| params.get(&format!("{prefix}.{m}")).map(String::as_str)).collect()
    };
    (1..).map_while(|n| Some((params.get(&format!("Filter.{n}.Name"))?.as_str(), values(n)))).collect()
}

fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], code) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_as_they_were_written() {
        let pairs = [("Action", "RunInstances"), ("Tag.1.Value", "a b+c&d=e%ü/\n"), ("Empty", "")];
        let read = decode(&encode(pairs));
        for (key, value) in pairs {
            assert_eq!(read[key], value);
        }
        assert_eq!(read["Version"], "2016-11-15");
        assert_eq!(decode("a=1%2&b=%zz&c&&=x")["a"], "1%2");
        assert_eq!(decode("a=x+y")["a"], "x y");
    }

    #[test]
    fn lists_and_filters_end_at_the_first_gap() {
        let params =
            decode("InstanceId.1=a&InstanceId.2=b&InstanceId.4=d&Filter.1.Name=tag:x&Filter.1.Value.1=1&Filter.1.Value.2=2");
        assert_eq!(list(&params, "InstanceId").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(filters(&params), [("tag:x", vec!["1", "2"])]);
    }
}
