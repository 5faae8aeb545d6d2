//! Signing: requests, answers, and streams of answers.
//!
//! A [`Signer`] remembers the last MAC of its exchange, so it signs each message once and in the order in which they are sent.

use super::FUDGE_S;
use super::check::Checker;
use super::key::TsigKey;
use super::record::{Variables, append};
use crate::message::Header;
use farm_shared::time::Wall;
use std::sync::Arc;

/// Signs the messages of one party in one exchange.
#[derive(Debug, Clone)]
pub struct Signer {
    key: Arc<TsigKey>,
    /// The MAC before: of the request, then of the last message. None before a request.
    mac: Option<Vec<u8>>,
    /// Whether the next message is not the first of its stream.
    later: bool,
}

impl Signer {
    /// For the answers to a request with this MAC.
    pub(super) fn answers(key: Arc<TsigKey>, request_mac: &[u8]) -> Self {
        Self { key, mac: Some(request_mac.to_vec()), later: false }
    }

    /// The key.
    pub fn key(&self) -> &Arc<TsigKey> {
        &self.key
    }

    /// Signs a request: appends the record, and gives what checks the answers.
    pub fn request(key: Arc<TsigKey>, message: &mut Vec<u8>, now: Wall) -> Checker {
        let mut signer = Self { key, mac: None, later: false };
        signer.sign(message, now);
        Checker::new(signer.key, signer.mac.unwrap_or_default())
    }

    /// Signs the next message: appends the record.
    pub fn sign(&mut self, message: &mut Vec<u8>, now: Wall) {
        self.sign_with(message, Variables { time_s: now.0 / 1_000, fudge_s: FUDGE_S, error: 0, other: &[] });
    }

    pub(super) fn sign_with(&mut self, message: &mut Vec<u8>, variables: Variables<'_>) {
        self.sign_after(&[], message, variables);
    }

    /// Signs a message, and with it the octets of those that went before it without a signature. We leave none out ourselves.
    pub(super) fn sign_after(&mut self, unsigned: &[u8], message: &mut Vec<u8>, variables: Variables<'_>) {
        let mut context = self.key.context();
        if let Some(mac) = &self.mac {
            context.update(&(mac.len() as u16).to_be_bytes());
            context.update(mac);
        }
        context.update(unsigned);
        context.update(message);
        if self.later {
            variables.digest_timers(&mut context);
        } else {
            variables.digest(&mut context, &self.key);
        }
        let tag = context.sign();
        let id = Header::read(message).map_or(0, |header| header.id);
        append(message, self.key.name(), self.key.algorithm().wire(), variables, id, tag.as_ref());
        self.later = self.mac.is_some();
        self.mac = Some(tag.as_ref().to_vec());
    }
}
