//! Any sequence of events: the control loop answers each heartbeat once, publishes only what is true, and never panics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::config::Spec;
use crate::scale::{CallOutcome, ErrorKind, Instance, InstanceState, Plain, ProviderCall, ProviderError};
use farm_shared::draw::Draws;
use farm_shared::heartbeat::{FarmKey, Heard, Heartbeat, Kind, Load, Role, State};
use farm_shared::id::Id;
use farm_shared::member::Forced;
use farm_shared::time::{Mono, Now, Wall};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

fn id(number: u8) -> Id {
    Id::new(&format!("b{}", number % 6)).unwrap()
}

fn heartbeat(bits: u64, seq: u64) -> Heartbeat {
    let byte = |at: u32| (bits >> (8 * at)) as u8;
    Heartbeat {
        v: 1,
        farm: Id::new("mail").unwrap(),
        id: id(byte(0)),
        role: if byte(1) % 8 == 0 { Role::Door } else { Role::Backend },
        inc: u64::from(byte(1) % 3) + 1,
        seq: seq.saturating_sub(u64::from(byte(2) % 3)),
        time_ms: 0,
        period_ms: 500 + u64::from(byte(2)),
        addrs: vec![format!("10.0.0.{}", byte(3) % 4 + 1).parse().unwrap()],
        port: 80,
        zone: None,
        state: if byte(4) == 0 { State::Goodbye } else { State::Up },
        drain_by: if byte(4) % 5 == 1 { vec![Id::new("door1").unwrap()] } else { vec![] },
        load: Load {
            queue: f64::from(byte(5)),
            sessions: u32::from(byte(5)),
            limit: (byte(6) % 2 == 0).then_some(u32::from(byte(6))),
            arrivals: bits,
            completions: bits.rotate_left(7),
            ..Load::default()
        },
        heard: vec![Heard {
            id: Id::new("ns1").unwrap(),
            kind: Kind::Dnslb,
            age_ms: u64::from(byte(7)) * 20,
            serves: Some(byte(7) % 2 == 0),
            ttl_left_ms: Some(0),
            doors: Some(u32::from(byte(7))),
            scaler: None,
            room: None,
        }],
        notice: None,
        tombstones: vec![],
        killed: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens(events in prop::collection::vec((0_u8..12, any::<u64>(), 0_u64..3_000), 1..200), seed in any::<u64>()) {
        let mut spec = Spec::new(Id::new("door1").unwrap(), Id::new("mail").unwrap());
        (spec.scaler.enabled, spec.scaler.min, spec.scaler.max, spec.scaler.stabilisation_ms) = (true, 1, 6, 5_000);
        (spec.scaler.dns_ttl_max_ms, spec.scaler.boot_deadline_ms) = (1_000, 20_000);
        let keys = Keys { current: FarmKey::from_hex(&"a".repeat(64)).unwrap(), former: vec![] };
        let mut now = Now { mono: Mono(0), wall: Wall(1_000_000) };
        let spec = Arc::new(spec);
        let mut control = Control::new(Arc::clone(&spec), keys.clone(), Arc::new(Plain), Saved::default(), &[], now, Draws::from_u64(seed));
        let (mut calls, mut records, mut running): (Vec<ProviderCall>, Vec<_>, Vec<Instance>) = (vec![], vec![], vec![]);
        let mut journal = Vec::new();
        for (seq, (kind, bits, pause_ms)) in events.into_iter().enumerate() {
            now = now.plus_ms(pause_ms);
            let mut beats = false;
            let event = match kind {
                0..=4 => {
                    beats = true;
                    Event::Heartbeat { heartbeat: Box::new(heartbeat(bits, seq as u64 + 1)), dispatched: bits as u32 }
                }
                5 => Event::Listing(if bits % 4 == 0 { Err("away".into()) } else { Ok(running.clone()) }),
                6 => Event::Admin { ticket: 1, command: if bits % 2 == 0 { AdminCommand::Clear { id: id(bits as u8) } } else {
                    let forced = [Forced::Up, Forced::Down, Forced::Drain][bits as usize / 2 % 3];
                    AdminCommand::Force { id: id(bits as u8), forced, why: String::new() }
                } },
                7 | 8 if !calls.is_empty() => {
                    let call = calls.remove(0);
                    let result = if bits % 3 == 0 {
                        let kinds = [ErrorKind::Transient, ErrorKind::NoCapacity, ErrorKind::Denied, ErrorKind::Throttled];
                        Err(ProviderError { kind: kinds[bits as usize / 3 % 4], message: String::new() })
                    } else {
                        match &call {
                            ProviderCall::Launch(request) => {
                                let instance = Instance {
member_id: Some(request.member_id.clone()),
intent: Some(request.intent.clone()),
..Instance::new(request.token.clone(), request.farm.clone(), InstanceState::Running, now.wall.0)
};
                                running.push(instance.clone());
                                Ok(Some(instance))
                            }
                            ProviderCall::Terminate(request) => {
                                running.retain(|i| i.instance_id != request.instance_id);
                                Ok(None)
                            }
                            _ => Ok(None),
                        }
                    };
                    Event::Provider(Box::new(CallOutcome { call, result }))
                }
                9 if !records.is_empty() => Event::Journalled { seq: records.remove(0), ok: bits % 5 != 0 },
                _ => Event::Tick { waited: bits % 100, room: None },
            };
            let effects = control.step(now, event);
            let answers = effects.iter().filter(|e| matches!(e, Effect::Reply(_) | Effect::Refused(_))).count();
            prop_assert_eq!(answers, usize::from(beats));
            for effect in effects.into_iter().chain(control.flush(now)) {
                match effect {
                    Effect::Call(call) => calls.push(call),
                    Effect::Journal(record) => {
                        records.push(record.seq);
                        let text = serde_json::to_string(&record).unwrap();
                        let back: crate::scale::Record = serde_json::from_str(&text).unwrap();
                        prop_assert_eq!(&back, &*record);
                        journal.push(back);
                    }
                    Effect::Publish(snapshot) => {
                        let slots: BTreeSet<u32> = snapshot.servers.iter().map(|s| s.slot).collect();
                        prop_assert_eq!(slots.len(), snapshot.servers.len());
                        prop_assert!(snapshot.servers.is_sorted_by(|a, b| a.id < b.id));
                        let true_share = |(at, share): (usize, f64)| {
                            snapshot.servers.get(at).is_some_and(|s| s.takes_new) && share.is_finite() && share > 0.0
                        };
                        prop_assert!(snapshot.table.shares().all(true_share));
                    }
                    _ => {}
                }
            }
            if bits % 37 == 0 {
                let saved = serde_json::from_str(&serde_json::to_string(&control.save()).unwrap()).unwrap();
                control = Control::new(Arc::clone(&spec), keys.clone(), Arc::new(Plain), saved, &journal, now, Draws::from_u64(bits));
                (calls, records) = (vec![], vec![]);
            }
        }
        prop_assert!(serde_json::to_string(&control.status(now)).is_ok());
    }
}
