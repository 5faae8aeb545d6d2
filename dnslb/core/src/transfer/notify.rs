//! Whom to tell of a zone's new version, and when to tell again (RFC 1996 section 3).
//!
//! One machine for all zones. A target has one notification under way at most: what changes meanwhile is told once, afterwards.

use crate::config::NotifySpec;
use crate::name::Name;
use farm_shared::draw::Draws;
use farm_shared::time::Mono;
use std::collections::BTreeMap;

/// How often a target is told before it is given up: its refresh timer will do.
const ATTEMPTS_MAX: u32 = 6;

/// Time between the first two attempts, in milliseconds; it doubles from then on.
const RETRY_MS: u64 = 2_000;

/// Something happened.
#[derive(Debug, Clone)]
pub enum NotifyEvent {
    /// Zones with their serials, and whom to tell of them. What is new or newer is told.
    Zones(Vec<(Name, u32, Vec<NotifySpec>)>),
    /// Time passed.
    Tick,
    /// What [`NotifyEffect`] asked for has ended: whether the target has understood.
    Told {
        /// The zone.
        apex: Name,
        /// Whom.
        target: NotifySpec,
        /// Whether it answered.
        understood: bool,
    },
}

/// Tell this target of this zone and bring [`NotifyEvent::Told`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyEffect {
    /// The zone.
    pub apex: Name,
    /// Whom.
    pub target: NotifySpec,
}

#[derive(Debug)]
struct Target {
    /// The serial that it was told, or is to be told.
    serial: u32,
    /// When to tell it; [`Mono::NEVER`] for not at all.
    next: Mono,
    attempts: u32,
    is_running: bool,
    /// There is something newer than what is being told.
    again: bool,
}

/// All targets.
#[derive(Debug)]
pub struct Notifier {
    targets: BTreeMap<(Name, NotifySpec), Target>,
    draws: Draws,
    given_up: u64,
}

impl Notifier {
    /// Without zones.
    pub fn new(draws: Draws) -> Self {
        Self { targets: BTreeMap::new(), draws, given_up: 0 }
    }

    /// Targets that were given up so far.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// When something is due next.
    pub fn next(&self) -> Mono {
        self.targets.values().filter(|target| !target.is_running).map(|target| target.next).min().unwrap_or(Mono::NEVER)
    }

    /// One event.
    pub fn step(&mut self, now: Mono, event: NotifyEvent) -> Vec<NotifyEffect> {
        match event {
            NotifyEvent::Zones(zones) => self.zones(now, zones),
            NotifyEvent::Tick => {}
            NotifyEvent::Told { apex, target, understood } => self.told(now, (apex, target), understood),
        }
        let mut effects = Vec::new();
        for ((apex, spec), target) in &mut self.targets {
            if !target.is_running && target.next <= now {
                target.is_running = true;
                effects.push(NotifyEffect { apex: apex.clone(), target: spec.clone() });
            }
        }
        effects
    }

    fn zones(&mut self, now: Mono, zones: Vec<(Name, u32, Vec<NotifySpec>)>) {
        let mut old = std::mem::take(&mut self.targets);
        for (apex, serial, targets) in zones {
            for spec in targets {
                let key = (apex.clone(), spec);
                let mut target = old.remove(&key).unwrap_or(Target {
                    // Not what it is: so it is told.
                    serial: !serial,
                    next: Mono::NEVER,
                    attempts: 0,
                    is_running: false,
                    again: false,
                });
                if target.serial != serial {
                    (target.serial, target.attempts) = (serial, 0);
                    if target.is_running {
                        target.again = true;
                    } else {
                        target.next = now;
                    }
                }
                self.targets.insert(key, target);
            }
        }
    }

    fn told(&mut self, now: Mono, key: (Name, NotifySpec), understood: bool) {
        let Some(target) = self.targets.get_mut(&key).filter(|target| target.is_running) else { return };
        target.is_running = false;
        if std::mem::take(&mut target.again) {
            target.next = now;
        } else if understood {
            target.next = Mono::NEVER;
        } else {
            target.attempts += 1;
            if target.attempts >= ATTEMPTS_MAX {
                target.next = Mono::NEVER;
                self.given_up += 1;
            } else {
                target.next = now.plus_ms(self.draws.jitter_ms(RETRY_MS << (target.attempts - 1), 0.1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn apex() -> Name {
        Name::from_text("example").unwrap()
    }

    fn spec() -> NotifySpec {
        NotifySpec { addr: "192.0.2.1:53".parse().unwrap(), key: None }
    }

    fn zones(serial: u32) -> NotifyEvent {
        NotifyEvent::Zones(vec![(apex(), serial, vec![spec()])])
    }

    fn told(understood: bool) -> NotifyEvent {
        NotifyEvent::Told { apex: apex(), target: spec(), understood }
    }

    #[test]
    fn each_version_is_told_once() {
        let mut notifier = Notifier::new(Draws::from_u64(1));
        assert_eq!(notifier.step(Mono(0), zones(1)), [NotifyEffect { apex: apex(), target: spec() }]);
        assert_eq!(notifier.step(Mono(1), zones(1)), []);
        assert_eq!(notifier.step(Mono(2), told(true)), []);
        assert_eq!((notifier.next(), notifier.step(Mono(9), zones(1)).len()), (Mono::NEVER, 0));
        assert_eq!(notifier.step(Mono(10), zones(2)).len(), 1);
        assert_eq!(notifier.step(Mono(11), zones(3)).len(), 0, "one at a time");
        assert_eq!(notifier.step(Mono(12), zones(4)).len(), 0);
        assert_eq!(notifier.step(Mono(13), told(true)).len(), 1, "the last one is told");
        assert_eq!(notifier.step(Mono(14), told(true)).len(), 0);
        assert_eq!(notifier.step(Mono(15), NotifyEvent::Zones(vec![])).len(), 0);
        assert_eq!(notifier.step(Mono(16), told(true)).len(), 0);
    }

    #[test]
    fn who_does_not_answer_is_told_again_and_then_given_up() {
        let mut notifier = Notifier::new(Draws::from_u64(1));
        notifier.step(Mono(0), zones(1));
        let (mut now, mut rests) = (Mono(0), Vec::new());
        loop {
            assert_eq!(notifier.step(now, told(false)), []);
            if notifier.next() == Mono::NEVER {
                break;
            }
            rests.push(notifier.next().since_ms(now));
            now = notifier.next();
            assert_eq!(notifier.step(now, NotifyEvent::Tick).len(), 1);
        }
        assert_eq!((rests.len(), notifier.given_up()), (5, 1));
        assert!(rests.windows(2).all(|pair| pair[1] > pair[0]) && rests[0] >= 1_800 && rests[4] <= 36_000, "{rests:?}");
        assert_eq!(notifier.step(now, zones(2)).len(), 1, "the next version is told again");
    }
}
