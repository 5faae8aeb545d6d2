#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::*;
use crate::message::{Header, Reader};
use crate::name::Name;
use farm_shared::time::Wall;
use proptest::prelude::*;
use std::sync::Arc;

const NOW: Wall = Wall(1_700_000_000_000);
const SECRET: &[u8] = b"a secret of some thirty-two octets";

fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

fn key(algorithm: HmacAlgorithm) -> Arc<TsigKey> {
    Arc::new(TsigKey::new(name("key.example"), algorithm, SECRET).unwrap())
}

fn keys(algorithm: HmacAlgorithm) -> Keys {
    let mut keys = Keys::default();
    keys.insert(TsigKey::clone(&key(algorithm)));
    keys
}

/// A query for `example. SOA`.
fn query() -> Vec<u8> {
    [&b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"[..], b"\x07example\x00\x00\x06\x00\x01"].concat()
}

fn answer() -> Vec<u8> {
    let mut answer = query();
    answer[2] |= 0x80;
    answer
}

#[test]
fn a_request_and_its_answer() {
    for algorithm in HmacAlgorithm::ALL {
        let mut request = query();
        let mut checker = Signer::request(key(algorithm), &mut request, NOW);
        assert!(request.len() - query().len() <= key(algorithm).record_len_max());
        let mut verified = verify(&request, &keys(algorithm), NOW).unwrap().unwrap();
        assert_eq!(verified.message, query(), "{algorithm}");
        let mut response = answer();
        verified.signer.sign(&mut response, NOW);
        assert_eq!(checker.check(&response, NOW).unwrap(), answer(), "{algorithm}");
        checker.finish().unwrap();
    }
}

#[test]
fn a_message_without_a_signature_is_not_verified() {
    assert!(verify(&query(), &keys(HmacAlgorithm::Sha256), NOW).unwrap().is_none());
}

#[test]
fn a_question_that_points_into_the_header_is_not_repeated() {
    // Read there, the name is another one in the answer, whose header differs.
    let mut request = query();
    request.splice(12.., *b"\xc0\x05\x00\x06\x00\x01");
    Signer::request(key(HmacAlgorithm::Sha256), &mut request, NOW);
    let fault = verify(&request, &Keys::default(), NOW).unwrap_err();
    let response = fault.response.unwrap();
    assert_eq!(Header::read(&response).unwrap().counts, [0; 4], "{response:02x?}");
}

/// The rcode and TSIG error of a refusal, and whether it is signed.
fn said(response: &[u8]) -> (u16, u16, bool) {
    let tsig = split(response).unwrap().unwrap();
    (Header::read(response).unwrap().rcode(), tsig.error, !tsig.mac.is_empty())
}

#[test]
fn refusals_say_why() {
    let algorithm = HmacAlgorithm::Sha256;
    let mut request = query();
    Signer::request(key(algorithm), &mut request, NOW);

    let fault = verify(&request, &Keys::default(), NOW).unwrap_err();
    assert_eq!((fault.error, said(&fault.response.unwrap())), (error::BADKEY, (NOTAUTH, error::BADKEY, false)));
    let fault = verify(&request, &keys(HmacAlgorithm::Sha512), NOW).unwrap_err();
    assert_eq!(fault.error, error::BADKEY);

    let mut changed = request.clone();
    changed[3] ^= 0x10;
    let fault = verify(&changed, &keys(algorithm), NOW).unwrap_err();
    assert_eq!((fault.error, said(&fault.response.unwrap())), (error::BADSIG, (NOTAUTH, error::BADSIG, false)));

    for late_s in [-301_i64, 301] {
        let now = Wall(NOW.0.saturating_add_signed(late_s * 1_000));
        let fault = verify(&request, &keys(algorithm), now).unwrap_err();
        let response = fault.response.unwrap();
        assert_eq!((fault.error, said(&response)), (error::BADTIME, (NOTAUTH, error::BADTIME, true)));
        let tsig = split(&response).unwrap().unwrap();
        assert_eq!((tsig.time_s, tsig.other), (NOW.0 / 1_000, &(now.0 / 1_000).to_be_bytes()[2..]));
        // The client can check it.
        let mut again = query();
        let mut checker = Signer::request(key(algorithm), &mut again, NOW);
        assert_eq!(checker.check(&response, NOW), Err(TsigError::Refused(error::BADTIME)));
    }
    for late_s in [-300_i64, 300] {
        assert!(verify(&request, &keys(algorithm), Wall(NOW.0.saturating_add_signed(late_s * 1_000))).is_ok());
    }
}

/// The request with its MAC cut to `len` octets.
fn truncated(request: &[u8], len: usize) -> Vec<u8> {
    let tsig = split(request).unwrap().unwrap();
    let mut out = tsig.strip(request);
    let variables = record::Variables { time_s: tsig.time_s, fudge_s: tsig.fudge_s, error: 0, other: &[] };
    let mac = [tsig.mac, &[0; 8]].concat();
    record::append(&mut out, &tsig.key, tsig.algorithm.wire(), variables, tsig.original_id, &mac[..len]);
    out
}

#[test]
fn truncated_macs_are_taken_down_to_half() {
    for (algorithm, shortest) in [(HmacAlgorithm::Sha1, 10), (HmacAlgorithm::Sha256, 16), (HmacAlgorithm::Sha512, 32)] {
        let mut request = query();
        Signer::request(key(algorithm), &mut request, NOW);
        for len in 0..=algorithm.mac_len() + 1 {
            let result = verify(&truncated(&request, len), &keys(algorithm), NOW);
            if (shortest..=algorithm.mac_len()).contains(&len) {
                assert!(result.unwrap().is_some(), "{algorithm} {len}");
            } else {
                let response = result.unwrap_err().response.unwrap();
                assert_eq!(Header::read(&response).unwrap().rcode(), 1, "{algorithm} {len}");
            }
        }
    }
}

#[test]
fn an_id_that_a_forwarder_changed_does_not_matter() {
    let mut request = query();
    Signer::request(key(HmacAlgorithm::Sha256), &mut request, NOW);
    request[0] ^= 0xff;
    let verified = verify(&request, &keys(HmacAlgorithm::Sha256), NOW).unwrap().unwrap();
    assert_eq!(verified.message[..2], request[..2]);
}

#[test]
fn a_record_that_is_not_the_last_is_malformed() {
    let mut request = query();
    Signer::request(key(HmacAlgorithm::Sha256), &mut request, NOW);
    let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
    let mut behind = request.clone();
    behind.extend_from_slice(opt);
    behind[11] += 1;
    let twice = {
        let record = request[query().len()..].to_vec();
        let mut twice = request.clone();
        twice.extend_from_slice(&record);
        twice[11] += 1;
        twice
    };
    let mut in_answers = request.clone();
    (in_answers[7], in_answers[11]) = (1, 0);
    for bad in [behind, twice, in_answers, request[..request.len() - 1].to_vec()] {
        let fault = verify(&bad, &keys(HmacAlgorithm::Sha256), NOW).unwrap_err();
        assert_eq!((fault.error, Header::read(&fault.response.unwrap()).unwrap().rcode()), (0, 1));
    }
}

/// A stream of `count` answers, signed where `is_signed` says so.
fn stream(count: usize, is_signed: impl Fn(usize) -> bool) -> (Checker, Vec<Vec<u8>>) {
    let mut request = query();
    let checker = Signer::request(key(HmacAlgorithm::Sha256), &mut request, NOW);
    let verified = verify(&request, &keys(HmacAlgorithm::Sha256), NOW).unwrap().unwrap();
    let (mut signer, mut pending) = (verified.signer, Vec::new());
    let mut messages = Vec::new();
    for number in 0..count {
        let mut message = answer();
        if is_signed(number) {
            let variables = record::Variables { time_s: NOW.0 / 1_000, fudge_s: FUDGE_S, error: 0, other: &[] };
            signer.sign_after(&pending, &mut message, variables);
            pending.clear();
        } else {
            pending.extend_from_slice(&message);
        }
        messages.push(message);
    }
    (checker, messages)
}

#[test]
fn a_stream_is_checked_message_by_message() {
    let check = |name: &str, count: usize, is_signed: &dyn Fn(usize) -> bool, expect: Result<(), TsigError>| {
        let (mut checker, messages) = stream(count, is_signed);
        let mut result = Ok(());
        for message in &messages {
            result = checker.check(message, NOW).map(|got| assert_eq!(got, answer()));
            if result.is_err() {
                break;
            }
        }
        assert_eq!(result.and_then(|()| checker.finish()), expect, "{name}");
    };
    check("all signed", 120, &|_| true, Ok(()));
    check("99 in between", 201, &|number| number % 100 == 0, Ok(()));
    check("100 in between", 202, &|number| number % 101 == 0, Err(TsigError::Unsigned));
    check("first unsigned", 2, &|number| number == 1, Err(TsigError::Unsigned));
    check("last unsigned", 3, &|number| number < 2, Err(TsigError::Unsigned));
    check("nothing", 0, &|_| true, Err(TsigError::Unsigned));
}

#[test]
fn a_stream_that_was_tampered_with_is_refused() {
    let (checker, messages) = stream(60, |number| number % 10 == 0);
    for (what, at) in [("a signed message", 50), ("an unsigned one", 45)] {
        let mut messages = messages.clone();
        messages[at][5] ^= 1;
        let mut checker = checker.clone();
        let first = messages.iter().position(|message| checker.check(message, NOW).is_err());
        assert_eq!(first, Some(50), "{what}");
    }
    let mut checker = checker;
    let mut lost = messages;
    lost.remove(7);
    assert_eq!(lost.iter().position(|message| checker.check(message, NOW) == Err(TsigError::BadMac)), Some(9));
}

#[test]
fn answers_of_others_are_refused() {
    let algorithm = HmacAlgorithm::Sha256;
    let mut request = query();
    let checker = Signer::request(key(algorithm), &mut request, NOW);
    let fault = verify(&request, &Keys::default(), NOW).unwrap_err();
    assert_eq!(checker.clone().check(&fault.response.unwrap(), NOW), Err(TsigError::Refused(error::BADKEY)));
    let mut verified = verify(&request, &keys(algorithm), NOW).unwrap().unwrap();
    let mut response = answer();
    verified.signer.sign(&mut response, NOW);
    assert_eq!(checker.clone().check(&response, Wall(NOW.0 + 301_000)), Err(TsigError::BadTime));
    assert_eq!(checker.clone().check(&answer(), NOW), Err(TsigError::Unsigned));
    assert_eq!(checker.clone().check(b"short", NOW), Err(TsigError::Format));
    // The same answer to another request: its MAC covers the request's.
    let mut other = query();
    let mut other = Signer::request(key(algorithm), &mut other, Wall(NOW.0 + 1_000));
    assert_eq!(other.check(&response, NOW), Err(TsigError::BadMac));
}

#[test]
fn key_files() {
    let text = "# made by tsig-keygen\nkey \"key.example\" {\n\talgorithm hmac-sha512;\n\tsecret \"c2VjcmV0\";\n};\n\
                key other { secret c2VjcmV0; algorithm hmac-sha256; }; // the end\n";
    let key = TsigKey::from_file(&name("KEY.example."), None, text).unwrap();
    assert_eq!((key.name(), key.algorithm()), (&name("key.example"), HmacAlgorithm::Sha512));
    assert_eq!(keys_from_file(text).unwrap().len(), 2);
    assert_eq!(format!("{key:?}"), "TsigKey(key.example. hmac-sha512)");
    let check = |text: &str, algorithm: Option<HmacAlgorithm>, expect: Result<HmacAlgorithm, BadKey>| {
        let key = TsigKey::from_file(&name("key.example"), algorithm, text);
        assert_eq!(key.map(|key| key.algorithm()), expect, "{text}");
    };
    check("c2Vj cmV0\n", None, Ok(HmacAlgorithm::Sha256));
    check("c2VjcmV0", Some(HmacAlgorithm::Sha1), Ok(HmacAlgorithm::Sha1));
    check(text, Some(HmacAlgorithm::Sha256), Err(BadKey::Algorithm));
    check("", None, Err(BadKey::File));
    check("c2Vj!", None, Err(BadKey::File));
    check("key other { secret \"c2VjcmV0\"; algorithm hmac-sha256; };", None, Err(BadKey::Missing));
    check("key \"key.example\" { algorithm hmac-sha256; };", None, Err(BadKey::Secret));
    check("key \"key.example\" { secret \"c2VjcmV0\"; };", None, Err(BadKey::Algorithm));
    check("key \"key.example\" { algorithm hmac-md5; secret \"c2VjcmV0\"; };", None, Err(BadKey::Algorithm));
    check("key \"key.example\" { algorithm hmac-sha256; secret \"c2VjcmV0\"", None, Err(BadKey::File));
    check("key \"key.example { ", None, Err(BadKey::File));
    check("options { };", None, Err(BadKey::File));
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,100}") {
        let _ = verify(&octets, &keys(HmacAlgorithm::Sha256), NOW);
        let _ = keys_from_file(&text);
        let mut request = query();
        let mut checker = Signer::request(key(HmacAlgorithm::Sha256), &mut request, NOW);
        prop_assert!(checker.check(&octets, NOW).is_err());
    }

    #[test]
    fn a_changed_octet_is_seen(at in 0_usize..200, bit in 0_u8..8) {
        let mut request = query();
        Signer::request(key(HmacAlgorithm::Sha256), &mut request, NOW);
        let at = at % request.len();
        // The ID is not covered: the record has the original one.
        prop_assume!(at > 1);
        request[at] ^= 1 << bit;
        let verified = verify(&request, &keys(HmacAlgorithm::Sha256), NOW);
        let case_only = Reader::new(&request).question().is_ok() && verified.as_ref().is_ok_and(Option::is_some);
        if case_only {
            // Names are compared and digested without regard to case: the key's and the algorithm's.
            prop_assert!(at >= query().len() && bit == 5);
        }
    }
}
