//! A request from anybody: wherever it is sent, the authority is one of the registry's, also to a browser that takes `\` for `/`
//! and drops tabs and line ends (WHATWG URL 4.4).
#![no_main]

use farm_shared::draw::Draws;
use farm_shared::heartbeat::FarmKey;
use farm_shared::id::Id;
use farm_shared::member::Standing;
use farm_shared::time::{Mono, Now, Wall};
use libfuzzer_sys::fuzz_target;
use redirector_core::config::Spec;
use redirector_core::door::{CookieKeys, Decision, Front, Pickers, Request, Rules, Server, Snapshot, decide};
use redirector_core::farm::Keys;
use redirector_core::route::{Candidate, RoutePolicy, Table};
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

const SERVERS: [(&str, &str, Standing); 3] = [
    ("b1", "b1.farm.example.com:8443", Standing::InService),
    ("b2", "[2001:db8::2]", Standing::InService),
    ("b3", "192.0.2.3:81", Standing::Draining),
];
const URL_BYTES_MAX: usize = 2_048;

static FRONT: LazyLock<Front> = LazyLock::new(|| {
    let farm = Id::new("mail").expect("an id");
    let mut spec = Spec::new(Id::new("d1").expect("an id"), farm.clone());
    spec.hosts = vec!["mail.example.com".into(), "*".into()];
    spec.door.target = "https://{id}.farm.example.com:8443".into();
    spec.door.url_bytes_max = URL_BYTES_MAX;
    let keys = Keys { current: FarmKey::from_hex(&"5a".repeat(32)).expect("a key"), former: Vec::new() };
    let server = |(slot, (id, authority, standing)): (usize, (&str, &str, Standing))| Server {
        slot: slot as u32,
        id: Id::new(id).expect("an id"),
        location_prefix: format!("https://{authority}").into(),
        addrs: Vec::new(),
        standing,
        takes_new: standing.takes_new(),
        heard: Mono(0),
        dispatch_base: 0,
    };
    let candidate = |server| Candidate { server, slot: server, queue: 1.0, drain_per_s: 1.0, ..Candidate::default() };
    let servers: Vec<Server> = SERVERS.into_iter().enumerate().map(server).collect();
    let farm = Snapshot {
        generation: 1,
        built: Mono(0),
        retry_after_s: 5,
        cookies: CookieKeys::new(&farm, &keys, 3_600),
        by_slot: Snapshot::index_slots(&servers),
        servers,
        table: Table::build(RoutePolicy::default(), 1.0, 1, &[candidate(0), candidate(1)]),
        room: None,
    };
    Front::new(Arc::new(Rules::new(&spec)), [Arc::new(farm)])
});

fuzz_target!(|text: &str| {
    // One field a line; a target with a line end in it comes of `%0A` decoded here.
    let text = text.replace("%0A", "\u{1}").replace("%0D", "\u{2}");
    let mut lines = text.split('\n');
    let mut field = || lines.next().map(|line| line.replace('\u{1}', "\n").replace('\u{2}', "\r"));
    let (Some(method), Some(target)) = (field(), field()) else { return };
    let host = field();
    let cookies: Vec<String> = std::iter::from_fn(field).collect();
    let cookies: Vec<&str> = cookies.iter().map(String::as_str).collect();
    let request = Request {
        method: &method,
        target: &target,
        host: host.as_deref(),
        cookies: &cookies,
        secure: true,
        source: Ipv4Addr::LOCALHOST.into(),
        fields: &(),
    };
    let now = Now { mono: Mono(1_000), wall: Wall(1_000) };
    let decision = decide(&FRONT, &(), &request, now, &mut Pickers::new(Draws::from_u64(7)));
    let Decision::Redirect { status, location_prefix, path_and_query, .. } = decision else { return };
    assert!(matches!(status, 302 | 307));
    assert!(target.ends_with(path_and_query) || path_and_query == "/", "octets of the path changed");
    assert!(path_and_query.len() <= URL_BYTES_MAX);
    let location = format!("{location_prefix}{path_and_query}");
    assert!(location.bytes().all(|b| b.is_ascii_graphic()), "{location:?}");
    let rest = location.strip_prefix("https://").expect("our scheme");
    let authority = rest.split(['/', '\\', '?', '#']).next().expect("an authority");
    assert!(SERVERS.iter().any(|(_, ours, _)| *ours == authority), "{location:?}");
});
