//! The executor: from plans to journal records and provider calls, `step(state, event) -> (state, effects)`.
//!
//! An intent is journalled, with the exact request, before the first call; it is settled only by the answer to that request, sent
//! again as it was (same token) as often as it takes; `attempt` rises only after a definite refusal. So a crash between any two
//! effects leaves neither an orphan nor a duplicate: what was on disk is asked for again and the provider, idempotent by token,
//! answers with the same instance. It must never emit a call whose intent is not on disk (DESIGN 4.5).

mod fold;
mod launch;
mod operator;
mod pace;
mod reconcile;
mod settle;
mod shortage;

pub use operator::Order;
pub use pace::Pace;
pub(crate) use reconcile::LISTING_LAG_MS;
pub use shortage::Shortage;

use self::launch::Lost;
use super::blueprint::Blueprint;
use super::observation::{Observation, Plan, Report};
use super::provider::{CallOutcome, Instance, ProviderCall};
use super::record::{Entry, ExecState, IntentState, Record};
use farm_shared::draw::Draws;
use farm_shared::id::Id;
use farm_shared::time::Wall;
use std::collections::BTreeSet;

/// A call that is refused for good so many times is given up; the next plan decides anew.
const ATTEMPTS_MAX: u32 = 4;
/// Calls under way at a time.
const CALLS_MAX: usize = 16;
/// A call that was not answered for so long is taken for lost, and made again. Longer than the shell waits. Milliseconds.
const ANSWER_MS_MAX: u64 = 300_000;
/// Pauses are drawn up to this, which doubles with every failure, in milliseconds.
const RETRY_MS: u64 = 2_000;
const RETRY_MS_MAX: u64 = 60_000;

