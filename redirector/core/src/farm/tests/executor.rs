//! The executor behind the control loop: operators' orders, strangers, late and failing instances, outages.

use super::*;
use crate::scale::{AttachRequest, Blueprint, Entry, ExecState, LaunchRequest, Offering, Record, ServerState};

fn order(bench: &mut Bench, command: AdminCommand) -> Result<String, String> {
    let effects = bench.step(Event::Admin { ticket: 1, command });
    let answer = effects.into_iter().find_map(|e| match e {
        Effect::Answer { result, .. } => Some(result),
        _ => None,
    });
    answer.unwrap()
}

fn on(verb: InstanceVerb, target: &str, force: bool) -> AdminCommand {
    AdminCommand::Instance { verb, target: target.into(), force }
}

fn launch(count: u32) -> AdminCommand {
    AdminCommand::Launch { role: None, count }
}

fn list(bench: &mut Bench) {
    bench.step(Event::Listing(Ok(bench.instances.values().cloned().collect())));
}

#[test]
fn operators_orders_are_carried_out_or_explained() {
    let mut spec = scaling();
    spec.scaler.enabled = false;
    let mut bench = Bench::new(spec);
    assert!(order(&mut bench, launch(1)).unwrap_err().contains("not listed its instances yet"));
    list(&mut bench);
    assert!(order(&mut bench, launch(6)).unwrap_err().contains("the maximum is 5"));
    assert!(order(&mut bench, launch(0)).unwrap_err().contains("expected 1 to"));
    let role = AdminCommand::Launch { role: Some(id("web-1")), count: 1 };
    assert!(order(&mut bench, role).unwrap_err().contains("no role web-1"));
    assert_eq!(order(&mut bench, launch(2)).unwrap(), "an operator's order is journalled: launch 2 servers (2 calls)");
    bench.live(20);
    assert_eq!((bench.launches, bench.taking().len()), (2, 2));
    let live = order(&mut bench, on(InstanceVerb::Stop, "b1", false)).unwrap_err();
    assert_eq!(live, "b1 takes sessions; drain it first, or force it");
    assert!(order(&mut bench, on(InstanceVerb::Start, "b1", false)).unwrap_err().contains("is running, not stopped"));
    assert!(order(&mut bench, on(InstanceVerb::Reboot, "b9", true)).unwrap_err().contains("no instance and no member"));
    order(&mut bench, on(InstanceVerb::Stop, "b1", true)).unwrap();
    bench.live(70);
    assert_eq!((bench.taking(), bench.others.clone()), (vec!["b2"], vec!["stop"]));
    assert_eq!(bench.control.status(bench.now).scaler.warm, 1);
    order(&mut bench, on(InstanceVerb::Start, "b1", false)).unwrap();
    let again = bench.instances.values_mut().find(|i| i.member_id == Some(id("b1"))).unwrap();
    again.launched_wall_ms = bench.now.wall.0;
    bench.live(5);
    assert_eq!(bench.taking(), ["b1", "b2"], "the new incarnation is no dead one");
    order(&mut bench, on(InstanceVerb::Terminate, "b2", true)).unwrap();
    bench.live(5);
    assert_eq!(bench.taking(), ["b1"]);
    assert!(
        bench
            .records
            .iter()
            .any(|r| matches!(&r.entry, crate::scale::Entry::Order { order } if order.starts_with("terminate")))
    );
    let other = Heard { kind: Kind::Redirector, scaler: Some(id("door2")), ..dnslb("door2", false, None) };
    bench.beat(|h| (h.id, h.heard) = (id("static"), vec![other])).unwrap();
    assert!(order(&mut bench, launch(1)).unwrap_err().contains("door2 scales this farm, too"));
}

