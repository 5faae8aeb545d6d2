//! What an answer means: settled, the same request again, a new attempt at another offering, or given up.
//!
//! It must never make a new attempt while the fate of the last one is unknown.

use super::super::provider::{CallOutcome, ErrorKind, LaunchRequest, ProviderCall};
use super::super::record::{Entry, ExecState, IntentState};
use super::launch::Wanted;
use super::{ATTEMPTS_MAX, ExecContext, ExecEffect, RETRY_MS, RETRY_MS_MAX};
use farm_shared::draw::Draws;
use farm_shared::time::Wall;

/// Denials, half a minute apart at least, until a launch of unknown fate is given up: longer than any list lags behind.
const DENIALS_MAX: u32 = 8;
/// When there is no capacity, or the token is not taken, it is given up at the second refusal in a row, this much after the first:
/// longer than a request is on its way. Milliseconds.
const HELD_MS: u64 = 100_000;
const REFUSALS_MAX: u32 = 2;

impl ExecState {
    pub(super) fn settle(
        &mut self,
        outcome: CallOutcome,
        context: &ExecContext,
        now: Wall,
        draws: &mut Draws,
        effects: &mut Vec<ExecEffect>,
    ) {
        let name = outcome.call.intent().to_owned();
        // An answer to a request of an earlier attempt, or of another life, changes nothing.
        let known = self.intents.get(&name).filter(|i| i.call == outcome.call && i.state == IntentState::Calling);
        let Some(was_retry) = known.map(|i| i.calls > 1) else { return };
        let kind = match (&outcome.call, &outcome.result) {
            (ProviderCall::Launch(_), Ok(None)) => Some(ErrorKind::Transient),
            (_, Ok(_)) => None,
            (_, Err(error)) => Some(error.kind),
        };
        match kind {
            None => self.pace.succeeded(was_retry),
            Some(ErrorKind::Throttled | ErrorKind::Transient) => self.pace.troubled(),
            Some(_) => {}
        }
        let call = outcome.call.clone();
        self.write(Entry::Outcome { outcome: without_body(outcome) }, now, effects);
        let (Some(kind), Some(intent)) = (kind, self.intents.get_mut(&name)) else { return };
        intent.failures = intent.failures.saturating_add(1);
        intent.state = IntentState::Open;
        if kind == ErrorKind::Transient {
            (intent.unsure, intent.denials) = (true, 0);
        }
        let refused = kind.is_definite() || kind == ErrorKind::NotFound;
        let held = intent.unsure && refused && matches!(call, ProviderCall::Launch(_));
        let pause_ms = match kind {
            ErrorKind::NoCapacity | ErrorKind::Mismatch if held => HELD_MS,
            // Time must pass.
            ErrorKind::NotFound if held => pause_ms(ErrorKind::Denied, intent.failures, draws),
            kind => pause_ms(kind, intent.failures, draws),
        };
        intent.retry_wall_ms = now.0.saturating_add(pause_ms);
        let failures = intent.failures;
        intent.denials += u32::from(held);
        let denials = intent.denials;
        let gives_up = match (&call, kind) {
            // A refusal says nothing about the request before, and that one may have launched, or launch yet: no new attempt. Given
            // up at last, its instance is found by its tag.
            (ProviderCall::Launch(_), ErrorKind::Denied | ErrorKind::NotFound) if held => denials >= DENIALS_MAX,
            (ProviderCall::Launch(_), _) if held => denials >= REFUSALS_MAX,
            (ProviderCall::Launch(request), kind) if refused => {
                return self.refused(request, kind, context, now, effects);
            }
            // Not found is not gone: the listing tells that, and until then the termination is asked for again.
            (ProviderCall::Launch(_) | ProviderCall::Terminate(_), _) | (_, ErrorKind::Throttled) => false,
            // Sent again it would be a second restart; an operator may order one.
            (ProviderCall::Reboot(_), _) | (_, ErrorKind::NoCapacity) | (ProviderCall::Stop(_), ErrorKind::Denied) => true,
            (_, ErrorKind::Transient) => false,
            _ => failures >= ATTEMPTS_MAX,
        };
        if gives_up {
            self.abandon(name, kind, failures, now, effects);
        }
    }

    fn abandon(&mut self, intent: String, kind: ErrorKind, failures: u32, now: Wall, effects: &mut Vec<ExecEffect>) {
        let why = format!("refused {failures} times, last: {}", kind.label());
        self.write(Entry::Abandon { intent, why }, now, effects);
    }

    /// It is certain that nothing was launched: a new attempt, at what the provider still has.
    fn refused(
        &mut self,
        request: &LaunchRequest,
        kind: ErrorKind,
        context: &ExecContext,
        now: Wall,
        effects: &mut Vec<ExecEffect>,
    ) {
        let choices = context.blueprint.offerings(request.role.as_ref()).len() as u32;
        if request.attempt >= ATTEMPTS_MAX.max(choices.saturating_add(1)) {
            self.abandon(request.intent.clone(), kind, request.attempt, now, effects);
            return;
        }
        let wanted = Wanted {
            intent: request.intent.clone(),
            attempt: request.attempt + 1,
            member_id: request.member_id.clone(),
            role: request.role.clone(),
        };
        match self.request(&wanted, context, now) {
            Ok(next) => {
                let waits = matches!(kind, ErrorKind::Denied | ErrorKind::NotFound);
                if let Some(intent) = self.intents.get_mut(&request.intent).filter(|_| !waits) {
                    intent.retry_wall_ms = 0;
                }
                self.intend(ProviderCall::Launch(next), now, effects);
            }
            Err(why) => {
                self.problem = Some(why.clone());
                self.write(Entry::Abandon { intent: request.intent.clone(), why }, now, effects);
            }
        }
    }
}

/// Doubles with every failure, full jitter, so that retries of many do not meet.
fn pause_ms(kind: ErrorKind, failures: u32, draws: &mut Draws) -> u64 {
    if kind == ErrorKind::Denied {
        return draws.jitter_ms(RETRY_MS_MAX, 0.5);
    }
    let most_ms = (RETRY_MS << failures.min(16)).min(RETRY_MS_MAX);
    // A pause of nothing is no pause.
    draws.below(most_ms as usize) as u64 + 1
}

fn without_body(mut outcome: CallOutcome) -> CallOutcome {
    if let ProviderCall::Launch(request) = &mut outcome.call {
        request.body.clear();
    }
    outcome
}
