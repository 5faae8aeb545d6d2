#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::*;
use crate::config::{LaneSpec, RoomSpec};
use crate::farm::Keys;
use farm_shared::draw::Draws;
use farm_shared::heartbeat::{FarmKey, RoomWord};
use farm_shared::id::Id;
use farm_shared::time::{Mono, Now, Wall};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

mod crowd;

const START_MS: u64 = 1_700_000_000_000;
const AGE_MS_MAX: u64 = 3_600_000;

fn keys(digit: &str, former: &[&str]) -> TicketKeys {
    let key = |digit: &str| FarmKey::from_hex(&digit.repeat(64)).unwrap();
    let keys = Keys { current: key(digit), former: former.iter().map(|d| key(d)).collect() };
    TicketKeys::new(&Id::new("mail").unwrap(), &keys)
}

fn at(ms: u64) -> Now {
    Now { mono: Mono(ms), wall: Wall(START_MS + ms) }
}

fn ticket(arrival_ms: u64, nonce: u64) -> Ticket {
    Ticket { lane: 0, arrival_ms: START_MS + arrival_ms, nonce }
}

/// The ledger of one door, as the shell shares it.
pub(super) struct Desk {
    pub(super) ledger: RefCell<Ledger>,
    count: Cell<u64>,
}

impl Desk {
    pub(super) fn new(size: usize, salt: u64) -> Self {
        Self { ledger: RefCell::new(Ledger::new(size)), count: Cell::new(salt << 32) }
    }
}

impl Waiters for Desk {
    fn is_busy(&self) -> bool {
        !self.ledger.borrow().is_empty()
    }

    fn enter(&self, ticket: Ticket) -> Answer {
        self.ledger.borrow_mut().enter(ticket)
    }

    fn ask(&self, ticket: Ticket, is_new: bool, now: Mono, due: Mono) -> Answer {
        self.ledger.borrow_mut().ask(ticket, is_new, now, due)
    }

    fn nonce(&self) -> u64 {
        self.count.set(self.count.get() + 1);
        self.count.get()
    }

    fn forged(&self) {
        self.ledger.borrow_mut().forged();
    }
}

#[test]
fn tickets_are_honoured_if_a_door_signed_them() {
    let ours = keys("a", &["b"]);
    let ticket = Ticket { lane: 3, arrival_ms: u64::from(u32::MAX) * 1_000, nonce: u64::MAX };
    let text = ours.text(&ticket);
    assert!(text.as_str().starts_with("v1.3.4294967295000.ffffffffffffffff."), "{}", text.as_str());
    assert!(text.as_str().len() <= TICKET_BYTES_MAX);
    let check = |keys: &TicketKeys, text: &str, now_ms: u64, expect: bool| {
        let found = keys.check(text, Wall(now_ms), AGE_MS_MAX);
        assert_eq!(found.is_some(), expect, "{text} at {now_ms}");
        if let Some(found) = found {
            assert_eq!(found, ticket);
        }
    };
    let came_ms = ticket.arrival_ms;
    check(&ours, text.as_str(), came_ms, true);
    check(&ours, text.as_str(), came_ms + AGE_MS_MAX, true);
    check(&ours, text.as_str(), came_ms + AGE_MS_MAX + 1, false);
    // A door whose clock is a little ahead, and one that is far ahead.
    check(&ours, text.as_str(), came_ms - 60_000, true);
    check(&ours, text.as_str(), came_ms - 60_001, false);
    // Keys that were rotated, and another farm's.
    check(&keys("c", &["a"]), text.as_str(), came_ms, true);
    check(&ours, keys("b", &[]).text(&ticket).as_str(), came_ms, true);
    check(&ours, keys("c", &[]).text(&ticket).as_str(), came_ms, false);
    for forged in
        ["", "v1", "v1....", "v1.0.1.1.AAAA", "v2.3.4294967295000.1.", &"v1.".repeat(40), "v1.9.1.1.AAAAAAAAAAAAAAAAAAAAAA"]
    {
        check(&ours, forged, came_ms, false);
    }
}