#[test]
fn strangers_are_reported_and_left_alone() {
    let mut bench = Bench::new(scaling());
    bench.live(5);
    let guest = Instance {
        member_id: Some(id("guest")),
        ..Instance::new("i-guest", id("mail"), InstanceState::Running, bench.now.wall.0)
    };
    bench.instances.insert("i-guest".into(), guest);
    bench.live(10);
    let status = bench.control.status(bench.now);
    assert!(status.alarms.iter().any(|a| a.starts_with("1 instances carry the farm's tag")), "{:?}", status.alarms);
    assert_eq!(status.notices.iter().filter(|(_, n)| n.contains("i-guest")).count(), 1);
    assert!(status.scaler.instances.iter().any(|i| i.instance_id == "i-guest" && !i.known));
    assert_eq!((status.scaler.live, status.scaler.pending, bench.launches), (2, 0, 2), "no capacity");
    assert!(order(&mut bench, on(InstanceVerb::Terminate, "i-guest", true)).unwrap_err().contains("adopt it first"));
    order(&mut bench, on(InstanceVerb::Adopt, "i-guest", false)).unwrap();
    let status = bench.control.status(bench.now);
    assert_eq!((status.scaler.pending, status.alarms.len()), (1, 0), "it owes a heartbeat now");
}

#[test]
fn one_that_failed_is_kept_for_inspection_and_counts() {
    let mut spec = scaling();
    spec.scaler.keep_failed_max = 1;
    let mut bench = Bench::new(spec);
    bench.mute.insert(id("b1"));
    bench.live(60);
    assert_eq!(bench.others, ["keep"]);
    let kept: Vec<_> = bench.instances.values().filter(|i| i.kept).map(|i| i.member_id.clone().unwrap()).collect();
    assert_eq!(kept, [id("b1")]);
    assert_eq!(bench.taking().len(), 2, "it is replaced");
    for name in bench.taking().into_iter().map(str::to_owned).collect::<Vec<_>>() {
        bench.sessions.insert(name, 40);
    }
    bench.live(40);
    assert_eq!(bench.instances.len(), 5, "four servers and the kept one: the maximum");
    bench.restart();
    bench.live(40);
    assert_eq!((bench.instances.len(), bench.others.len()), (5, 1), "nobody touches it");
    bench.beat(|h| (h.id, h.inc) = (id("b1"), START_MS)).unwrap_err();
}

#[test]
fn a_clock_that_jumps_skews_no_boot_time() {
    let mut spec = scaling();
    (spec.scaler.boot_deadline_ms, spec.scaler.min) = (14_400_000, 5);
    let mut bench = Bench::new(spec);
    bench.mute.extend((1..40).map(|n| id(&format!("b{n}"))));
    bench.live(3);
    assert!(!bench.instances.is_empty());
    bench.now.wall.0 += 7_200_000;
    bench.mute.clear();
    bench.live(10);
    let boots = &bench.control.boots_ms;
    assert!(!boots.is_empty() && boots.iter().all(|ms| *ms < 60_000), "{boots:?}");
}

#[test]
fn the_boot_deadline_is_measured_and_gives_slower_boots_a_chance() {
    let mut spec = scaling();
    (spec.scaler.boot_deadline_ms, spec.scaler.min) = (600_000, 3);
    let mut bench = Bench::new(spec);
    assert_eq!(bench.control.boot_deadline_ms(), 600_000, "nothing is measured");
    bench.live(30);
    assert_eq!(bench.control.boot_deadline_ms(), 4_000, "twice the prior: the boots were faster");
    bench.mute.extend((4..40).map(|n| id(&format!("b{n}"))));
    for name in bench.taking().into_iter().map(str::to_owned).collect::<Vec<_>>() {
        bench.sessions.insert(name, 16);
    }
    bench.live(60);
    assert!(bench.launches > 5, "late ones are replaced");
    assert!(bench.control.boot_deadline_ms() >= 16_000, "{} after many late ones", bench.control.boot_deadline_ms());
    assert!(bench.launches < 16, "{} launches", bench.launches);
    bench.mute.clear();
    bench.live(20);
    // The slow boots are measured now, and nothing is doubled any more.
    assert_eq!((bench.taking().len(), bench.control.boot_deadline_ms() < 200_000), (5, true));
}

