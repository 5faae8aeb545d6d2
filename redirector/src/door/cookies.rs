//! Affinity cookies that were made in the same second: a farm under load gets many new sessions for each backend in each second, and
//! their cookies are the same.
//!
//! A cookie from here must never differ from what [`Snapshot::set_cookie`] gives.

use farm_shared::time::Now;
use hyper::header::HeaderValue;
use redirector_core::door::Snapshot;

/// What one worker made, by farm, and by whether it is for HTTPS.
#[derive(Debug, Default)]
pub(super) struct Cookies(Vec<OfFarm>);

#[derive(Debug, Default)]
struct OfFarm {
    /// Of the keys that all were made with.
    mark: [u8; 16],
    /// By slot: the second, in wall time, and the header's value.
    made: Vec<Option<(u64, HeaderValue)>>,
}

impl Cookies {
    /// The value of `Set-Cookie` for the backend at a slot.
    pub(super) fn get(&mut self, farm: u16, snapshot: &Snapshot, slot: u32, secure: bool, now: Now) -> Option<HeaderValue> {
        let at = 2 * usize::from(farm) + usize::from(secure);
        if at >= self.0.len() {
            self.0.resize_with(at + 1, OfFarm::default);
        }
        self.0.get_mut(at)?.get(snapshot, slot, secure, now)
    }
}

impl OfFarm {
    fn get(&mut self, snapshot: &Snapshot, slot: u32, secure: bool, now: Now) -> Option<HeaderValue> {
        let id = snapshot.server_at(slot)?.id.as_str();
        let second = now.wall.0 / 1_000;
        if self.mark != snapshot.cookies.mark() {
            self.made.clear();
            self.mark = snapshot.cookies.mark();
        }
        let at = slot as usize;
        // A slot may have another backend by now.
        if let Some(Some((made, value))) = self.made.get(at)
            && *made == second
            && snapshot.cookies.is_for(value.as_bytes(), id)
        {
            return Some(value.clone());
        }
        let value = HeaderValue::try_from(snapshot.set_cookie(slot, secure, now)?).ok()?;
        if at >= self.made.len() {
            self.made.resize(at + 1, None);
        }
        if let Some(place) = self.made.get_mut(at) {
            *place = Some((second, value.clone()));
        }
        Some(value)
    }
}
