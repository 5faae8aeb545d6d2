//! One look at one primary: its serial and, if that is newer, the zone, over one TCP or TLS connection (RFC 9103).
//!
//! The primary is a stranger until its signature holds: every wait and every octet is bounded, and nothing is handed on before the
//! last message is there and signed for.

use dnslb_core::config::PrimarySpec;
use dnslb_core::message::{Header, Reader};
use dnslb_core::name::Name;
use dnslb_core::transfer::{BadTransfer, Fetched, Incoming, Limits, Outcome, Progress};
use dnslb_core::tsig::{Checker, Signer, TsigError, TsigKey};
use dnslb_core::zone::{Rtype, Soa, Zone, serial};
use farm_daemon::clock::Clock;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::counters::Fetch;
use super::room::Room;
use crate::check_tls::trusting;

/// How long a connection with its handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a primary may keep us waiting for its next message.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// And for all of them.
const TOTAL_TIMEOUT: Duration = Duration::from_hours(1);

/// What to ask, and whom.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) apex: Name,
    pub(super) primary: PrimarySpec,
    pub(super) key: Option<Arc<TsigKey>>,
    /// The serial of what is there.
    pub(super) have: Option<u32>,
    /// The configuration file, beside which certificates lie.
    pub(super) config: PathBuf,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    /// Random bits for message IDs.
    pub(super) id: u64,
}

/// Why there is no transfer.
#[derive(Debug)]
pub(super) enum FetchError {
    Io(String),
    Tls(String),
    Signature(TsigError),
    Bad(BadTransfer),
    Zone(String),
    Store(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(why) | Self::Tls(why) | Self::Store(why) => f.write_str(why),
            Self::Signature(why) => why.fmt(f),
            Self::Bad(why) => why.fmt(f),
            Self::Zone(why) => write!(f, "the records make no zone: {why}"),
        }
    }
}

impl FetchError {
    pub(super) fn kind(&self) -> Fetch {
        match self {
            Self::Io(_) => Fetch::Unreachable,
            Self::Tls(_) | Self::Signature(_) => Fetch::NotTrusted,
            Self::Bad(BadTransfer::Refused(_)) => Fetch::Refused,
            Self::Bad(BadTransfer::TooMuch) => Fetch::TooMuch,
            Self::Bad(_) | Self::Zone(_) => Fetch::Malformed,
            Self::Store(_) => Fetch::NotKept,
        }
    }
}

impl From<BadTransfer> for FetchError {
    fn from(bad: BadTransfer) -> Self {
        Self::Bad(bad)
    }
}

/// A stream, plain or encrypted.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Connection(Box<dyn Stream>);

/// Looks at the primary; what it gives takes its place in `room`.
pub(super) async fn fetch(ask: Ask, room: &mut Room) -> Result<Fetched, FetchError> {
    let id = |number: u32| (ask.id >> (16 * number)) as u16;
    let mut connection = within(CONNECT_TIMEOUT, connect(&ask)).await?;
    let theirs = soa_serial(&ask, &mut connection, id(0)).await?;
    if ask.have.is_some_and(|have| !serial::is_newer(theirs, have)) {
        return Ok(Fetched::Same);
    }
    let first = within(TOTAL_TIMEOUT, transfer(&ask, connection, ask.have, id(1), room)).await;
    let outcome = match first {
        // A primary that does not know incremental transfers, or gives one that does not hold: the whole zone, from anew.
        Err(FetchError::Bad(bad)) if ask.have.is_some() && bad != BadTransfer::TooMuch => {
            tracing::debug!(zone = %ask.apex, %bad, "no incremental transfer");
            room.clear();
            let connection = within(CONNECT_TIMEOUT, connect(&ask)).await?;
            within(TOTAL_TIMEOUT, transfer(&ask, connection, None, id(2), room)).await?
        }
        first => first?,
    };
    match outcome {
        Outcome::Same(_) => Ok(Fetched::Same),
        Outcome::Changes(diffs) => Ok(Fetched::Changes(diffs)),
        Outcome::Whole(records) => {
            let apex = ask.apex;
            let built = tokio::task::spawn_blocking(move || Zone::from_records(&apex, records)).await;
            let loaded = built.map_err(|_| FetchError::Zone("a defect".into()))?;
            let first = |problems: Vec<dnslb_core::zone::Problem>| {
                FetchError::Zone(problems.first().map(ToString::to_string).unwrap_or_default())
            };
            Ok(Fetched::Whole(Arc::new(loaded.map_err(first)?.zone)))
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, FetchError>>) -> Result<T, FetchError> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(FetchError::Io(format!("nothing within {} s", limit.as_secs()))))
}