#[test]
fn instances_that_fail_their_checks_are_replaced_unless_most_do() {
    let mut spec = scaling();
    spec.scaler.min = 3;
    let mut bench = Bench::new(spec);
    bench.live(20);
    assert_eq!(bench.taking().len(), 3);
    let impair = |bench: &mut Bench, names: &[&str]| {
        for instance in bench.instances.values_mut() {
            let fails = names.contains(&instance.member_id.as_ref().unwrap().as_str());
            instance.impaired = fails.then(|| "instance status: impaired".to_owned());
        }
    };
    impair(&mut bench, &["b1", "b2"]);
    list(&mut bench);
    assert!(bench.control.observation(bench.now).servers.iter().all(|s| s.state == ServerState::Live), "doubted");
    assert!(bench.control.status(bench.now).alarms.iter().any(|a| a.contains("the checks are doubted")));
    impair(&mut bench, &["b2"]);
    list(&mut bench);
    let leaving = |bench: &Bench| {
        let servers = bench.control.observation(bench.now).servers;
        servers.iter().filter(|s| s.state == ServerState::Leaving).map(|s| s.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(leaving(&bench), ["b2"]);
    bench.live(60);
    assert_eq!(bench.launches, 4);
    let names: Vec<String> = bench.instances.values().map(|i| i.member_id.clone().unwrap().to_string()).collect();
    assert!(names.len() == 3 && !names.contains(&"b2".to_owned()), "{names:?}");
}

#[test]
fn those_heard_last_after_a_cut_are_not_replaced() {
    let mut bench = Bench::new(scaling());
    bench.live(5);
    for name in bench.taking().into_iter().map(str::to_owned).collect::<Vec<_>>() {
        bench.sessions.insert(name, 60);
    }
    bench.live(60);
    let all: Vec<Id> = bench.instances.values().filter_map(|i| i.member_id.clone()).collect();
    assert_eq!(all.len(), 5);
    bench.mute.extend(all.iter().cloned());
    bench.live(300);
    // First three come through again, which is more than half, and the other two some seconds later.
    bench.mute.retain(|id| *id == all[0] || *id == all[1]);
    bench.live(10);
    bench.mute.clear();
    bench.live(10);
    let left: BTreeSet<Id> = bench.instances.values().filter_map(|i| i.member_id.clone()).collect();
    assert_eq!(left, all.iter().cloned().collect());
    // Who stays silent while the others are heard is replaced in the end.
    bench.mute.insert(all[0].clone());
    bench.live(120);
    assert!(bench.instances.values().all(|i| i.member_id.as_ref() != Some(&all[0])));
}

#[test]
fn an_outage_multiplies_no_launches() {
    let mut bench = Bench::new(scaling());
    let mut waiting: Vec<ProviderCall> = vec![];
    let mut tokens = BTreeSet::new();
    bench.step(Event::Listing(Ok(vec![])));
    for second in 0..1_200 {
        bench.now = bench.now.plus_ms(1_000);
        let mut events = vec![Event::Tick { waited: second * 50, room: None }, Event::Listing(Ok(vec![]))];
        let lost = |call| {
            let error = ProviderError { kind: ErrorKind::Transient, message: String::new() };
            Event::Provider(Box::new(CallOutcome { call, result: Err(error) }))
        };
        events.extend(waiting.drain(..).map(lost));
        while let Some(event) = events.pop() {
            for effect in bench.control.step(bench.now, event) {
                match effect {
                    Effect::Journal(record) => events.push(Event::Journalled { seq: record.seq, ok: true }),
                    Effect::Call(call) => waiting.push(call),
                    _ => {}
                }
            }
        }
        for call in &waiting {
            let ProviderCall::Launch(request) = call else { panic!("{call:?}") };
            tokens.insert(request.token.clone());
        }
    }
    assert_eq!(tokens.len(), 5, "as many as the maximum, each the same request all the time");
}

/// Nothing to choose, and one fixed role that owns an address.
#[derive(Debug)]
struct OneRole(Vec<Id>);

impl Blueprint for OneRole {
    fn offerings(&self, _role: Option<&Id>) -> &[Offering] {
        &[]
    }

    fn body(&self, _request: &LaunchRequest) -> Result<Vec<String>, String> {
        Ok(vec![])
    }

    fn price_usd_h(&self, _offering: &Offering) -> Option<f64> {
        None
    }

    fn attach(&self, _role: &Id, instance_id: &str, intent: &str) -> Option<AttachRequest> {
        let addresses = vec!["eipalloc-1".to_owned()];
        Some(AttachRequest { intent: intent.into(), instance_id: instance_id.into(), addresses, volumes: vec![] })
    }

    fn roles(&self) -> &[Id] {
        &self.0
    }
}

#[test]
fn a_fixed_role_exists_once_and_comes_back() {
    let mut bench = Bench::new(scaling());
    let blueprint = Arc::new(OneRole(vec![id("web-1")]));
    bench.step(Event::Reload { spec: Arc::new(scaling()), keys: keys(), blueprint });
    bench.live(20);
    let of_role = |bench: &Bench| {
        bench
            .instances
            .values()
            .filter(|i| i.member_id == Some(id("web-1")))
            .map(|i| i.instance_id.clone())
            .collect::<Vec<_>>()
    };
    let first = of_role(&bench);
    assert_eq!((first.len(), bench.others.clone()), (1, vec!["attach"]));
    // No crowd, and nothing that goes with one, takes it away.
    for name in bench.taking().into_iter().map(str::to_owned).collect::<Vec<_>>() {
        bench.sessions.insert(name, 16);
    }
    bench.live(30);
    bench.sessions.clear();
    bench.live(90);
    assert_eq!(of_role(&bench), first);
    // It vanishes: while it may only be missing from lists it is not launched again.
    let lost = bench.instances.remove(&first[0]).unwrap();
    bench.live(30);
    assert_eq!(of_role(&bench), Vec::<String>::new());
    bench.live(60);
    let second = of_role(&bench);
    assert_eq!(second.len(), 1);
    assert_ne!(second[0], lost.instance_id);
    assert_eq!(bench.others, ["attach", "attach"], "its address moves with it");
}

#[test]
fn a_warm_server_is_stopped_and_started_again() {
    let mut spec = scaling();
    spec.scaler.warm = 1;
    let mut bench = Bench::new(spec);
    bench.live(30);
    for name in bench.taking().into_iter().map(str::to_owned).collect::<Vec<_>>() {
        bench.sessions.insert(name, 16);
    }
    bench.live(30);
    let before = bench.launches;
    bench.sessions.clear();
    bench.live(150);
    let states = |bench: &Bench, state| bench.instances.values().filter(|i| i.state == state).count();
    assert!(bench.others.contains(&"stop"), "{:?}", bench.others);
    assert_eq!((states(&bench, InstanceState::Running), states(&bench, InstanceState::Stopped)), (2, 1));
    bench.restart();
    bench.live(20);
    assert_eq!(bench.control.status(bench.now).scaler.warm, 1, "over a restart");
    for name in bench.taking().into_iter().map(str::to_owned).collect::<Vec<_>>() {
        bench.sessions.insert(name, 11);
    }
    bench.live(3);
    assert!(bench.others.contains(&"start"), "{:?}", bench.others);
    assert!(bench.launches <= before + 2, "{} launches", bench.launches);
}

#[test]
fn a_server_that_is_being_ended_is_not_brought_back() {
    let mut bench = Bench::new(scaling());
    bench.live(30);
    let crowd = |bench: &mut Bench, sessions: u32| {
        for name in bench.taking().into_iter().map(str::to_owned).collect::<Vec<_>>() {
            bench.sessions.insert(name, sessions);
        }
    };
    crowd(&mut bench, 16);
    bench.live(30);
    bench.lost = Some(BTreeSet::new());
    bench.sessions.clear();
    bench.live(90);
    let ending = bench.lost.clone().unwrap();
    assert!(!ending.is_empty(), "nothing was ended");
    let servers = bench.control.observation(bench.now).servers_there();
    assert_eq!(servers as usize, bench.instances.len(), "they run until the provider says otherwise");
    let plans = bench.records.len();
    // The crowd is back while the provider does not answer.
    crowd(&mut bench, 30);
    bench.live(60);
    for id in &ending {
        assert!(bench.drained[id.as_str()], "{id} takes sessions, and will be terminated");
    }
    assert!(bench.instances.len() <= 5, "{} instances, the maximum is 5", bench.instances.len());
    assert!(bench.records.len() < plans + 100, "{} records of one minute", bench.records.len() - plans);
    // Nor does a scaler that is switched off hand them back.
    let mut off = scaling();
    off.scaler.enabled = false;
    bench.step(Event::Reload { spec: Arc::new(off), keys: keys(), blueprint: Arc::new(Plain) });
    bench.live(5);
    assert!(ending.iter().all(|id| bench.drained[id.as_str()]));
    bench.lost = None;
    bench.live(130);
    let left: BTreeSet<Id> = bench.instances.values().filter_map(|i| i.member_id.clone()).collect();
    assert!(left.is_disjoint(&ending) && left.len() >= 2, "{left:?}");
}

#[test]
fn the_state_of_another_provider_is_neither_believed_nor_lost() {
    let mut bench = Bench::new(scaling());
    bench.live(30);
    bench.pass(61_000);
    let mut saved = bench.saved.clone().unwrap();
    assert_eq!(saved.provider.as_deref(), Some("none"));
    saved.provider = Some("ec2 in eu-central-1".into());
    bench.saved = Some(saved);
    let (calls, there) = (bench.launches, std::mem::take(&mut bench.instances));
    bench.restart();
    for _ in 0..100 {
        bench.pass(2_000);
        bench.step(Event::Listing(Ok(vec![])));
    }
    assert_eq!(
        (bench.launches, bench.control.exec.instances.len()),
        (calls, there.len()),
        "nothing is launched or forgotten"
    );
    let status = bench.control.status(bench.now);
    assert!(
        status.scaler.frozen.as_ref().unwrap().contains("\"ec2 in eu-central-1\", and \"none\""),
        "{:?}",
        status.scaler.frozen
    );
    assert!(order(&mut bench, launch(1)).unwrap_err().contains("move the state"));
    assert_eq!(bench.control.save().provider.as_deref(), Some("ec2 in eu-central-1"));
}

#[test]
fn calls_of_long_ago_are_not_sent_again() {
    let launch = |seq: u64, wall_ms: u64| {
        let request = LaunchRequest {
            intent: format!("i{wall_ms}-{seq}"),
            attempt: 1,
            token: format!("t{seq}"),
            farm: id("mail"),
            member_id: id(&format!("b{seq}")),
            role: None,
            offering: None,
            body: vec![],
        };
        Record { seq, wall_ms, entry: Entry::Intent { call: ProviderCall::Launch(request) } }
    };
    let open_after = |saved: &[Record], journal: &[Record], now_ms: u64| {
        let saved = Saved { exec: ExecState::default().replay(saved), ..Saved::default() };
        let now = Now { mono: Mono(0), wall: Wall(now_ms) };
        let spec = Arc::new(scaling());
        let control = Control::new(spec, keys(), Arc::new(Plain), saved, journal, now, Draws::from_u64(1));
        control.exec.intents.len()
    };
    let (first, second) = (launch(1, START_MS), launch(2, START_MS));
    let later = launch(7, START_MS);
    let one = std::slice::from_ref(&first);
    assert_eq!(open_after(one, &[], START_MS + 3_600_000), 1);
    assert_eq!(open_after(one, &[], START_MS - 3_600_000), 1, "a clock that was set back");
    assert_eq!(open_after(one, &[], START_MS + 86_400_000), 0, "no provider need know its token");
    assert_eq!(open_after(one, &[first.clone(), second.clone()], START_MS), 2);
    assert_eq!(open_after(one, std::slice::from_ref(&second), START_MS), 2, "no record is missing");
    assert_eq!(open_after(one, std::slice::from_ref(&later), START_MS), 1, "the state is older than the journal");
    assert_eq!(open_after(&[], std::slice::from_ref(&later), START_MS), 1, "no state, and the end of a journal");
}
