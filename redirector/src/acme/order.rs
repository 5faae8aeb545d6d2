//! One attempt at a certificate, from the account to the file: what is asked of the authority, and what is put into zones.
//!
//! Whatever a crash must not lose is in the ledger, and on the disk, before the step that it is about. It must never leave a record in
//! a zone that the ledger does not know.

use super::client::{Carrier, Said};
use super::dns::Updates;
use super::files::{Files, certificate_name, facts_of};
use crate::door::Door;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use farm_daemon::clock::Clock;
use farm_shared::hex;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use redirector_core::acme::{Effect, Event, Facts, Failure, FailureKind, Machine, Planted, Stage};
use redirector_core::config::{AcmeSpec, ChallengeKind, OrderSpec};
use redirector_core::door::Challenges;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

const POLLS: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.5).timeout(Duration::from_mins(2));

/// What an attempt is made with.
pub(super) struct Tools<'a> {
    pub(super) spec: &'a AcmeSpec,
    pub(super) certificate: &'a OrderSpec,
    pub(super) files: &'a Files,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) said: &'a Arc<Said>,
    /// Where answers to http-01 are shown.
    pub(super) door: &'a Door,
    /// None if no way to put records into zones is configured.
    pub(super) updates: Option<&'a Updates>,
    pub(super) clock: Clock,
}

/// What an attempt is to do.
pub(super) struct Job {
    pub(super) stage: Stage,
    pub(super) resume: Option<String>,
    pub(super) replaces: Option<String>,
}

/// Tells the machine what happened, and has it on the disk before it returns.
pub(super) async fn note(tools: &Tools<'_>, machine: &mut Machine, event: Event) -> Result<(), Failure> {
    let effects = machine.step(tools.clock.now(), event);
    if effects.contains(&Effect::Persist) { persist(tools.files, &tools.certificate.id, machine).await } else { Ok(()) }
}

/// Writes the machine's state.
pub(super) async fn persist(files: &Files, id: &farm_shared::id::Id, machine: &Machine) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(machine.state()).map_err(|error| local(error.to_string()))?;
    files.write(format!("acme-{id}.json"), bytes).await.map_err(local)
}

pub(super) fn local(message: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::Local, retry_after_ms: None, message: message.into() }
}

fn refused(message: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::Refused, retry_after_ms: None, message: message.into() }
}

/// What an error of the client library costs.
fn failure(said: &Said, error: Error) -> Failure {
    let kind = match &error {
        _ if said.too_many() => FailureKind::RateLimited,
        Error::Api(problem) => {
            let kind = problem.r#type.as_deref().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default();
            match kind {
                "rateLimited" => FailureKind::RateLimited,
                "badNonce" | "serverInternal" | "accountDoesNotExist" => FailureKind::Local,
                _ if problem.status.is_some_and(|status| status >= 500) => FailureKind::Local,
                _ => FailureKind::Refused,
            }
        }
        _ => FailureKind::Local,
    };
    Failure { kind, retry_after_ms: said.retry_after_ms(), message: error.to_string() }
}

/// Gets a certificate. The file has it when this returns, unless it was a rehearsal.
pub(super) async fn attempt(tools: &Tools<'_>, machine: &mut Machine, job: &Job) -> Result<Facts, Failure> {
    tools.said.forget();
    let outcome = get(tools, machine, job).await;
    show(tools.door, Challenges::new());
    for planted in machine.state().planted.clone() {
        pull(tools, machine, &planted).await;
    }
    outcome
}

/// What the front door answers below `/.well-known/acme-challenge/` from now on.
fn show(door: &Door, challenges: Challenges) {
    let challenges = Arc::new(challenges);
    if *door.front.load().challenges != *challenges {
        door.front.rcu(|front| front.with_challenges(Arc::clone(&challenges)));
    }
}

/// Removes a record; one that stays is tried again later.
pub(super) async fn pull(tools: &Tools<'_>, machine: &mut Machine, planted: &Planted) {
    let Some(updates) = tools.updates else { return };
    match updates.remove(planted).await {
        Ok(()) => {
            if let Err(failure) = note(tools, machine, Event::Pulled(planted.clone())).await {
                tracing::warn!(why = failure.message, "a removed challenge record is not crossed off");
            }
        }
        Err(why) => tracing::warn!(name = planted.name, why, "a challenge record could not be removed"),
    }
}

