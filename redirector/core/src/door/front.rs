//! The one picture that all workers see, and what each of them keeps beside it.
//!
//! A picture must never change once it is published; what changes between two of them is only the counters beside it.

use super::{Rules, Snapshot};
use crate::limit::Debts;
use crate::room::Waiters;
use crate::route::{FarmDispatched, Picker};
use farm_shared::draw::Draws;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Questions of certificate authorities that are open now: token to key authorization (RFC 8555 8.3).
pub type Challenges = BTreeMap<Box<str>, Box<str>>;

/// Everything that a decision looks at.
#[derive(Clone, Debug)]
pub struct Front {
    /// Rises by one with every publication.
    pub generation: u64,
    /// What the configuration says.
    pub rules: Arc<Rules>,
    /// The farms. A farm keeps its place as long as the process lives, since counters and pickers go by it.
    pub farms: Box<[Arc<Snapshot>]>,
    /// Questions of certificate authorities that are open now.
    pub challenges: Arc<Challenges>,
}

impl Front {
    /// The first picture.
    pub fn new(rules: Arc<Rules>, farms: impl IntoIterator<Item = Arc<Snapshot>>) -> Self {
        Self { generation: 1, rules, farms: farms.into_iter().collect(), challenges: Arc::default() }
    }

    /// The next picture, with another snapshot of a farm.
    #[must_use]
    pub fn with_farm(&self, farm: u16, snapshot: Arc<Snapshot>) -> Self {
        let mut next = Self { generation: self.generation + 1, ..self.clone() };
        if let Some(place) = next.farms.get_mut(usize::from(farm)) {
            *place = snapshot;
        }
        next
    }

    /// The next picture, with other rules.
    #[must_use]
    pub fn with_rules(&self, rules: Arc<Rules>) -> Self {
        Self { generation: self.generation + 1, rules, ..self.clone() }
    }

    /// The next picture, with other open questions.
    #[must_use]
    pub fn with_challenges(&self, challenges: Arc<Challenges>) -> Self {
        Self { generation: self.generation + 1, challenges, ..self.clone() }
    }

    /// A farm's snapshot.
    pub fn farm(&self, farm: u16) -> Option<&Snapshot> {
        self.farms.get(usize::from(farm)).map(AsRef::as_ref)
    }

    /// Places that are free on all servers of a farm, by their reports and what this door has sent since.
    pub fn room(&self, farm: u16, dispatched: &(impl Dispatched + ?Sized)) -> u32 {
        self.farm(farm).map_or(0, |snapshot| snapshot.table.room(&OfFarm(dispatched, farm)))
    }
}

/// New sessions dispatched by this door so far, by farm and slot; see [`FarmDispatched`].
pub trait Dispatched {
    /// The counter of a slot of a farm.
    fn total(&self, farm: u16, slot: u32) -> u32;

    /// Who waits for a farm at this door; none without a waiting room.
    fn waiters(&self, _farm: u16) -> Option<&dyn Waiters> {
        None
    }

    /// What sources owe for their requests; without it nobody owes anything.
    fn debts(&self) -> Option<&Debts> {
        None
    }
}

/// Nothing was dispatched: for tests and for the first picture.
impl Dispatched for () {
    fn total(&self, _farm: u16, _slot: u32) -> u32 {
        0
    }
}

/// The counters of one farm of several.
pub(super) struct OfFarm<'a, D: ?Sized>(pub(super) &'a D, pub(super) u16);

impl<D: Dispatched + ?Sized> FarmDispatched for OfFarm<'_, D> {
    fn total(&self, slot: u32) -> u32 {
        self.0.total(self.1, slot)
    }
}

/// One worker's hands in the tables of all farms.
#[derive(Clone, Debug)]
pub struct Pickers {
    draws: Draws,
    pickers: Vec<Picker>,
}

impl Pickers {
    /// Pickers with draws of their own.
    pub fn new(draws: Draws) -> Self {
        Self { draws, pickers: Vec::new() }
    }

    /// An index into a farm's servers for one new session, or `None` if none takes any.
    ///
    /// It allocates only for a farm that it has not seen, or that is larger than ever before.
    pub(super) fn pick(&mut self, farm: u16, snapshot: &Snapshot, dispatched: &(impl Dispatched + ?Sized)) -> Option<usize> {
        let at = usize::from(farm);
        while self.pickers.len() <= at {
            // The first farm has the stream itself.
            let draws = match self.pickers.len() as u64 {
                0 => self.draws.clone(),
                farm => self.draws.child("farm", farm),
            };
            self.pickers.push(Picker::new(draws));
        }
        self.pickers.get_mut(at)?.pick(&snapshot.table, snapshot.generation, &OfFarm(dispatched, farm))
    }
}
