//! DNS cookies (RFC 7873) with server cookies that all nodes of a name can check (RFC 9018).
//!
//! A server cookie proves that its sender has received one of our answers at its address. It must never prove more: no answer
//! depends on it, only whether rate limits hold for its sender.

use std::fmt;
use std::net::IpAddr;

use farm_shared::time::Wall;

use crate::siphash::SipKey;

/// Length of a client cookie in octets (RFC 7873 section 4.1).
pub const CLIENT_COOKIE_LEN: usize = 8;
/// Length of the client cookie and our server cookie together, in octets (RFC 9018 section 4).
pub const COOKIE_LEN: usize = 24;
/// Most secrets of one server: the one that makes cookies, one that comes and one that goes.
pub const SECRETS_MAX: usize = 3;

/// The only version of server cookies.
const VERSION: u8 = 1;
/// A cookie is good for an hour (RFC 9018 section 4.3), in seconds.
const AGE_S_MAX: u32 = 3_600;
/// Clocks of the nodes may differ by so much, in seconds.
const AHEAD_S_MAX: u32 = 300;
/// An older cookie than this is exchanged for a new one, in seconds.
const RENEW_S: u32 = 1_800;

/// The secrets of a server cookie. The first makes cookies; all of them check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    keys: Vec<SipKey>,
}

/// Why a file holds no secrets. Its content is never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSecrets;

impl fmt::Display for BadSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one to {SECRETS_MAX} lines of 32 hexadecimal digits each, the secret in use first")
    }
}

impl std::error::Error for BadSecrets {}

/// What the cookie of a query says about its sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// No cookie, or none that we look at.
    #[default]
    None,
    /// A client cookie alone: its sender wants a server cookie.
    Asks,
    /// With a server cookie that is too old, another node's or forged.
    Invalid,
    /// With a server cookie of ours: the address is the sender's.
    Valid,
}

impl Secrets {
    /// One secret, made at random by the caller.
    pub fn one(secret: [u8; 16]) -> Self {
        Self { keys: vec![SipKey::new(secret)] }
    }

    /// Reads a file: one secret a line in hexadecimal as BIND's `cookie-secret` and Knot's `cookies.secret` have it (`0x` may
    /// stand before it), empty lines and those that start with `#` passed over.
    ///
    /// # Errors
    /// When there is no secret, one too many, or anything else in the file.
    pub fn from_text(text: &str) -> Result<Self, BadSecrets> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut keys = Vec::new();
        for line in lines {
            let digits = line.strip_prefix("0x").unwrap_or(line);
            let is_hex = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let number = u128::from_str_radix(digits, 16).ok().filter(|_| is_hex).ok_or(BadSecrets)?;
            keys.push(SipKey::new(number.to_be_bytes()));
            if keys.len() > SECRETS_MAX {
                return Err(BadSecrets);
            }
        }
        if keys.is_empty() { Err(BadSecrets) } else { Ok(Self { keys }) }
    }

    /// Judges the content of a COOKIE option of permitted length and gives the one to answer with. `None` when there is no client
    /// cookie in it.
    pub fn answer(&self, option: &[u8], client: IpAddr, wall: Wall) -> Option<([u8; COOKIE_LEN], Proof)> {
        let client_cookie = *option.first_chunk::<CLIENT_COOKIE_LEN>()?;
        // The protocol's clock is 32 bits of seconds, compared as serial numbers are (RFC 1982).
        let now_s = (wall.0 / 1_000) as u32;
        let mut proof = if option.len() == CLIENT_COOKIE_LEN { Proof::Asks } else { Proof::Invalid };
        if let Ok(whole) = <&[u8; COOKIE_LEN]>::try_from(option)
            && let [_, _, _, _, _, _, _, _, VERSION, _, _, _, t0, t1, t2, t3, ..] = *whole
        {
            let made_s = u32::from_be_bytes([t0, t1, t2, t3]);
            let age_s = now_s.wrapping_sub(made_s) as i32;
            let in_time = age_s <= AGE_S_MAX as i32 && age_s >= -(AHEAD_S_MAX as i32);
            let matches = |key: &SipKey| hash(*key, whole, client).ct_eq(whole);
            // A forged one must cost no less than a good one: the secrets are all tried.
            if in_time && self.keys.iter().fold(false, |found, key| found | matches(key)) {
                proof = Proof::Valid;
                let by_first = self.keys.first().is_some_and(matches);
                if by_first && (0..=RENEW_S as i32).contains(&age_s) {
                    return Some((*whole, proof));
                }
            }
        }
        let mut cookie = [0; COOKIE_LEN];
        let (front, back) = cookie.split_at_mut(CLIENT_COOKIE_LEN);
        front.copy_from_slice(&client_cookie);
        if let Some(head) = back.first_chunk_mut::<8>() {
            let [t0, t1, t2, t3] = now_s.to_be_bytes();
            *head = [VERSION, 0, 0, 0, t0, t1, t2, t3];
        }
        let mac = hash(*self.keys.first()?, &cookie, client).0;
        if let Some(tail) = cookie.last_chunk_mut::<8>() {
            *tail = mac;
        }
        Some((cookie, proof))
    }
}

