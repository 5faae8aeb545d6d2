//! The keys that sign a zone now, and how long what they sign holds.
//!
//! One value of this goes with a zone's snapshot: whoever signs (the zone ahead of time, a pool's answers, a denial made up on
//! the spot) signs by it and by nothing else, so that all agree. It reads no clock: the time of a signature is an argument.

use std::sync::Arc;

use farm_shared::time::Wall;

use super::canonical::CanonicalSet;
use super::key::{KeyError, SigningKey};
use super::rrsig::{Window, seconds, seconds_between, sign_set};
use crate::name::Name;
use crate::zone::Rtype;

/// Seconds of a year.
const YEAR_S: u32 = 366 * 86_400;

/// How long signatures hold, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From signing to expiry, before jitter is taken off.
    pub lifetime_s: u32,
    /// Most that is taken off the lifetime, by owner and type: signatures of one hour must not expire in one hour.
    pub jitter_s: u32,
    /// A signature with less than this left is made anew.
    pub refresh_s: u32,
    /// How far the inception lies back, for resolvers with clocks that are slow.
    pub backdate_s: u32,
}

impl Default for Validity {
    /// 14 days, 12 hours, 5 days, 1 hour.
    fn default() -> Self {
        Self { lifetime_s: 14 * 86_400, jitter_s: 43_200, refresh_s: 5 * 86_400, backdate_s: 3_600 }
    }
}

impl Validity {
    /// The window of a signature over this set that is made at `wall`.
    pub fn window(&self, owner: &Name, rtype: Rtype, wall: Wall) -> Window {
        let now = seconds(wall);
        let jitter = match self.jitter_s {
            0 => 0,
            jitter_s => (spread(owner, rtype) % u64::from(jitter_s)) as u32,
        };
        Window {
            inception_s: now.wrapping_sub(self.backdate_s),
            expiration_s: now.wrapping_add(self.lifetime_s.saturating_sub(jitter)),
        }
    }

    /// The same for two clocks of which one is right: what is signed by `wall` holds by `other` too, if a year at most lies between.
    pub fn by_both(self, wall: Wall, other: Wall) -> Self {
        let apart_s = u32::try_from(wall.distance_ms(other).div_ceil(1_000)).ok().filter(|apart_s| *apart_s <= YEAR_S);
        let apart_s = apart_s.unwrap_or(0);
        if other > wall {
            Self { lifetime_s: self.lifetime_s.saturating_add(apart_s), ..self }
        } else {
            Self { backdate_s: self.backdate_s.saturating_add(apart_s), ..self }
        }
    }

    /// Whether a signature of `window` may stay as it is at `wall`: it holds, and for longer than the time to refresh.
    /// A window that starts in the future is one of a clock that has been set back since: it is made anew too.
    pub fn is_fresh(&self, window: Window, wall: Wall) -> bool {
        window.contains(wall) && seconds_between(seconds(wall), window.expiration_s) > i64::from(self.refresh_s)
    }
}

/// A number that differs from set to set and never changes (FNV-1a over owner and type).
fn spread(owner: &Name, rtype: Rtype) -> u64 {
    let octets = owner.wire().iter().copied().chain(rtype.0.to_be_bytes());
    octets.fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
}

/// The keys that sign a zone now.
#[derive(Clone, Debug)]
pub struct ActiveKeys {
    /// The zone.
    pub apex: Name,
    /// For DNSKEY, CDS and CDNSKEY sets: KSKs and CSKs.
    pub entry: Vec<Arc<SigningKey>>,
    /// For everything else: ZSKs and CSKs.
    pub zone: Vec<Arc<SigningKey>>,
    /// How long signatures hold.
    pub validity: Validity,
}

impl ActiveKeys {
    /// The keys for sets of a type.
    pub fn signers(&self, rtype: Rtype) -> &[Arc<SigningKey>] {
        match rtype {
            Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY => &self.entry,
            _ => &self.zone,
        }
    }

    /// The window of a signature over this set that is made at `wall`.
    pub fn window(&self, owner: &Name, rtype: Rtype, wall: Wall) -> Window {
        self.validity.window(owner, rtype, wall)
    }

    /// Signs an RRset with every key for its type: the data of as many RRSIG records. The TTL becomes their original TTL.
    ///
    /// # Errors
    /// [`KeyError::Sign`], when the library fails.
    pub fn sign<'a>(
        &self,
        owner: &Name,
        rtype: Rtype,
        ttl_s: u32,
        rdata: impl IntoIterator<Item = &'a [u8]>,
        wall: Wall,
    ) -> Result<Vec<Vec<u8>>, KeyError> {
        let set = CanonicalSet::new(owner, rtype, ttl_s, rdata);
        let window = self.window(owner, rtype, wall);
        self.signers(rtype).iter().map(|key| sign_set(key, &self.apex, &set, window)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dnssec::{Algorithm, Rrsig};
    use proptest::prelude::*;

    const DAY_S: u64 = 86_400;

    #[test]
    fn each_type_has_its_keys() {
        let key = |flags, octet| Arc::new(SigningKey::from_private(Algorithm::Ed25519, flags, &[octet; 32]).unwrap());
        let apex = Name::from_text("example").unwrap();
        let keys = ActiveKeys {
            apex: apex.clone(),
            entry: vec![key(257, 1)],
            zone: vec![key(256, 2)],
            validity: Validity::default(),
        };
        let wall = Wall(1_800_000_000_000);
        for (rtype, flags) in [(Rtype::A, 256), (Rtype::SOA, 256), (Rtype::DNSKEY, 257), (Rtype::CDS, 257)] {
            let rdata = b"octets".as_slice();
            let made = keys.sign(&apex, rtype, 60, [rdata], wall).unwrap();
            assert_eq!(made.len(), 1);
            let rrsig = Rrsig::read(made.first().unwrap()).unwrap();
            let key = keys.signers(rtype).first().unwrap();
            assert_eq!(key.flags(), flags);
            assert_eq!(rrsig.verify(key.dnskey(), &apex, rtype, [rdata], wall), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn a_fresh_signature_stays_and_an_old_one_does_not(label in "[a-z]{1,9}", rtype in 1_u16..300, at_s in 0_u64..1 << 40) {
            let validity = Validity::default();
            let wall = Wall(at_s * 1_000);
            let window = validity.window(&Name::from_text(&label).unwrap(), Rtype(rtype), wall);
            let at = |s: u64| Wall((at_s + s) * 1_000);
            prop_assert!(validity.is_fresh(window, wall));
            prop_assert!(validity.is_fresh(window, at(8 * DAY_S)));
            prop_assert!(!validity.is_fresh(window, at(9 * DAY_S + 1)));
            prop_assert!(window.contains(at(13 * DAY_S)), "there is time to sign anew");
            prop_assert!(!window.contains(at(14 * DAY_S + 1)));
            // The clock is set back by two hours: the inception is in the future of others.
            prop_assert!(at_s < 7_200 || !validity.is_fresh(window, Wall((at_s - 7_200) * 1_000)));
        }
    }
}