/// What a step knows beside its state.
#[derive(Clone, Copy, Debug)]
pub struct ExecContext<'a> {
    /// The farm whose tag instances carry.
    pub farm: &'a Id,
    /// What can be launched.
    pub blueprint: &'a dyn Blueprint,
    /// So many launches that were never heard are kept for inspection instead of being terminated.
    pub keep_failed_max: u32,
    /// Nothing new may be begun: what was never sent is given up. What was sent already is settled.
    pub frozen: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecEvent {
    /// A checked plan.
    Plan {
        /// What it was made from, for the journal.
        observation: Box<Observation>,
        /// What to do.
        plan: Plan,
        /// Why.
        report: Report,
        /// What the check took out.
        violations: Vec<String>,
        /// Journal it, and do nothing.
        dry_run: bool,
        /// Ids that members use already.
        taken: BTreeSet<Id>,
    },
    /// A complete list of the farm's instances.
    Listing {
        /// The list.
        list: Vec<Instance>,
        /// Members that are heard: their instances exist, whatever a list says.
        heard: BTreeSet<Id>,
    },
    /// A call was answered.
    Outcome(CallOutcome),
    /// A record is on disk, or could not be written.
    Journalled {
        /// Which.
        seq: u64,
        /// Written.
        ok: bool,
    },
    /// A record that changes nothing here, and keeps its place among the others.
    Note(Box<Entry>),
    /// An operator's order that [`ExecState::refuses`] let through.
    Order {
        /// The order.
        order: Order,
        /// Ids that members use already.
        taken: BTreeSet<Id>,
    },
    /// Time passes: calls may be due.
    Tick,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecEffect {
    /// Append it, and report [`ExecEvent::Journalled`].
    Journal(Box<Record>),
    /// Make the call, and report [`ExecEvent::Outcome`].
    Call(ProviderCall),
}

/// One step.
pub fn step(
    mut state: ExecState,
    event: ExecEvent,
    context: &ExecContext,
    now: Wall,
    draws: &mut Draws,
) -> (ExecState, Vec<ExecEffect>) {
    let mut effects = Vec::new();
    match event {
        ExecEvent::Plan { observation, plan, report, violations, dry_run, taken } => {
            let todo = plan.clone();
            let lost = Lost::of(&observation);
            state.write(Entry::Plan { observation, plan, report, violations, dry_run }, now, &mut effects);
            if !dry_run {
                state.carry_out(&todo, &lost, context, taken, now, &mut effects);
            }
        }
        ExecEvent::Listing { list, heard } => {
            state.reconcile(list, &heard, now, &mut effects);
            state.attach_roles(context, now, &mut effects);
        }
        ExecEvent::Outcome(outcome) => {
            state.settle(outcome, context, now, draws, &mut effects);
            state.attach_roles(context, now, &mut effects);
        }
        ExecEvent::Journalled { seq, ok } => state.journalled(seq, ok, now, &mut effects),
        ExecEvent::Note(entry) => state.write(*entry, now, &mut effects),
        ExecEvent::Order { order, taken } => state.obey(order, context, taken, now, &mut effects),
        ExecEvent::Tick => {}
    }
    state.call_due(context, now, &mut effects);
    (state, effects)
}

impl ExecState {
    /// Journals an entry and applies it at once; what must be on disk before anything follows waits for it.
    fn write(&mut self, entry: Entry, now: Wall, effects: &mut Vec<ExecEffect>) {
        let record = Record { seq: self.seq + 1, wall_ms: now.0, entry };
        self.apply(&record);
        effects.push(ExecEffect::Journal(Box::new(record)));
    }

    /// Journals the intent of a call.
    fn intend(&mut self, call: ProviderCall, now: Wall, effects: &mut Vec<ExecEffect>) {
        self.write(Entry::Intent { call }, now, effects);
    }

    /// Unique even if all state was lost: tokens of another life must not meet.
    fn intent_name(&self, now: Wall) -> String {
        format!("i{}-{}", now.0, self.next_intent + 1)
    }

    fn journalled(&mut self, seq: u64, ok: bool, now: Wall, effects: &mut Vec<ExecEffect>) {
        let Some((name, intent)) = self.intents.iter_mut().find(|(_, i)| i.record == seq) else { return };
        if intent.state != IntentState::Journalling {
            return;
        }
        if ok {
            intent.state = IntentState::Open;
        } else {
            let intent = name.clone();
            self.write(Entry::Abandon { intent, why: "the journal could not be written".into() }, now, effects);
        }
    }

    /// Calls what is due, as far as the pace allows: the least often called first, so that no intent starves the others.
    fn call_due(&mut self, context: &ExecContext, now: Wall, effects: &mut Vec<ExecEffect>) {
        let mut under_way = 0;
        let mut due: Vec<(u32, u64, String)> = Vec::new();
        let mut overtaken: Vec<String> = Vec::new();
        for (name, intent) in &mut self.intents {
            if intent.state == IntentState::Calling && is_due(intent.called_wall_ms, ANSWER_MS_MAX, now) {
                (intent.state, intent.retry_wall_ms, intent.unsure) = (IntentState::Open, 0, true);
            }
            let held = context.frozen && intent.calls == 0;
            match intent.state {
                IntentState::Calling => under_way += 1,
                // What it was decided on may be long past when the freeze ends: the next plan decides anew.
                IntentState::Open if held => overtaken.push(name.clone()),
                IntentState::Open if is_over(intent.retry_wall_ms, 2 * RETRY_MS_MAX, now) => {
                    due.push((intent.calls, intent.record, name.clone()));
                }
                IntentState::Open | IntentState::Journalling => {}
            }
        }
        for intent in overtaken {
            let why = "never sent: the farm was frozen before its turn came".into();
            self.write(Entry::Abandon { intent, why }, now, effects);
        }
        due.sort_unstable();
        for (calls, _, name) in due {
            if under_way >= CALLS_MAX {
                return;
            }
            if !self.pace.take(calls > 0, now) {
                continue;
            }
            let Some(intent) = self.intents.get_mut(&name) else { continue };
            under_way += 1;
            (intent.state, intent.called_wall_ms) = (IntentState::Calling, now.0);
            intent.calls = intent.calls.saturating_add(1);
            effects.push(ExecEffect::Call(intent.call.clone()));
        }
    }
}

/// Whether a time on the wall has come. A clock that was set back must not put it off: it counts as come when it is farther away
/// than it can have been set.
fn is_over(until_wall_ms: u64, ms_max: u64, now: Wall) -> bool {
    until_wall_ms.checked_sub(now.0).is_none_or(|left_ms| left_ms == 0 || left_ms > ms_max)
}

/// Whether so much time has passed since then.
fn is_due(since_wall_ms: u64, ms: u64, now: Wall) -> bool {
    is_over(since_wall_ms.saturating_add(ms), ms, now)
}