struct Mac([u8; 8]);

impl Mac {
    /// Compares with the end of a cookie, in a time that does not tell where they differ.
    fn ct_eq(&self, cookie: &[u8; COOKIE_LEN]) -> bool {
        let differs = cookie
            .last_chunk::<8>()
            .map_or(1, |given| given.iter().zip(&self.0).fold(0, |differs, (a, b)| differs | (a ^ b)));
        differs == 0
    }
}

/// SipHash-2-4 over client cookie, version, reserved octets, timestamp and address (RFC 9018 section 4.4).
fn hash(key: SipKey, cookie: &[u8; COOKIE_LEN], client: IpAddr) -> Mac {
    let mut input = [0; 32];
    let (front, back) = input.split_at_mut(16);
    front.copy_from_slice(cookie.first_chunk::<16>().unwrap_or(&[0; 16]));
    let mac = match client.to_canonical() {
        IpAddr::V4(v4) => {
            back.iter_mut().zip(v4.octets()).for_each(|(to, from)| *to = from);
            key.hash(input.first_chunk::<20>().map_or(&[], |input| input))
        }
        IpAddr::V6(v6) => {
            back.copy_from_slice(&v6.octets());
            key.hash(&input)
        }
    };
    Mac(mac.to_le_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const OTHER: &str = "445536bcd2513298075a5d379663c962";

    fn hex(text: &str) -> Vec<u8> {
        text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn at(s: u64) -> Wall {
        Wall(s * 1_000)
    }

    #[test]
    fn the_vectors_of_rfc_9018() {
        let check = |secrets: &[&str], option: &str, client: &str, now_s: u64, expect: (&str, Proof)| {
            let secrets = Secrets::from_text(&secrets.join("\n")).unwrap();
            let (cookie, proof) = secrets.answer(&hex(option), client.parse().unwrap(), at(now_s)).unwrap();
            assert_eq!((cookie.to_vec(), proof), (hex(expect.0), expect.1), "{option}");
        };
        // A.1: a client asks for its first.
        let first = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        check(&[SECRET], "2464c4abcf10c957", "198.51.100.100", 1_559_731_985, (first, Proof::Asks));
        // A.2: 40 minutes later it is renewed.
        let second = "2464c4abcf10c957010000005cf7a871d4a564a1442aca77";
        check(&[SECRET], first, "198.51.100.100", 1_559_734_385, (second, Proof::Valid));
        // A.3: other reserved octets are part of the hash and not made again. Two hours old, it is no proof any more.
        let reserved = "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5";
        let renewed = "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e";
        check(&[SECRET], reserved, "203.0.113.203", 1_559_734_700, (renewed, Proof::Invalid));
        check(&[SECRET], reserved, "203.0.113.203", 1_559_728_000, (reserved, Proof::Valid));
        // A.4: over IPv6, made with the secret that goes, answered with the new one.
        let old = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
        let new = "22681ab97d52c298010000005cf7c609a6bb79d16625507a";
        let client = "2001:db8:220:1:59de:d0f4:8769:82b8";
        let secrets = ["dd3bdf9344b678b185a6f5cb60fca715", "445536bcd2513298075a5d379663c962"];
        check(&[secrets[1], secrets[0]], old, client, 1_559_741_961, (new, Proof::Valid));
    }

    #[test]
    fn what_proves_and_what_does_not() {
        let secrets = Secrets::from_text(SECRET).unwrap();
        let client: IpAddr = "192.0.2.1".parse().unwrap();
        let (good, _) = secrets.answer(&[7; 8], client, at(1_000_000)).unwrap();
        let check = |option: &[u8], client: &str, now_s: u64, expect: Proof| {
            assert_eq!(secrets.answer(option, client.parse().unwrap(), at(now_s)).unwrap().1, expect, "{now_s}");
        };
        check(&good, "192.0.2.1", 1_000_000, Proof::Valid);
        check(&good, "::ffff:192.0.2.1", 1_000_000, Proof::Valid);
        check(&good, "192.0.2.2", 1_000_000, Proof::Invalid);
        check(&good, "192.0.2.1", 1_003_600, Proof::Valid);
        check(&good, "192.0.2.1", 1_003_601, Proof::Invalid);
        check(&good, "192.0.2.1", 999_700, Proof::Valid);
        check(&good, "192.0.2.1", 999_699, Proof::Invalid);
        check(&good[..8], "192.0.2.1", 1_000_000, Proof::Asks);
        check(&good[..16], "192.0.2.1", 1_000_000, Proof::Invalid);
        for i in 0..24 {
            let mut forged = good;
            forged[i] ^= 1;
            check(&forged, "192.0.2.1", 1_000_000, Proof::Invalid);
        }
        assert_eq!(secrets.answer(&[7; 7], client, at(0)), None);
    }

    #[test]
    fn a_fresh_cookie_is_repeated_and_an_old_secret_is_replaced() {
        let client: IpAddr = "192.0.2.1".parse().unwrap();
        let [old, both, new] = [OTHER.into(), format!("# now\n0x{SECRET}\n\n{OTHER}\n"), SECRET.to_owned()]
            .map(|text| Secrets::from_text(&text).unwrap());
        let (first, _) = old.answer(&[7; 8], client, at(5_000)).unwrap();
        assert_eq!(old.answer(&first, client, at(6_800)), Some((first, Proof::Valid)));
        assert_ne!(old.answer(&first, client, at(6_801)), Some((first, Proof::Valid)));
        let (second, proof) = both.answer(&first, client, at(5_000)).unwrap();
        assert!(proof == Proof::Valid && second != first);
        assert_eq!(new.answer(&second, client, at(5_000)), Some((second, Proof::Valid)));
        assert_eq!(new.answer(&first, client, at(5_000)).unwrap().1, Proof::Invalid);
    }

    #[test]
    fn files_without_secrets() {
        let five = format!("{SECRET}\n").repeat(SECRETS_MAX + 1);
        for text in
            ["", "# none", "abc", "+5e973e5a6b2a43f48e7dc849e37bfcf", &SECRET[1..], &five, &format!("{SECRET} {OTHER}")]
        {
            assert_eq!(Secrets::from_text(text), Err(BadSecrets), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_octets_panic_and_few_prove(option in proptest::collection::vec(any::<u8>(), 0..48), s: u32) {
            let answer = Secrets::from_text(SECRET).unwrap().answer(&option, IpAddr::from([192, 0, 2, 1]), at(s.into()));
            prop_assert_eq!(answer.is_some(), option.len() >= 8);
            prop_assert!(answer.is_none_or(|(cookie, proof)| proof != Proof::Valid && cookie[..8] == option[..8]));
        }
    }
}