proptest! {
    /// No octet of a ticket can be changed.
    #[test]
    fn altered_tickets_are_none(place in 0_usize..60, octet in 33_u8..127) {
        let ours = keys("a", &[]);
        let text = ours.text(&ticket(5, 7));
        let mut altered = text.as_str().as_bytes().to_vec();
        prop_assume!(place < altered.len() && altered[place] != octet);
        altered[place] = octet;
        let found = ours.check(std::str::from_utf8(&altered).unwrap(), Wall(START_MS + 5), AGE_MS_MAX);
        // The last octet of base64 has bits that carry nothing; a decoder that is strict refuses them.
        prop_assert!(found.is_none(), "{altered:?}");
    }
}

#[test]
fn a_ledger_lets_each_ticket_in_once() {
    let mut ledger = Ledger::new(10);
    assert_eq!(ledger.ask(ticket(1, 1), true, Mono(0), Mono(2_000)), Answer::Good);
    assert_eq!(ledger.enter(ticket(1, 1)), Answer::Good);
    assert_eq!(
        (ledger.enter(ticket(1, 1)), ledger.ask(ticket(1, 1), false, Mono(0), Mono(1))),
        (Answer::Used, Answer::Used)
    );
    // Somebody who waited at another door.
    assert_eq!((ledger.enter(ticket(2, 2)), ledger.enter(ticket(2, 2))), (Answer::Good, Answer::Used));
    ledger.refuse_up_to(0, START_MS + 1);
    assert_eq!((ledger.enter(ticket(1, 1)), ledger.enter(ticket(1, 9))), (Answer::Stale, Answer::Stale));
    let totals = ledger.digest(Mono(0)).totals;
    assert_eq!((totals.entered, totals.used_again, totals.stale, totals.tickets), (2, 3, 2, 1));
}

#[test]
fn a_ledger_is_bounded_and_forgets_nothing_that_could_be_used_again() {
    let mut ledger = Ledger::new(3);
    for n in 1..=4 {
        let expect = if n == 4 { Answer::Full } else { Answer::Good };
        assert_eq!(ledger.ask(ticket(n * 10, n), true, Mono(0), Mono(2_000)), expect);
    }
    // Who came before the youngest takes his room in the ledger, not his place.
    assert_eq!(ledger.ask(ticket(5, 99), false, Mono(0), Mono(2_000)), Answer::Good);
    assert_eq!(ledger.digest(Mono(0)).lanes[0].steps, [(START_MS + 5, 1), (START_MS + 10, 2), (START_MS + 20, 3)]);
    assert_eq!(ledger.ask(ticket(30, 3), false, Mono(0), Mono(2_000)), Answer::Good);
    for n in 0..10 {
        assert_eq!(ledger.enter(ticket(100 + n, n)), Answer::Good);
    }
    assert!((0..10).all(|n| ledger.enter(ticket(100 + n, n)) != Answer::Good));
    assert_eq!(ledger.digest(Mono(0)).totals.forgotten, 7);
}

#[test]
fn who_does_not_come_back_no_longer_counts() {
    let mut ledger = Ledger::new(10);
    for n in 1..=3 {
        ledger.ask(ticket(n, n), true, Mono(0), Mono(2_000 * n));
    }
    let waiting = |ledger: &mut Ledger, ms| ledger.digest(Mono(ms)).lanes[0].waiting();
    assert_eq!((waiting(&mut ledger, 6_999), waiting(&mut ledger, 7_000), waiting(&mut ledger, 10_999)), (3, 2, 1));
    assert_eq!((waiting(&mut ledger, 11_000), ledger.digest(Mono(11_000)).totals.left), (0, 3));
    // His place is his still.
    assert_eq!(ledger.ask(ticket(1, 1), false, Mono(12_000), Mono(14_000)), Answer::Good);
}

