//! The file of a TSIG key, in the form that `tsig-keygen` prints and that dnslb and BIND read.
//!
//! Errors must never show what the file holds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const SECRET_BYTES_MAX: usize = 1_024;
const ALGORITHMS: [&str; 4] = ["hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224"];

/// A key that is shared with a name server.
#[derive(Clone, PartialEq, Eq)]
pub struct UpdateKey {
    /// Its name, as the name server knows it.
    pub name: String,
    /// As in `hmac-sha256`.
    pub algorithm: &'static str,
    /// The secret itself.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for UpdateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UpdateKey({} {})", self.name, self.algorithm)
    }
}

/// Reads `key "NAME" { algorithm hmac-sha256; secret "BASE64"; };`.
///
/// # Errors
/// What is expected instead, without the text.
pub fn read(text: &str) -> Result<UpdateKey, &'static str> {
    const FORM: &str = "one clause like: key \"name\" { algorithm hmac-sha256; secret \"…\"; };";
    let words = words(text).ok_or(FORM)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ["key", name, "{", inner @ .., "}", ";"] = words.as_slice() else { return Err(FORM) };
    let (mut algorithm, mut secret) = (None, None);
    for clause in inner.split_inclusive(|word| *word == ";") {
        match clause {
            ["algorithm", word, ";"] if algorithm.is_none() => algorithm = Some(*word),
            ["secret", word, ";"] if secret.is_none() => secret = Some(*word),
            _ => return Err(FORM),
        }
    }
    let (algorithm, secret) = algorithm.zip(secret).ok_or(FORM)?;
    let algorithm = algorithm.trim_end_matches('.');
    let algorithm = ALGORITHMS.into_iter().find(|known| known.eq_ignore_ascii_case(algorithm));
    let algorithm = algorithm.ok_or("the algorithm hmac-sha224, hmac-sha256, hmac-sha384 or hmac-sha512")?;
    let secret = STANDARD.decode(secret).map_err(|_| "a secret in base64")?;
    if secret.is_empty() || secret.len() > SECRET_BYTES_MAX {
        return Err("a secret of 1 to 1024 octets");
    }
    if name.is_empty() || name.len() > 253 {
        return Err("a key with a name");
    }
    Ok(UpdateKey { name: (*name).to_owned(), algorithm, secret })
}

/// Words, braces and semicolons; comments are passed over. `None` if a string or a comment does not end.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let after = rest.get(first.len_utf8()..)?;
        let (word, left) = match first {
            '{' | '}' | ';' => (Some(first.to_string()), after),
            '"' => {
                let (word, left) = after.split_once('"')?;
                (Some(word.to_owned()), left)
            }
            '#' => (None, after.split_once('\n').map_or("", |(_, left)| left)),
            '/' if after.starts_with('/') => (None, after.split_once('\n').map_or("", |(_, left)| left)),
            '/' if after.starts_with('*') => (None, after.split_once("*/")?.1),
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "{};\"".contains(c)).unwrap_or(rest.len());
                let (word, left) = rest.split_at(end);
                (Some(word.to_owned()), left)
            }
        };
        words.extend(word);
        rest = left.trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_people_have() {
        let good = "key \"acme\" { algorithm hmac-sha256; secret \"c2VjcmV0\"; };";
        for text in [
            good,
            "# made by tsig-keygen\nkey \"acme\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n",
            "/* one */ key acme{secret c2VjcmV0;algorithm HMAC-SHA256.;}; // end",
        ] {
            let key = read(text).expect(text);
            assert_eq!((key.name.as_str(), key.algorithm, key.secret.as_slice()), ("acme", "hmac-sha256", &b"secret"[..]));
        }
        for text in [
            "",
            "c2VjcmV0",
            "key acme { algorithm hmac-md5; secret \"c2VjcmV0\"; };",
            "key acme { algorithm hmac-sha256; };",
            "key acme { algorithm hmac-sha256; secret \"not base64!\"; };",
            "key acme { algorithm hmac-sha256; secret \"\"; };",
            "key acme { algorithm hmac-sha256; secret \"c2VjcmV0\"; }",
            "key acme { algorithm hmac-sha256; algorithm hmac-sha256; secret \"c2VjcmV0\"; };",
            "key acme { algorithm hmac-sha256; secret \"c2Vjcm",
            "key acme { /* algorithm",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let two = format!("{good}{good}");
        assert!(read(&two).is_err(), "which of two is meant cannot be told");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(key|[{};\"/*# \n]|hmac-sha256|secret|algorithm|[a-zA-Z=]|\\PC){0,30}") {
            let _ = read(&text);
        }
    }
}