async fn get(tools: &Tools<'_>, machine: &mut Machine, job: &Job) -> Result<Facts, Failure> {
    let failed = |error: Error| failure(tools.said, error);
    let (account, account_file) = account(tools, job.stage).await?;
    let outcome = match &job.resume {
        Some(url) => account.order(url.clone()).await.map_err(failed),
        None => new_order(tools, &account, job).await,
    };
    let mut order = match outcome {
        Ok(order) => order,
        Err(failure) => {
            if failure.message.contains("accountDoesNotExist") {
                // The next attempt makes another one.
                tools.files.remove(account_file).await;
                return Err(refused(failure.message));
            }
            return Err(failure);
        }
    };
    let url = order.url().to_owned();
    note(tools, machine, Event::Ordered { url: url.clone() }).await?;
    let mut status = order.state().status;
    if status == OrderStatus::Pending {
        prove(tools, machine, &mut order, account.key_thumbprint()).await?;
        status = match order.poll_ready(&POLLS).await {
            Ok(status) => status,
            Err(Error::Timeout(_)) => return Err(local("the authority does not come to an end with its validation")),
            Err(error) => return Err(failed(error)),
        };
        if status == OrderStatus::Ready {
            note(tools, machine, Event::Validated).await?;
        }
    }
    if status == OrderStatus::Invalid {
        return Err(refused(explain(&account, url).await));
    }
    let key = order_key(tools).await?;
    if status == OrderStatus::Ready {
        let mut params =
            CertificateParams::new(tools.certificate.names.clone()).map_err(|error| refused(error.to_string()))?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(|error| refused(error.to_string()))?;
        order.finalize_csr(request.der()).await.map_err(failed)?;
    }
    let chain = order.poll_certificate(&POLLS).await.map_err(failed)?;
    let facts = check(tools, &chain, &key)?;
    if job.stage == Stage::Real {
        let text = key.serialize_pem() + &chain;
        tools.files.write(certificate_name(&tools.certificate.id), text.into_bytes()).await.map_err(local)?;
    }
    Ok(facts)
}

/// What came must fit our key, name what was ordered and be valid.
fn check(tools: &Tools<'_>, chain: &str, key: &KeyPair) -> Result<Facts, Failure> {
    let facts = facts_of(chain.as_bytes()).map_err(refused)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let certificates = certificates.map_err(|error| refused(error.to_string()))?;
    let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(|why| refused(why.to_owned()))?;
    CertifiedKey::from_der(certificates, der, &default_provider())
        .map_err(|error| refused(format!("the certificate that came does not fit its key: {error}")))?;
    if facts.names != tools.certificate.names {
        return Err(refused(format!("the certificate that came is for {}", facts.names.join(", "))));
    }
    if facts.not_after_ms <= tools.clock.now().wall.0 {
        return Err(refused("the certificate that came is out of date, or the clock here is wrong"));
    }
    Ok(facts)
}

/// The file of the account at a directory.
pub(super) fn account_file(directory: &str) -> String {
    let mark = hex::encode(digest(&SHA256, directory.as_bytes()).as_ref());
    format!("acme-account-{}.json", mark.get(..16).unwrap_or_default())
}

/// The account at a directory; one is made if there is none.
async fn account(tools: &Tools<'_>, stage: Stage) -> Result<(Account, String), Failure> {
    let failed = |error: Error| failure(tools.said, error);
    let directory = match (stage, &tools.spec.rehearsal) {
        (Stage::Rehearsal, Some(rehearsal)) => rehearsal,
        _ => &tools.spec.directory,
    };
    let file = account_file(directory);
    let builder = || Account::builder_with_http(Box::new(Carrier::new(Arc::clone(&tools.tls), Arc::clone(tools.said))));
    if let Some(bytes) = tools.files.read(file.clone()).await.map_err(local)? {
        match serde_json::from_slice::<AccountCredentials>(&bytes) {
            Ok(credentials) => return Ok((builder().from_credentials(credentials).await.map_err(failed)?, file)),
            Err(error) => tracing::error!(%error, "{file} cannot be understood: another account is made"),
        }
    }
    let contact: Vec<&str> = tools.spec.contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) = builder().create(&new, directory.clone(), None).await.map_err(failed)?;
    let bytes = serde_json::to_vec(&credentials).map_err(|error| local(error.to_string()))?;
    tools.files.write(file.clone(), bytes).await.map_err(local)?;
    tracing::info!(directory, "an account was made");
    Ok((account, file))
}

async fn new_order(tools: &Tools<'_>, account: &Account, job: &Job) -> Result<Order, Failure> {
    let names: Vec<Identifier> = tools.certificate.names.iter().cloned().map(Identifier::Dns).collect();
    // A key of its own for each order; on the disk, since the authority may sign it while we are away.
    let key = KeyPair::generate().map_err(|error| local(error.to_string()))?;
    let file = format!("acme-{}.key", tools.certificate.id);
    tools.files.write(file, key.serialize_pem().into_bytes()).await.map_err(local)?;
    let replaces = job.replaces.as_deref().and_then(|id| id.split_once('.'));
    if let Some((authority, serial)) = replaces {
        let id = CertificateIdentifier {
            authority_key_identifier: Cow::Owned(authority.to_owned()),
            serial: Cow::Owned(serial.to_owned()),
        };
        match account.new_order(&NewOrder::new(&names).replaces(id)).await {
            Err(Error::Unsupported(_)) => {}
            outcome => return outcome.map_err(|error| failure(tools.said, error)),
        }
    }
    account.new_order(&NewOrder::new(&names)).await.map_err(|error| failure(tools.said, error))
}

async fn order_key(tools: &Tools<'_>) -> Result<KeyPair, Failure> {
    let file = format!("acme-{}.key", tools.certificate.id);
    let bytes = tools.files.read(file).await.map_err(local)?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let key = text.and_then(|text| KeyPair::from_pem(&text).ok());
    key.ok_or_else(|| refused("the key of the order under way is gone"))
}