async fn connect(ask: &Ask) -> Result<Connection, FetchError> {
    let io = |error: std::io::Error| FetchError::Io(error.to_string());
    let stream = TcpStream::connect(ask.primary.addr).await.map_err(io)?;
    let _ = stream.set_nodelay(true);
    let Some(name) = &ask.primary.tls_name else { return Ok(Connection(Box::new(stream))) };
    let mut config = trusting(ask.primary.tls_ca_file.as_deref(), &ask.config).map_err(FetchError::Tls)?;
    // RFC 9103 section 7.1: the name of the protocol is that of DNS over TLS.
    config.alpn_protocols = vec![b"dot".to_vec()];
    let name = ServerName::try_from(name.clone()).map_err(|_| FetchError::Tls(format!("{name} is no server name")))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    Ok(Connection(Box::new(stream.map_err(|error| FetchError::Tls(format!("tls: {error}")))?)))
}

impl Connection {
    async fn send(&mut self, message: &[u8]) -> Result<(), FetchError> {
        let framed = [&(message.len() as u16).to_be_bytes()[..], message].concat();
        let io = async { self.0.write_all(&framed).await.map_err(|error| FetchError::Io(error.to_string())) };
        within(MESSAGE_TIMEOUT, io).await
    }

    async fn receive(&mut self) -> Result<Vec<u8>, FetchError> {
        let io = |error: std::io::Error| FetchError::Io(error.to_string());
        within(MESSAGE_TIMEOUT, async {
            let len = self.0.read_u16().await.map_err(io)?;
            let mut message = vec![0; usize::from(len)];
            self.0.read_exact(&mut message).await.map_err(io)?;
            Ok(message)
        })
        .await
    }
}

/// A question for the apex.
fn question(ask: &Ask, id: u16, rtype: Rtype) -> Vec<u8> {
    let head = Header { id, flags: 0, counts: [1, 0, 0, 0] };
    [&head.octets()[..], ask.apex.wire(), &rtype.0.to_be_bytes(), &[0, 1]].concat()
}

/// Signs a message, if there is a key; gives what checks the answers.
fn sign(ask: &Ask, message: &mut Vec<u8>) -> Option<Checker> {
    ask.key.as_ref().map(|key| Signer::request(Arc::clone(key), message, ask.clock.now().wall))
}

fn checked(ask: &Ask, checker: &mut Option<Checker>, message: Vec<u8>) -> Result<Vec<u8>, FetchError> {
    match checker {
        Some(checker) => checker.check(&message, ask.clock.now().wall).map_err(FetchError::Signature),
        None => Ok(message),
    }
}

async fn soa_serial(ask: &Ask, connection: &mut Connection, id: u16) -> Result<u32, FetchError> {
    let mut message = question(ask, id, Rtype::SOA);
    let mut checker = sign(ask, &mut message);
    connection.send(&message).await?;
    let answer = checked(ask, &mut checker, connection.receive().await?)?;
    let header = Header::read(&answer).map_err(BadTransfer::from)?;
    if header.id != id || !header.is_response() {
        return Err(BadTransfer::OtherAnswer.into());
    }
    if header.rcode() != 0 {
        return Err(BadTransfer::Refused(header.rcode()).into());
    }
    let [questions, answers, ..] = header.counts;
    let mut reader = Reader::new(&answer);
    for _ in 0..questions {
        reader.question().map_err(BadTransfer::from)?;
    }
    for _ in 0..answers {
        let record = reader.record().map_err(BadTransfer::from)?;
        if record.rtype == Rtype::SOA && record.owner == ask.apex {
            let data = reader.data(&record).map_err(BadTransfer::from)?;
            return Ok(Soa::from_rdata(&data).ok_or(BadTransfer::Format)?.serial);
        }
    }
    Err(BadTransfer::NoSoa.into())
}

async fn transfer(
    ask: &Ask,
    mut connection: Connection,
    have: Option<u32>,
    id: u16,
    room: &mut Room,
) -> Result<Outcome, FetchError> {
    let mut message = question(ask, id, if have.is_some() { Rtype::IXFR } else { Rtype::AXFR });
    if let Some(have) = have {
        append_soa(&mut message, have);
    }
    let mut checker = sign(ask, &mut message);
    connection.send(&message).await?;
    let mut incoming = Incoming::new(ask.apex.clone(), id, have, ask.limits);
    loop {
        let message = checked(ask, &mut checker, connection.receive().await?)?;
        let progress = incoming.take(&message, false)?;
        if !room.take(incoming.held_octets()) {
            return Err(BadTransfer::TooMuch.into());
        }
        if progress == Progress::Done {
            break;
        }
    }
    if let Some(checker) = checker {
        checker.finish().map_err(FetchError::Signature)?;
    }
    incoming.finish().ok_or_else(|| BadTransfer::Format.into())
}

/// The SOA record of the version that is there, in the authority section (RFC 1995 section 3): of its data only the serial counts.
fn append_soa(message: &mut Vec<u8>, have: u32) {
    let root = Name::root();
    let soa = Soa { mname: root.clone(), rname: root, serial: have, refresh_s: 0, retry_s: 0, expire_s: 0, minimum_s: 0 };
    let data = soa.to_rdata();
    message.extend_from_slice(&[0xc0, 0x0c, 0, 6, 0, 1, 0, 0, 0, 0]);
    message.extend_from_slice(&(data.len() as u16).to_be_bytes());
    message.extend_from_slice(&data);
    if let Some(count) = message.get_mut(9) {
        *count = 1;
    }
}
