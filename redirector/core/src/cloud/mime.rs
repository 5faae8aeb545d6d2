//! User data as cloud-init reads it: parts of a MIME multipart (RFC 2045, 2046), gzip (RFC 1952), within EC2's limit.
//!
//! The same parts give the same bytes: no time, no random boundary. It must never cut a part that is too long.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use farm_shared::hex;
use flate2::{Compression, GzBuilder};
use std::fmt::Write as _;
use std::io::Write as _;

/// What EC2 takes as user data before base64, in octets.
pub const USER_DATA_BYTES_MAX: usize = 16 * 1024;

/// Lines that mail may carry as they are (RFC 5322 2.1.1).
const LINE_BYTES_MAX: usize = 998;
const BASE64_LINE: usize = 76;
/// RFC 1952 2.3.1: the operating system is unknown.
const GZIP_OS_UNKNOWN: u8 = 255;

/// One part, filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its file name on the instance, where scripts run in the order of their names.
    pub file_name: String,
    /// Its MIME type, as `text/cloud-config`.
    pub mime_type: String,
    /// How cloud-init merges it with other cloud-config, if not as it does anyway.
    pub merge_type: Option<String>,
    /// Its text.
    pub text: String,
}

/// The multipart message.
pub fn multipart(parts: &[Part]) -> String {
    let boundary = boundary(parts);
    let mut out = format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n");
    for part in parts {
        let plain = part.text.split('\n').all(|line| line.len() <= LINE_BYTES_MAX && line.bytes().all(is_plain));
        let encoding = if plain { "7bit" } else { "base64" };
        let _ = write!(
            out,
            "--{boundary}\nContent-Type: {}; charset=\"utf-8\"\nMIME-Version: 1.0\nContent-Transfer-Encoding: {encoding}\n\
             Content-Disposition: attachment; filename=\"{}\"\n",
            part.mime_type, part.file_name
        );
        if let Some(merge_type) = &part.merge_type {
            let _ = writeln!(out, "Merge-Type: {merge_type}");
        }
        out.push('\n');
        if plain {
            out.push_str(&part.text);
        } else {
            let encoded = STANDARD.encode(&part.text);
            for line in encoded.as_bytes().chunks(BASE64_LINE) {
                out.push_str(&String::from_utf8_lossy(line));
                out.push('\n');
            }
        }
        // The line break before a boundary belongs to the boundary (RFC 2046 5.1.1).
        out.push('\n');
    }
    let _ = writeln!(out, "--{boundary}--");
    out
}

/// What passes through any reader of mail as it is. A lone carriage return would end a line there.
fn is_plain(byte: u8) -> bool {
    byte == b'\t' || (b' '..=b'~').contains(&byte)
}

/// From the parts themselves, so that the same parts give the same bytes, and in none of them.
fn boundary(parts: &[Part]) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(part.file_name.as_bytes());
        context.update(part.text.as_bytes());
    }
    let digest = context.finish();
    let mut boundary = format!("==farm-{}==", hex::encode(&digest.as_ref()[..12]));
    while parts.iter().any(|part| part.text.contains(&boundary)) {
        boundary.push('=');
    }
    boundary
}

/// The message as EC2 takes it: gzip, base64.
///
/// # Errors
/// By how many octets it is too long, and the largest part.
pub fn user_data(parts: &[Part]) -> Result<String, String> {
    let packed = gzip(multipart(parts).as_bytes()).map_err(|e| format!("user data cannot be packed: {e}"))?;
    if packed.len() > USER_DATA_BYTES_MAX {
        let largest = parts.iter().max_by_key(|part| gzip(part.text.as_bytes()).map_or(usize::MAX, |packed| packed.len()));
        let largest = largest.map_or_else(String::new, |part| {
            format!("; the largest part is {:?}, {} octets before compression", part.file_name, part.text.len())
        });
        return Err(format!(
            "user data of {} octets after gzip, {} more than the {USER_DATA_BYTES_MAX} that EC2 takes{largest}",
            packed.len(),
            packed.len() - USER_DATA_BYTES_MAX
        ));
    }
    Ok(STANDARD.encode(packed))
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut writer = GzBuilder::new().mtime(0).operating_system(GZIP_OS_UNKNOWN).write(Vec::new(), Compression::best());
    writer.write_all(bytes)?;
    writer.finish()
}

/// What the instance will read: [`user_data`] undone.
///
/// # Errors
/// That it is no base64 of a gzip text.
pub fn decoded(user_data: &str) -> Result<String, String> {
    let packed = STANDARD.decode(user_data).map_err(|e| e.to_string())?;
    let mut text = Vec::new();
    let mut reader = flate2::write::GzDecoder::new(&mut text);
    reader.write_all(&packed).map_err(|e| e.to_string())?;
    reader.finish().map_err(|e| e.to_string())?;
    String::from_utf8(text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn part(file_name: &str, text: &str) -> Part {
        Part { file_name: file_name.into(), mime_type: "text/x-shellscript".into(), merge_type: None, text: text.into() }
    }

    #[test]
    fn a_message_looks_as_it_must() {
        let config = Part {
            mime_type: "text/cloud-config".into(),
            merge_type: Some("list(append)".into()),
            ..part("01-base.yaml", "#cloud-config\nhostname: b7\n")
        };
        let message = multipart(&[config, part("02-é", "#!/bin/sh\necho é\n")]);
        let boundary = message.split('"').nth(1).unwrap();
        let expect = format!(
            "Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n--{boundary}\n\
             Content-Type: text/cloud-config; charset=\"utf-8\"\nMIME-Version: 1.0\nContent-Transfer-Encoding: 7bit\n\
             Content-Disposition: attachment; filename=\"01-base.yaml\"\nMerge-Type: list(append)\n\n\
             #cloud-config\nhostname: b7\n\n--{boundary}\nContent-Type: text/x-shellscript; charset=\"utf-8\"\n\
             MIME-Version: 1.0\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"02-é\"\n\n\
             {}\n\n--{boundary}--\n",
            STANDARD.encode("#!/bin/sh\necho é\n")
        );
        assert_eq!(message, expect);
    }

    #[test]
    fn the_limit_is_told_with_the_excess_and_the_largest_part() {
        // Digits that do not compress: a linear congruential walk.
        let mut x = 1_u64;
        let noise: String = (0..40_000)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(33 + (x >> 33) as u8 % 90)
            })
            .collect();
        let error = user_data(&[part("01-small", "#!/bin/sh\n"), part("02-noise", &noise)]).unwrap_err();
        assert!(error.contains("more than the 16384") && error.contains("\"02-noise\", 40000 octets"), "{error}");
        assert!(user_data(&[part("01-repeated", &"all the same\n".repeat(10_000))]).is_ok());
    }

    proptest! {
        #[test]
        fn packed_twice_the_same_and_unpacked_the_same(texts in proptest::collection::vec(".{0,200}", 1..5)) {
            let parts: Vec<Part> = texts.iter().enumerate().map(|(n, text)| part(&format!("{n:02}"), text)).collect();
            let packed = user_data(&parts).unwrap();
            prop_assert_eq!(&packed, &user_data(&parts).unwrap());
            prop_assert_eq!(decoded(&packed).unwrap(), multipart(&parts));
        }
    }
}
