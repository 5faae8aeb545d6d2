//! Why: the questions of the comparison as octets, and what a right answer to each looks like: a fast wrong answer must not win.
//! Never: no parser; the header's counts and codes tell right from wrong here, the answers' contents are other tests' part.

/// The apex of the zone that everybody serves.
pub const ZONE: &str = "bench.example";

const A: u16 = 1;
const AAAA: u16 = 28;

/// What the header of the answer must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// NOERROR with so many records in the answer section.
    Records(u16),
    /// NXDOMAIN.
    NoName,
    /// Any response: for the echo.
    Any,
}

/// One question, ready to be sent but for its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The datagram; the first two octets are the id.
    pub bytes: Vec<u8>,
    /// What is right.
    pub expect: Expect,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// One name with one static address.
    Static,
    /// The name with three addresses: a pool where there are pools.
    Pool,
    /// 6 parts static names, 2 the pool, 1 a name without AAAA, 1 names that do not exist.
    Mixed,
    /// Names that do not exist.
    NoName,
    /// Names spread over a large zone.
    Spread,
}

impl Case {
    /// Those of the table of peers.
    pub const TABLE: [Self; 4] = [Self::Static, Self::Pool, Self::Mixed, Self::NoName];

    /// Its heading.
    pub fn label(self) -> &'static str {
        match self {
            Self::Static => "static A",
            Self::Pool => "three addresses",
            Self::Mixed => "mixed",
            Self::NoName => "NXDOMAIN",
            Self::Spread => "static A, all names",
        }
    }

    /// Its name on the command line.
    pub fn key(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Pool => "pool",
            Self::Mixed => "mixed",
            Self::NoName => "no-name",
            Self::Spread => "spread",
        }
    }

    /// The case of a name on the command line.
    pub fn from_key(key: &str) -> Option<Self> {
        [Self::Static, Self::Pool, Self::Mixed, Self::NoName, Self::Spread].into_iter().find(|case| case.key() == key)
    }

    /// Its questions for a zone with `names` names of the form `hN`, at most 4,096 of them.
    pub fn questions(self, names: usize) -> Vec<Question> {
        let one = Expect::Records(1);
        // Coprime to powers of ten: walks the names in an order that the cache does not guess.
        let spread = |i: usize| question(&format!("h{}.{ZONE}", i.wrapping_mul(7_919) % names.max(1)), A, one);
        let none = |i: usize| question(&format!("no{i}.{ZONE}"), A, Expect::NoName);
        let pool = || question(&format!("pool.{ZONE}"), A, Expect::Records(3));
        match self {
            Self::Static => vec![question(&format!("www.{ZONE}"), A, one)],
            Self::Pool => vec![pool()],
            Self::NoName => (0..1_000).map(none).collect(),
            Self::Spread => (0..names.clamp(1, 4_096)).map(spread).collect(),
            Self::Mixed => (0..1_000)
                .map(|i| match i % 10 {
                    0 | 5 => pool(),
                    3 => question(&format!("www.{ZONE}"), AAAA, Expect::Records(0)),
                    8 => none(i),
                    _ => spread(i),
                })
                .collect(),
        }
    }
}

/// A question with an OPT record that allows 1232 octets, as resolvers send it. Labels must fit; ours do.
fn question(name: &str, qtype: u16, expect: Expect) -> Question {
    let mut bytes = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&qtype.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    Question { bytes, expect }
}

/// The id of a message, if it has one.
pub fn id_of(message: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(message.first_chunk::<2>().copied()?))
}

/// Whether an answer's header is what the question expects.
pub fn is_right(answer: &[u8], expect: Expect) -> bool {
    let Some([_, _, high, low, _, _, count_high, count_low]) = answer.first_chunk::<8>().copied() else { return false };
    let (response, truncated, rcode) = (high & 0x80 != 0, high & 0x02 != 0, low & 0x0f);
    let records = u16::from_be_bytes([count_high, count_low]);
    response
        && match expect {
            Expect::Any => true,
            Expect::Records(count) => !truncated && rcode == 0 && records == count,
            Expect::NoName => !truncated && rcode == 3 && records == 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, ResponseCode};
    use hickory_proto::rr::RecordType;

    #[test]
    fn another_reader_understands_the_questions() {
        for case in [Case::Static, Case::Pool, Case::Mixed, Case::NoName, Case::Spread] {
            let questions = case.questions(10);
            assert_eq!(Case::from_key(case.key()), Some(case));
            assert!(!questions.is_empty() && questions.len() <= 4_096, "{case:?}");
            for question in questions {
                let message = Message::from_vec(&question.bytes).unwrap();
                let asked = message.queries.first().unwrap();
                let expect_type = if question.expect == Expect::Records(0) { RecordType::AAAA } else { RecordType::A };
                assert_eq!(asked.query_type(), expect_type);
                assert!(asked.name().to_string().ends_with("bench.example."));
                assert_eq!(message.edns.as_ref().map(hickory_proto::op::Edns::max_payload), Some(1232));
            }
        }
        assert_eq!(ResponseCode::NXDomain.low(), 3);
    }

    #[test]
    fn the_mix_is_six_two_one_one() {
        let questions = Case::Mixed.questions(100);
        let count = |expect| questions.iter().filter(|q| q.expect == expect).count();
        let parts = [Expect::Records(1), Expect::Records(3), Expect::Records(0), Expect::NoName].map(count);
        assert_eq!(parts, [600, 200, 100, 100]);
    }

    #[test]
    fn right_and_wrong() {
        let answer = |flags: u16, records: u16| {
            let [a, b] = flags.to_be_bytes();
            let [c, d] = records.to_be_bytes();
            vec![1, 2, a, b, 0, 1, c, d, 0, 0, 0, 0]
        };
        for (flags, records, expect, right) in [
            (0x8400, 1, Expect::Records(1), true),
            (0x8400, 2, Expect::Records(1), false),
            (0x8600, 1, Expect::Records(1), false),
            (0x0400, 1, Expect::Records(1), false),
            (0x8403, 0, Expect::NoName, true),
            (0x8405, 0, Expect::NoName, false),
            (0x8005, 0, Expect::Any, true),
            (0x0000, 0, Expect::Any, false),
        ] {
            assert_eq!(is_right(&answer(flags, records), expect), right, "{flags:x} {records} {expect:?}");
        }
        assert!(!is_right(&[], Expect::Any));
        assert_eq!((id_of(&[1]), id_of(&[1, 2])), (None, Some(0x102)));
    }
}