/// One name that is to be proved.
struct Proof {
    kind: ChallengeKind,
    name: String,
    token: String,
    answer: String,
    http_token: Option<String>,
}

/// Puts up all answers, waits until every name server has them, and tells the authority to look.
async fn prove(tools: &Tools<'_>, machine: &mut Machine, order: &mut Order, thumbprint: &str) -> Result<(), Failure> {
    let failed = |error: Error| failure(tools.said, error);
    let mut proofs = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let authorization = authorization.map_err(failed)?;
        let Identifier::Dns(name) = authorization.identifier().identifier.clone() else { continue };
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            other => return Err(refused(format!("the authorization of {name} is {other:?}"))),
        }
        let token =
            |kind: ChallengeType| authorization.challenges.iter().find(|c| c.r#type == kind).map(|c| c.token.clone());
        let (dns, http) = (token(ChallengeType::Dns01), token(ChallengeType::Http01));
        let offered = |kind: &&ChallengeKind| match kind {
            ChallengeKind::Dns01 => dns.is_some(),
            ChallengeKind::Http01 => http.is_some(),
        };
        let Some(kind) = tools.spec.challenges.iter().find(offered).copied() else {
            return Err(refused(format!("the authority offers no challenge for {name} that is allowed here")));
        };
        let http_token = http.filter(|_| tools.spec.challenges.contains(&ChallengeKind::Http01));
        let token = if kind == ChallengeKind::Dns01 { dns } else { http_token.clone() }.unwrap_or_default();
        let answer = format!("{token}.{thumbprint}");
        proofs.push(Proof { kind, name, token, answer, http_token });
    }
    if let Err(why) = plant(tools, machine, &proofs).await? {
        // Without records in the zone, what is no wildcard can still be proved by a file.
        for proof in proofs.iter_mut().filter(|proof| proof.kind == ChallengeKind::Dns01) {
            let Some(token) = proof.http_token.clone() else { return Err(local(why)) };
            proof.answer = format!("{token}.{thumbprint}");
            (proof.kind, proof.token) = (ChallengeKind::Http01, token);
        }
        tracing::warn!(why, "falling back to http-01");
    }
    let shown = proofs.iter().filter(|proof| proof.kind == ChallengeKind::Http01);
    show(tools.door, shown.map(|proof| (proof.token.as_str().into(), proof.answer.as_str().into())).collect());
    note(tools, machine, Event::Validating).await?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(failed)?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let has = |proof: &&Proof| authorization.challenges.iter().any(|challenge| challenge.token == proof.token);
        let Some(proof) = proofs.iter().find(|p| has(p) && challenge_is(&authorization, p)) else { continue };
        let kind = match proof.kind {
            ChallengeKind::Dns01 => ChallengeType::Dns01,
            ChallengeKind::Http01 => ChallengeType::Http01,
        };
        if let Some(mut challenge) = authorization.challenge(kind) {
            challenge.set_ready().await.map_err(failed)?;
        }
    }
    Ok(())
}

/// Whether an authorization is the one that a proof is for: tokens are unique to a challenge, or to an authorization, by authority.
fn challenge_is(authorization: &instant_acme::AuthorizationState, proof: &Proof) -> bool {
    matches!(authorization.identifier().identifier, Identifier::Dns(name) if *name == proof.name)
}

/// Adds all records and waits for all name servers. The inner error is why that cannot be had.
async fn plant(tools: &Tools<'_>, machine: &mut Machine, proofs: &[Proof]) -> Result<Result<(), String>, Failure> {
    let mut planted = Vec::new();
    for proof in proofs.iter().filter(|proof| proof.kind == ChallengeKind::Dns01) {
        let Some(updates) = tools.updates else { return Ok(Err("no name server takes our updates".to_owned())) };
        let value = URL_SAFE_NO_PAD.encode(digest(&SHA256, proof.answer.as_bytes()));
        let record = Planted { name: format!("_acme-challenge.{}", proof.name), value };
        note(tools, machine, Event::Planting(record.clone())).await?;
        match updates.add(&record).await {
            Ok(zone) => planted.push((record, zone)),
            Err(why) => return Ok(Err(why)),
        }
    }
    match tools.updates.filter(|_| !planted.is_empty()) {
        Some(updates) => {
            let patience = Duration::from_millis(tools.spec.propagation_ms);
            Ok(updates.served(&planted, &tools.spec.servers, patience).await)
        }
        None => Ok(Ok(())),
    }
}

/// What the authority did not like, in its own words.
async fn explain(account: &Account, url: String) -> String {
    let mut words = vec!["the authority could not prove the names".to_owned()];
    if let Ok(mut order) = account.order(url).await {
        let mut authorizations = order.authorizations();
        while let Some(Ok(authorization)) = authorizations.next().await {
            let name = authorization.identifier().to_string();
            let errors = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            words.extend(errors.map(|problem| format!("{name}: {problem}")));
        }
    }
    words.join("; ")
}
