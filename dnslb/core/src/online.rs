//! Signatures made while a question waits: denials about names that zones signed ahead of time cannot know, because pools and
//! members are laid over them.
//!
//! A flood of random names must not turn into signing: every thread signs so many times a second and no more, with an account of
//! its own for names that exist, of which there are only so many, and one for names that clients make up. What was signed
//! is kept by the SHA-256 of the signed octets, so nothing that is kept can be wrong and nothing needs to be invalidated. No lock
//! is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aws_lc_rs::digest::{SHA256, digest};
use farm_shared::time::Mono;

use crate::dnssec::SigningKey;

/// Octets of a signature of P-256 or Ed25519 (RFC 6605 section 4, RFC 8080 section 4).
pub(crate) const SIGNATURE_LEN: usize = 64;

/// Signatures that one thread keeps for each kind of name: 96 octets each, so 96 KiB.
const KEPT: usize = 1_024;

/// How much of an account may be spent at once, in microseconds of its income.
const BURST_US: u64 = 250_000;

/// Whose names a signature is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Names that exist: as many signatures as there are names and hours.
    Present,
    /// Names that a client made up.
    Absent,
}

/// There is no signature: the account is empty, or the library failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// An account of signatures, which may be shared by connections: time until which it is spent, in microseconds.
#[derive(Debug, Default)]
struct Account(AtomicU64);

impl Account {
    /// Takes one signature out if it has any left at `now`.
    fn take(&self, now: Mono, per_s: u32) -> bool {
        let Some(cost_us) = 1_000_000_u64.checked_div(u64::from(per_s)) else { return false };
        let now_us = now.0.saturating_mul(1_000);
        let take = |spent_until: u64| {
            let until = spent_until.max(now_us).saturating_add(cost_us);
            (until - now_us <= BURST_US.max(cost_us)).then_some(until)
        };
        self.0.fetch_update(Relaxed, Relaxed, take).is_ok()
    }
}

/// The accounts of one thread, or of all connections of one.
#[derive(Debug, Default)]
pub struct Accounts {
    present: Account,
    absent: Account,
    made: AtomicU64,
    refused: AtomicU64,
}

impl Accounts {
    /// Signatures made so far.
    pub fn made(&self) -> u64 {
        self.made.load(Relaxed)
    }

    /// Signatures refused so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    fn take(&self, kind: Kind, now: Mono, per_s: u32) -> bool {
        let account = match kind {
            Kind::Present => &self.present,
            Kind::Absent => &self.absent,
        };
        account.take(now, per_s)
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    digest: [u8; 32],
    signature: [u8; SIGNATURE_LEN],
}

/// What one answering thread or connection signs with.
#[derive(Debug)]
pub struct OnlineSigner {
    accounts: Arc<Accounts>,
    /// By kind; empty for a signer that keeps nothing.
    kept: [Vec<Entry>; 2],
    /// Whole records that wait for the authority section, and their number.
    pub(crate) pending: Vec<u8>,
    pub(crate) pending_count: u16,
}

impl OnlineSigner {
    /// A signer that keeps what it signed: for a thread that lives long.
    pub fn keeping(accounts: Arc<Accounts>) -> Self {
        let entry = Entry { digest: [0; 32], signature: [0; SIGNATURE_LEN] };
        let kept = || vec![entry; KEPT];
        Self { kept: [kept(), kept()], ..Self::passing(accounts) }
    }

    /// A signer that keeps nothing: for a connection.
    pub fn passing(accounts: Arc<Accounts>) -> Self {
        Self { accounts, kept: [Vec::new(), Vec::new()], pending: Vec::new(), pending_count: 0 }
    }

    /// Forgets the records that wait.
    pub(crate) fn forget(&mut self) {
        self.pending.clear();
        self.pending_count = 0;
    }

    /// The signature over `octets`, made at most `per_s` times a second for each kind.
    pub(crate) fn sign(
        &mut self,
        key: &SigningKey,
        octets: &[u8],
        kind: Kind,
        now: Mono,
        per_s: u32,
    ) -> Result<[u8; SIGNATURE_LEN], Refused> {
        let kept = &mut self.kept[kind as usize];
        let mut digest_of: [u8; 32] = [0; 32];
        if !kept.is_empty() {
            digest_of = digest(&SHA256, octets).as_ref().first_chunk().copied().unwrap_or_default();
        }
        let place = u64::from_le_bytes(*digest_of.first_chunk().unwrap_or(&[0; 8])) as usize % kept.len().max(1);
        if let Some(entry) = kept.get(place).filter(|entry| entry.digest == digest_of) {
            return Ok(entry.signature);
        }
        if !self.accounts.take(kind, now, per_s) {
            self.accounts.refused.fetch_add(1, Relaxed);
            return Err(Refused);
        }
        self.accounts.made.fetch_add(1, Relaxed);
        let signature = key.sign(octets).map_err(|_| Refused)?;
        let signature: [u8; SIGNATURE_LEN] = signature.try_into().map_err(|_| Refused)?;
        if let Some(entry) = kept.get_mut(place) {
            *entry = Entry { digest: digest_of, signature };
        }
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dnssec::Algorithm;

    fn key() -> SigningKey {
        SigningKey::from_private(Algorithm::EcdsaP256Sha256, 257, &[7; 32]).unwrap()
    }

    #[test]
    fn what_was_signed_costs_nothing_again() {
        let accounts = Arc::new(Accounts::default());
        let mut signer = OnlineSigner::keeping(Arc::clone(&accounts));
        let key = key();
        let first = signer.sign(&key, b"one", Kind::Present, Mono(5), 1).unwrap();
        for _ in 0..100 {
            assert_eq!(signer.sign(&key, b"one", Kind::Present, Mono(5), 1), Ok(first));
        }
        assert_eq!((accounts.made(), accounts.refused()), (1, 0));
        assert_eq!(signer.sign(&key, b"two", Kind::Present, Mono(5), 1), Err(Refused));
        assert!(signer.sign(&key, b"two", Kind::Absent, Mono(5), 1).is_ok(), "an account of its own");
        assert!(signer.sign(&key, b"two", Kind::Present, Mono(1_005), 1).is_ok(), "a second later");
    }

    #[test]
    fn an_account_gives_what_it_gets() {
        let account = Account::default();
        let granted = (0..100_000_u64).filter(|at| account.take(Mono(at / 10), 200)).count();
        // Ten seconds of 200, and a quarter of a second's at the start.
        assert!((2_000..=2_051).contains(&granted), "{granted}");
        assert!(!Account::default().take(Mono(0), 0), "no income, no signature");
    }

    #[test]
    fn connections_share_an_account() {
        let accounts = Arc::new(Accounts::default());
        let key = key();
        let signed = (0..500_u32).filter(|number| {
            let mut signer = OnlineSigner::passing(Arc::clone(&accounts));
            signer.sign(&key, &number.to_be_bytes(), Kind::Absent, Mono(9), 100).is_ok()
        });
        assert_eq!(signed.count(), 25);
        assert_eq!((accounts.made(), accounts.refused()), (25, 475));
    }
}
