//! Reading a query: header, one question, and the OPT record wherever it is.

use super::HEADER_LEN;
use super::options::Options;
use crate::name_buf::NameBuf;
use crate::zone::Rtype;

/// Flag bits of the third and fourth header octet, as one number.
const QR: u16 = 0x8000;
const OPCODE: u16 = 0x7800;

/// A query's header and what could be read behind it.
#[derive(Debug)]
pub(crate) struct Query<'q> {
    pub(crate) id: [u8; 2],
    pub(crate) flags: u16,
    pub(crate) question: Option<Question>,
    pub(crate) edns: Option<Edns<'q>>,
    /// Why the query gets no answer proper, if so.
    pub(crate) fault: Option<QueryFault>,
    /// Whether it is more than a plain query: see [`crate::respond::Reply::special`].
    pub(crate) special: bool,
}

/// What makes a query one to complain about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueryFault {
    /// Malformed.
    Format,
    /// An opcode other than QUERY.
    Opcode,
}

/// The one question, but for its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) rtype: Rtype,
    pub(crate) class: u16,
    /// Length of the question's octets, which start behind the header.
    pub(crate) len: usize,
}

/// The client's OPT record (RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edns<'q> {
    /// Longest UDP answer the client takes, in octets; at least 512.
    pub(crate) udp_len_max: u16,
    pub(crate) version: u8,
    /// DO bit: the client wants signatures.
    pub(crate) dnssec_ok: bool,
    /// CO bit: the client knows that a compact denial can have the response code NXDOMAIN (RFC 9824 section 3.4).
    pub(crate) compact_ok: bool,
    /// Whether there are any options.
    pub(crate) has_options: bool,
    pub(crate) options: Options<'q>,
}

impl<'q> Edns<'q> {
    /// From the class field, the third and second lowest octet of the TTL field, and the data. `None` when the data is malformed.
    fn new(class: u16, version: u8, flags: u8, data: &'q [u8]) -> Option<Self> {
        // What another version's options look like is not known (RFC 6891 section 6.1.3).
        let has_options = !data.is_empty() && version == 0;
        let options = if has_options { Options::read(data)? } else { Options::default() };
        let (dnssec_ok, compact_ok) = (flags & 0x80 != 0, flags & 0x40 != 0);
        Some(Self { udp_len_max: class.max(512), version, dnssec_ok, compact_ok, has_options, options })
    }
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*message.get(at..)?.first_chunk()?))
}

/// Reads a message, and the name of its question into `name`. `None` means that nobody may be answered: too short for a
/// header, or itself an answer.
pub(crate) fn read<'q>(message: &'q [u8], name: &mut NameBuf) -> Option<Query<'q>> {
    let [id_high, id_low, header @ ..] = *message.first_chunk::<HEADER_LEN>()?;
    let (header, _) = header.as_chunks::<2>();
    let &[flags, counts @ ..] = header.first_chunk::<5>()?;
    let (id, flags, counts) = ([id_high, id_low], u16::from_be_bytes(flags), counts.map(u16::from_be_bytes));
    if flags & QR != 0 {
        return None;
    }
    let mut query = Query { id, flags, question: None, edns: None, fault: None, special: is_special(flags) };
    let body = read_body(message, counts, &mut query, name);
    query.fault = if flags & OPCODE != 0 { Some(QueryFault::Opcode) } else { body.is_none().then_some(QueryFault::Format) };
    Some(query)
}

/// Whether the opcode is NOTIFY or UPDATE.
fn is_special(flags: u16) -> bool {
    matches!((flags & OPCODE) >> 11, 4 | 5)
}

/// Fills in question and OPT; `None` when the message is malformed. What was read before the fault stays.
fn read_body<'q>(message: &'q [u8], counts: [u16; 4], query: &mut Query<'q>, name: &mut NameBuf) -> Option<()> {
    let [questions, answers, authority, additional] = counts;
    let mut at = HEADER_LEN;
    match questions {
        1 => {
            name.read(message.get(HEADER_LEN..)?)?;
            at += name.wire().len();
            let [type_high, type_low, class_high, class_low] = *message.get(at..)?.first_chunk()?;
            at += 4;
            let rtype = Rtype(u16::from_be_bytes([type_high, type_low]));
            let class = u16::from_be_bytes([class_high, class_low]);
            query.question = Some(Question { rtype, class, len: at - HEADER_LEN });
            query.special |= matches!(rtype, Rtype::AXFR | Rtype::IXFR);
        }
        // A cookie may be asked for without a question (RFC 7873 section 5.4).
        0 => {}
        _ => return None,
    }
    // Nearly all queries end with an OPT record alone.
    if answers | authority == 0
        && additional == 1
        && let [0, 0, 41, size_high, size_low, _, version, flags, _, len_high, len_low, options @ ..] = message.get(at..)?
        && options.len() == usize::from(u16::from_be_bytes([*len_high, *len_low]))
    {
        query.edns = Some(Edns::new(u16::from_be_bytes([*size_high, *size_low]), *version, *flags, options)?);
    } else {
        read_records(message, at, [answers, authority, additional], query)?;
    }
    let wants_cookie = query.edns.is_some_and(|edns| edns.options.cookie.is_some());
    (query.question.is_some() || wants_cookie).then_some(())
}

/// Reads what stands behind a question in any other form: every record, the OPT record among the additional ones.
fn read_records<'q>(message: &'q [u8], mut at: usize, counts: [u16; 3], query: &mut Query<'q>) -> Option<()> {
    let [answers, authority, additional] = counts;
    // Every record takes at least eleven octets, so the counts cannot make this long.
    for _ in 0..u32::from(answers) + u32::from(authority) {
        at = skip_record(message, at)?.end;
    }
    for _ in 0..additional {
        let record = skip_record(message, at)?;
        query.special |= record.rtype == Rtype::TSIG;
        if record.rtype == Rtype::OPT {
            if query.edns.is_some() || message.get(at) != Some(&0) {
                query.edns = None;
                return None;
            }
            let [_, version, flags, _] = record.ttl;
            query.edns = Some(Edns::new(record.class, version, flags, message.get(record.rdata..record.end)?)?);
        }
        at = record.end;
    }
    (at == message.len()).then_some(())
}

struct Skipped {
    rtype: Rtype,
    class: u16,
    ttl: [u8; 4],
    rdata: usize,
    end: usize,
}

/// Reads a record's fixed fields; the owner may end in a pointer, which is not followed.
fn skip_record(message: &[u8], start: usize) -> Option<Skipped> {
    let mut at = start;
    loop {
        let octet = *message.get(at)?;
        match octet >> 6 {
            0 => at += 1 + usize::from(octet),
            3 => {
                at += 2;
                break;
            }
            _ => return None,
        }
        if octet == 0 {
            break;
        }
        if at - start > crate::name::NAME_LEN_MAX {
            return None;
        }
    }
    let rdata = at + 10;
    let end = rdata + usize::from(u16_at(message, at + 8)?);
    if end > message.len() {
        return None;
    }
    Some(Skipped {
        rtype: Rtype(u16_at(message, at)?),
        class: u16_at(message, at + 2)?,
        ttl: *message.get(at + 4..)?.first_chunk()?,
        rdata,
        end,
    })
}