#[test]
fn digests_of_long_queues_are_short() {
    let mut ledger = Ledger::new(200_000);
    for n in 0..100_000 {
        ledger.ask(ticket(n, n), true, Mono(0), Mono(2_000));
    }
    let lane = &ledger.digest(Mono(0)).lanes[0];
    assert!(lane.steps.len() < 2_000, "{}", lane.steps.len());
    assert_eq!(lane.waiting(), 100_000);
    assert!(lane.steps.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
    // Every point says how many came up to then.
    assert!(lane.steps.iter().all(|(arrival, n)| arrival - START_MS + 1 == u64::from(*n)));
}

/// A farm of one door with so many free places.
pub(super) struct Farm {
    pub(super) room: Room,
    pub(super) desk: Desk,
    pub(super) free: u32,
    pub(super) ended: u64,
    keys: Arc<TicketKeys>,
    lanes: Arc<Lanes>,
}

impl Farm {
    pub(super) fn new(spec: RoomSpec, saved: &SavedRoom, salt: u64, now: Now) -> Self {
        let farm = Id::new("mail").unwrap();
        let keys = Keys { current: FarmKey::from_hex(&"a".repeat(64)).unwrap(), former: vec![] };
        Self {
            lanes: Arc::new(Lanes::new(&spec.lanes, &farm, &keys)),
            keys: Arc::new(TicketKeys::new(&farm, &keys)),
            desk: Desk::new(spec.waiting_max, salt),
            room: Room::new(spec, saved, now),
            free: 0,
            ended: 0,
        }
    }

    pub(super) fn gate(&self, now: Now) -> Gate {
        self.room.gate(Arc::clone(&self.keys), Arc::clone(&self.lanes), now.mono).unwrap()
    }

    pub(super) fn tick(&mut self, others: &[RoomWord], now: Now) {
        let gate = self.gate(now);
        for (lane, number) in gate.lanes.iter().zip(0..) {
            self.desk.ledger.borrow_mut().refuse_up_to(number, lane.stale_ms);
        }
        let digest = self.desk.ledger.borrow_mut().digest(now.mono);
        let others = others.iter().collect();
        self.room.step(Input { digest, others, room: Some(self.free), ended: self.ended, ..Input::default() }, now);
    }

    /// One request; the ticket to show next, or `None` if he is in.
    pub(super) fn ask(&mut self, shown: Option<&str>, path: &str, now: Now) -> Result<bool, (Wait, String)> {
        let gate = self.gate(now);
        let cookie = shown.map(|text| format!("a=b; {COOKIE_NAME}={text}"));
        let cookies: Vec<&str> = cookie.iter().map(String::as_str).collect();
        let asker = Asker { cookies: &cookies, fields: &(), path };
        let free = &mut self.free;
        let pick = || (*free > 0).then_some(());
        match admit(&gate, &self.desk, &asker, now, pick) {
            Admission::Enter { is_called, .. } => {
                self.free -= 1;
                Ok(is_called)
            }
            Admission::Wait(wait) => {
                Err((wait, wait.ticket.map_or_else(String::new, |t| self.keys.text(&t).as_str().to_owned())))
            }
        }
    }
}

pub(super) fn spec() -> RoomSpec {
    RoomSpec { enabled: true, ..RoomSpec::default() }
}

fn farm(spec: RoomSpec) -> Farm {
    Farm::new(spec, &SavedRoom::default(), 1, at(0))
}

#[test]
fn without_a_queue_everybody_enters() {
    let mut farm = farm(spec());
    farm.free = 3;
    for _ in 0..3 {
        assert_eq!(farm.ask(None, "/", at(0)), Ok(false));
    }
    let (wait, text) = farm.ask(None, "/", at(10)).unwrap_err();
    assert_eq!((wait.whence, wait.before, text.is_empty()), (Whence::New, 0, false));
    // A place is free before the next tick: it is for who waits, not for who comes.
    farm.free = 1;
    assert_eq!(farm.ask(None, "/", at(20)).unwrap_err().0.whence, Whence::New);
    farm.tick(&[], at(100));
    assert_eq!(farm.ask(None, "/", at(110)).unwrap_err().0.whence, Whence::New);
    assert_eq!(farm.ask(Some(&text), "/", at(120)), Ok(true));
}

#[test]
fn nobody_jumps_the_queue() {
    let mut farm = farm(spec());
    let (_, first) = farm.ask(None, "/", at(0)).unwrap_err();
    let (_, second) = farm.ask(None, "/", at(10)).unwrap_err();
    farm.free = 1;
    farm.tick(&[], at(100));
    // Forged and altered tickets are those of a newcomer, and counted.
    let forged = first.replacen("v1.0.", "v1.1.", 1);
    assert_eq!(farm.ask(Some(&forged), "/", at(110)).unwrap_err().0.whence, Whence::New);
    assert_eq!(farm.ask(Some(&second), "/", at(120)).unwrap_err().0.whence, Whence::Kept);
    assert_eq!(farm.ask(Some(&first), "/", at(130)), Ok(true));
    // Asking often changes nothing; a ticket that was used is none.
    farm.free = 5;
    for ms in 131..140 {
        assert_eq!(farm.ask(Some(&first), "/", at(ms)).unwrap_err().0.whence, Whence::New);
    }
    let totals = farm.desk.ledger.borrow_mut().digest(Mono(140)).totals;
    assert_eq!((totals.forged, totals.used_again, totals.entered), (1, 9, 1));
}

#[test]
fn a_turn_does_not_last_for_ever() {
    let mut farm = farm(RoomSpec { turn_ms: 60_000, ..spec() });
    let (_, absent) = farm.ask(None, "/", at(0)).unwrap_err();
    let (_, mut present) = farm.ask(None, "/", at(1_000)).unwrap_err();
    let mut ms = 1_000;
    let mut came = None;
    while ms < 90_000 {
        ms += 1_000;
        farm.tick(&[], at(ms));
        if ms == 5_000 {
            farm.free = 1;
        }
        match farm.ask(Some(&present), "/", at(ms)) {
            Ok(_) => came = Some(ms),
            Err((_, text)) => present = text,
        }
        if came.is_some() {
            break;
        }
    }
    // The absent one holds up nobody once he is late.
    assert!(came.is_some_and(|ms| ms < 15_000), "{came:?}");
    // Others keep the queue alive, or his ticket would just let him in.
    let (_, mut other) = farm.ask(None, "/", at(ms)).unwrap_err();
    for step in 1..100 {
        farm.tick(&[], at(ms + step * 1_000));
        other = farm.ask(Some(&other), "/", at(ms + step * 1_000)).unwrap_err().1;
    }
    assert_eq!(farm.ask(Some(&absent), "/", at(ms + 100_000)).unwrap_err().0.whence, Whence::Lapsed);
}

#[test]
fn lanes_share_by_their_weights() {
    let lane = LaneSpec { name: "pay".into(), cookie: None, path: Some("/pay".into()), is_signed: false, weight: 3 };
    let mut farm = farm(RoomSpec { lanes: vec![lane], ..spec() });
    let mut waiting: Vec<(usize, String)> = Vec::new();
    for n in 0..200_u64 {
        let lane = usize::from(n >= 100);
        let path = if lane == 1 { "/pay/now" } else { "/" };
        waiting.push((lane, farm.ask(None, path, at(n)).unwrap_err().1));
    }
    let mut entered = [0, 0];
    for step in 0..40_u64 {
        farm.free = 2;
        farm.tick(&[], at(1_000 + step * 100));
        waiting = waiting
            .into_iter()
            .filter_map(|(lane, text)| match farm.ask(Some(&text), "/", at(1_050 + step * 100)) {
                Ok(_) => {
                    entered[lane] += 1;
                    None
                }
                Err((_, text)) => Some((lane, text)),
            })
            .collect();
    }
    assert_eq!(entered, [20, 60], "ordinary ones and those who pay");
}

#[test]
fn after_a_restart_who_was_there_goes_first() {
    let mut farm = farm(spec());
    let old: Vec<String> = (0..20).map(|n| farm.ask(None, "/", at(n)).unwrap_err().1).collect();
    farm.tick(&[], at(100));
    let saved: SavedRoom = serde_json::from_str(&serde_json::to_string(&farm.room.save()).unwrap()).unwrap();
    assert!(saved.is_closed);
    // The new life begins with places free, and newcomers are quicker than those who wait.
    let start = at(1_000);
    let mut farm = Farm::new(spec(), &saved, 2, start);
    farm.free = 8;
    let mut new: Vec<String> = (0..10).map(|n| farm.ask(None, "/", at(1_000 + n)).unwrap_err().1).collect();
    let mut old: Vec<(usize, String)> = old.into_iter().enumerate().collect();
    let mut entered = Vec::new();
    for ms in (1_100..30_000).step_by(100) {
        farm.tick(&[], at(ms));
        if ms % 500 == 0 && ms > 5_000 && farm.free == 0 && entered.len() < 30 {
            farm.free = 1;
        }
        new = new
            .into_iter()
            .filter_map(|text| farm.ask(Some(&text), "/", at(ms)).inspect(|_| entered.push(100)).err().map(|e| e.1))
            .collect();
        // They come back one after the other, within the shortest interval.
        let back = ((ms - 1_000) / 100) as usize;
        old = old
            .into_iter()
            .filter_map(|(n, text)| match (n < back).then(|| farm.ask(Some(&text), "/", at(ms))) {
                None => Some((n, text)),
                Some(Err((_, text))) => Some((n, text)),
                Some(Ok(_)) => {
                    entered.push(n);
                    None
                }
            })
            .collect();
    }
    assert_eq!(entered.len(), 30);
    assert!(entered.is_sorted(), "{entered:?}");
}

#[test]
fn pages_speak_the_readers_language_and_are_small() {
    let pages = Pages::default();
    assert_eq!(pages.languages().collect::<Vec<_>>(), ["en", "de", "es", "fr"]);
    let ticket = Some(ticket(0, 1));
    let estimate = Estimate::Between { low_s: 80, high_s: 300 };
    let wait = |whence, before, estimate| Wait { retry_after_s: 7, ticket, before, estimate, whence };
    let check = |languages: Option<&str>, repeats: bool, wait: &Wait, expect: &[&str], not: &[&str]| {
        let (html, _) = pages.html(wait, Reader { languages, repeats }, Wall(START_MS + 60_000));
        assert!(html.len() < 10_000, "{} octets", html.len());
        assert!(!html.contains("{{") && !html.contains("http://") && !html.contains("src="), "{html}");
        for text in expect {
            assert!(html.contains(text), "{text}: {html}");
        }
        for text in not {
            assert!(!html.contains(text), "{text}: {html}");
        }
    };
    let refresh = "<meta http-equiv=\"refresh\" content=\"7\">";
    check(
        None,
        true,
        &wait(Whence::New, 12, estimate),
        &["lang=\"en\"", refresh, "12 visitors", "1 to 5 minutes", "<progress"],
        &["/>"],
    );
    check(
        Some("de-AT, en;q=0.5"),
        true,
        &wait(Whence::Kept, 1, Estimate::Unknown),
        &["lang=\"de\"", "noch jemand"],
        &["<progress"],
    );
    check(Some("xx, fr;q=0.3, es;q=0.4"), true, &wait(Whence::Kept, 0, estimate), &["lang=\"es\"", "siguiente"], &[]);
    check(
        Some("fr;q=x, de;q=0"),
        false,
        &wait(Whence::Kept, 0, estimate),
        &["lang=\"en\"", "send it again"],
        &["http-equiv"],
    );
    check(Some(&",".repeat(10_000)), true, &wait(Whence::Lapsed, 2, estimate), &["new place at the end"], &[]);
    check(None, true, &Wait { ticket: None, ..wait(Whence::Full, 2, estimate) }, &["no more places"], &["visitors"]);
    check(None, true, &Wait::plain(7), &["no free place", refresh], &["visitors", "<progress"]);
}

#[test]
fn operators_change_page_and_texts() {
    let texts = "[en]\ntitle = \"<Queue> & co\"\n[pt]\ntitle = \"Um momento\"\n";
    let pages = Pages::new(Some(("t.html", "<p>{{ title }}</p>{{refresh}}{{place}}")), Some(("t.toml", texts))).unwrap();
    let html = |languages| pages.html(&Wait::plain(3), Reader { languages, repeats: true }, Wall(0)).0;
    assert_eq!(html(None), "<p>&lt;Queue&gt; &amp; co</p><meta http-equiv=\"refresh\" content=\"3\">");
    assert!(html(Some("pt-BR")).contains("Um momento") && html(Some("de")).contains("Einen Moment"));
    let refused = |template: Option<&str>, texts: Option<&str>, expect: &str| {
        let problems = Pages::new(template.map(|t| ("t.html", t)), texts.map(|t| ("t.toml", t))).unwrap_err();
        let all = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(all.contains(expect), "{all}");
    };
    refused(Some("no refresh"), None, "{{refresh}}");
    refused(Some("{{refresh}}{{visitor}}"), None, "{{visitor}}");
    refused(Some("{{refresh}} {{ x"), None, "without }}");
    refused(None, Some("[en]\ntitel = \"x\"\n"), "titel");
    refused(None, Some("[en]\ntitle = 3\n"), "title");
    refused(None, Some("not toml"), "t.toml");
}
