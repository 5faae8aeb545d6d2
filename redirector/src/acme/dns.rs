//! Challenge records: put into a zone by a signed update (RFC 2136, RFC 8945), looked for at every name server, taken out again.
//!
//! Everything goes over TCP and is bounded in time. An answer to an update counts only if its signature holds.

use farm_daemon::clock::Clock;
use hickory_proto::op::{Message, Query, ResponseCode, update_message};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, RData, Record, RecordSet, RecordType, TSigner};
use redirector_core::acme::Planted;
use redirector_core::acme::key_file::UpdateKey;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::str::FromStr as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

/// How long a record may be kept by a cache, in seconds: as good as nothing is, but some servers refuse 0.
const TTL_S: u32 = 1;
/// By how much clocks may differ, in seconds (RFC 8945 10).
const FUDGE_S: u16 = 300;
const EXCHANGE_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const SERVERS_MAX: usize = 64;
const DNS_PORT: u16 = 53;

/// The name server that takes updates, and the key that signs them.
pub(super) struct Updates {
    server: SocketAddr,
    signer: TSigner,
    clock: Clock,
}

impl Updates {
    /// # Errors
    /// The key's name is no domain name, or its algorithm is not supported.
    pub(super) fn new(server: SocketAddr, key: UpdateKey, clock: Clock) -> Result<Self, String> {
        let algorithm = match key.algorithm {
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            "hmac-sha224" => TsigAlgorithm::HmacSha224,
            _ => TsigAlgorithm::HmacSha256,
        };
        let name = Name::from_str(&key.name).map_err(|error| format!("the key's name: {error}"))?;
        let signer = TSigner::new(key.secret, algorithm, name, FUDGE_S).map_err(|error| error.to_string())?;
        Ok(Self { server, signer, clock })
    }

    /// Adds a record; one that is there already is no error.
    pub(super) async fn add(&self, planted: &Planted) -> Result<Name, String> {
        let (zone, set) = self.about(planted).await?;
        self.update(update_message::append(set, zone.clone(), false, false)).await?;
        Ok(zone)
    }

    /// Removes a record; one that is not there is no error.
    pub(super) async fn remove(&self, planted: &Planted) -> Result<(), String> {
        let (zone, set) = self.about(planted).await?;
        self.update(update_message::delete_by_rdata(set, zone, false)).await
    }

    async fn about(&self, planted: &Planted) -> Result<(Name, RecordSet), String> {
        let name = name_of(&planted.name)?;
        let zone = self.zone_of(&name).await?;
        let text = RData::TXT(TXT::new(vec![planted.value.clone()]));
        Ok((zone, RecordSet::from(Record::from_rdata(name, TTL_S, text))))
    }

    /// The zone that a name is in, as the update server has it: the owner of the SOA record that it answers with.
    async fn zone_of(&self, name: &Name) -> Result<Name, String> {
        let answer = ask(self.server, name, RecordType::SOA).await?;
        let soa = answer.answers.iter().chain(&answer.authorities).find(|record| record.record_type() == RecordType::SOA);
        let zone = soa.map(|record| record.name.clone()).filter(|zone| zone.zone_of(name));
        zone.ok_or_else(|| format!("{} has no zone for {name} ({})", self.server, answer.metadata.response_code))
    }

    async fn update(&self, mut message: Message) -> Result<(), String> {
        let now_s = self.clock.now().wall.0 / 1_000;
        let verifier =
            message.finalize(&self.signer, now_s).map_err(|error| format!("an update cannot be signed: {error}"))?;
        let octets = message.to_vec().map_err(|error| format!("an update cannot be written: {error}"))?;
        let answer = exchange(self.server, &octets).await?;
        let code = Message::from_vec(&answer).map_err(|error| format!("{}: {error}", self.server))?.metadata.response_code;
        let signed = verifier.map(|mut verifier| verifier.verify(&answer));
        match (code, signed) {
            (ResponseCode::NoError, Some(Ok(_))) => Ok(()),
            (ResponseCode::NoError, _) => Err(format!("{} answered an update without a good signature", self.server)),
            (code, _) => Err(format!("{} refused an update: {code}", self.server)),
        }
    }

    /// The addresses of a zone's name servers, and the update server's own.
    async fn name_servers(&self, zone: &Name) -> Result<Vec<SocketAddr>, String> {
        let answer = ask(self.server, zone, RecordType::NS).await?;
        let mut servers = BTreeSet::from([self.server]);
        for record in answer.answers.iter().take(SERVERS_MAX) {
            let RData::NS(host) = &record.data else { continue };
            let host = host.to_string();
            let found = timeout(EXCHANGE_MAX, lookup_host((host.trim_end_matches('.'), DNS_PORT))).await;
            let found = found.map_err(|_| format!("the name server {host} could not be resolved in time"))?;
            servers.extend(found.map_err(|error| format!("the name server {host}: {error}"))?.take(SERVERS_MAX));
        }
        Ok(servers.into_iter().collect())
    }

    /// Returns once every one of `servers` (those of the zone, if empty) answers with every record.
    ///
    /// # Errors
    /// Which server does not, after `patience`.
    pub(super) async fn served(
        &self,
        planted: &[(Planted, Name)],
        servers: &[SocketAddr],
        patience: Duration,
    ) -> Result<(), String> {
        let mut missing = Vec::new();
        for (planted, zone) in planted {
            let servers = if servers.is_empty() { self.name_servers(zone).await? } else { servers.to_vec() };
            let name = name_of(&planted.name)?;
            missing.extend(servers.into_iter().map(|server| (server, name.clone(), planted.value.clone())));
        }
        let mut why = String::new();
        let waiting = async {
            while let Some((server, name, value)) = missing.last() {
                match serves(*server, name, value).await {
                    Ok(true) => {
                        missing.pop();
                        continue;
                    }
                    Ok(false) => why = format!("{server} does not serve the challenge of {name}"),
                    Err(error) => why = error,
                }
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(patience, waiting).await.map_err(|_| format!("not within {} s: {why}", patience.as_secs()))
    }
}

fn name_of(text: &str) -> Result<Name, String> {
    let mut name = Name::from_str(text).map_err(|error| format!("{text}: {error}"))?;
    name.set_fqdn(true);
    Ok(name)
}

async fn serves(server: SocketAddr, name: &Name, value: &str) -> Result<bool, String> {
    let answer = ask(server, name, RecordType::TXT).await?;
    let holds = |record: &Record| match &record.data {
        RData::TXT(text) => record.name == *name && text.txt_data.concat() == value.as_bytes(),
        _ => false,
    };
    Ok(answer.answers.iter().any(holds))
}

async fn ask(server: SocketAddr, name: &Name, kind: RecordType) -> Result<Message, String> {
    let mut message = Message::query();
    message.add_query(Query::query(name.clone(), kind));
    let octets = message.to_vec().map_err(|error| format!("{name}: {error}"))?;
    let answer = exchange(server, &octets).await?;
    Message::from_vec(&answer).map_err(|error| format!("{server}: {error}"))
}

/// One message each way on a connection of its own.
async fn exchange(server: SocketAddr, octets: &[u8]) -> Result<Vec<u8>, String> {
    let talk = async {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(octets.len()).map_err(std::io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), octets].concat()).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        if answer.get(..2) == octets.get(..2) {
            Ok(answer)
        } else {
            Err(std::io::Error::other("an answer to another question"))
        }
    };
    let answer = timeout(EXCHANGE_MAX, talk).await.map_err(|_| format!("{server} did not answer in time"))?;
    answer.map_err(|error| format!("{server}: {error}"))
}
