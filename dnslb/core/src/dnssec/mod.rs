//! DNSSEC: keys, signatures over sets and whole zones, and the schedule by which keys come and go.
//!
//! Pure: private keys are given, times are arguments, files are the shell's. Nothing here answers a query; `respond` attaches
//! what is signed here.

mod active;
mod canonical;
mod changes;
pub mod civil;
mod denial;
mod ds;
mod key;
mod key_file;
mod policy;
mod rrsig;
pub mod schedule;
mod sign_zone;
mod signer;

pub use active::{ActiveKeys, Validity};
pub use canonical::CanonicalSet;
pub use changes::changes_between;
pub use denial::{HASH_LEN, NSEC3PARAM, nsec_rdata, nsec3_hash, nsec3_owner, nsec3_rdata, type_bitmap};
pub use ds::{DigestType, Ds};
pub use key::{Algorithm, Dnskey, FLAG_REVOKE, FLAG_SEP, FLAG_ZONE, KeyError, PRIVATE_LEN, SigningKey};
pub use key_file::{KEY_FILE_LEN_MAX, KeyFile, KeyFileError, KeyTimes, base_name, read_public};
pub use policy::DnssecPolicy;
pub use rrsig::{Bogus, Rrsig, Window, seconds, seconds_between, sign_set};
pub use sign_zone::{Denial, SignZoneError, SignedZone, SigningPlan, sign_zone};
pub use signer::{Counts, Look, SignedStatus, Signer, Task};
