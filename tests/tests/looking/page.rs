//! The status page in a headless Chromium: alive by server-sent events, quiet, alone, and no wider than a phone.

use farm_tests::browser::Browser;
use farm_tests::daemon::SOON;
use farm_tests::farm::{BACKEND_PORT, Farm, Options, takers};
use farm_tests::{http, wait};

const ROOM: &str = "[waiting_room]\nenabled = true\npoll_min = \"60s\"\npoll_max = \"60s\"\nturn = \"120s\"\n";

#[test]
fn the_status_page_lives_in_a_browser() {
    let mut farm = Farm::start(Options { min: 3, ..Options::default() });
    let Some(browser) = Browser::start(&farm.scratch) else { return };
    farm.wait_for(3);
    let login = farm.commanded("redirector", &["page"], "door0.toml");
    let base = format!("http://{}", farm.door(0).port("admin"));
    browser.window(1280, 900, false);
    browser.open(login.trim());
    browser.until("location.pathname === '/' && document.querySelectorAll('.servers tbody tr').length === 3");
    let redirects = "[...document.querySelectorAll('#door .facts span')].find(s => s.textContent.startsWith('new sessions'))\
.querySelector('b').textContent";
    let before: u64 = browser.eval(redirects).as_str().unwrap().parse().unwrap();
    let sessions = 7;
    (0..sessions).for_each(|_| drop(farm.session(0)));
    // Not by a reload: the event stream brings it.
    browser.until(&format!("{redirects} === '{}'", before + sessions));
    browser.until("Number(document.body.dataset.updates) >= 2 && document.getElementById('link').textContent === 'live'");
    assert_eq!(
        farm.door(0).metric("redirector_redirects_total{status=\"302\",session=\"new\"}"),
        Some((before + sessions) as f64)
    );
    assert_eq!(browser.eval("document.querySelectorAll('svg[role=img]').length"), 6);
    assert_eq!(
        browser.eval("[...document.querySelectorAll('svg[role=img]')].every(s => s.getAttribute('aria-label'))"),
        true
    );
    assert!(browser.shot("light") > 10_000);

    // What is looked at stays what is looked at while it is alive.
    browser.window(1280, 900, true);
    browser.open(&format!("{base}/?range=2h&q=b2&sort=-sessions&topic=server"));
    browser
        .until("Number(document.body.dataset.updates) >= 2 && document.querySelectorAll('.servers tbody tr').length === 1");
    assert_eq!(browser.eval("document.querySelector('[aria-sort=descending]').textContent"), "Sessions");
    assert!(browser.shot("dark") > 10_000);

    // By the button, with a reason.
    browser.open(&format!("{base}/server/b2"));
    browser.eval("document.querySelector('input[name=why]').value = 'a new <disk> & more'");
    browser.eval("document.querySelector('form[action$=drain] button').click()");
    browser.until("(document.querySelector('.said') || {}).textContent === 'b2 is forced to Drain by an operator: a new <disk> & more'");
    wait::until("b2 gets nothing new", SOON, || (!takers(&farm.status(0)).contains("b2")).then_some(()));
    assert_eq!(farm.door(0).metric("redirector_servers{standing=\"draining\"}"), Some(1.0));

    browser.window(360, 740, false);
    for path in ["/", "/?q=nobody", "/server/b2", "/table", "/?range=24h"] {
        browser.open(&format!("{base}{path}"));
        let wide = browser.eval("document.documentElement.scrollWidth - innerWidth");
        assert!(wide.as_f64().unwrap() <= 0.0, "{path} is {wide} px too wide for a phone");
    }
    browser.open(&format!("{base}/"));
    browser.until("Number(document.body.dataset.updates) >= 1");
    assert!(browser.shot("phone") > 10_000);

    let asked = browser.events("Network.requestWillBeSent");
    let urls: Vec<&str> = asked.iter().filter_map(|e| e["request"]["url"].as_str()).collect();
    assert!(urls.iter().any(|u| u.contains("/events?only=page")), "{urls:?}");
    let foreign: Vec<&&str> = urls.iter().filter(|u| !u.starts_with(&base) && !u.starts_with("data:,")).collect();
    assert!(foreign.is_empty(), "asked elsewhere: {foreign:?}");
    for kind in ["Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"] {
        assert_eq!(browser.events(kind), Vec::<serde_json::Value>::new(), "{kind}");
    }
}

#[test]
fn who_waits_is_seen() {
    // Two places on each of two servers, and nothing can be launched.
    let scaler = "sessions_per_server = 2\nstabilisation = \"10m\"";
    let mut farm = Farm::start(Options { min: 2, max: 2, idle_s: 120, scaler, tail: ROOM, ..Options::default() });
    farm.wait_for(2);
    for _ in 0..4 {
        let to = farm.session(0).addr;
        let answer = http::get((to, BACKEND_PORT).into(), "/login").expect("a log-in");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let waiters = 3;
    for n in 0..waiters {
        let told = farm.knock(0, "").expect("an answer");
        assert_eq!(told.status, 503, "{n}: {told:?}");
    }
    wait::until("they wait", SOON, || {
        (farm.door(0).metric("redirector_room_waiting{lane=\"default\"}")? == f64::from(waiters)).then_some(())
    });
    let text = farm.commanded("redirector", &["status"], "door0.toml");
    assert!(text.contains("waiting room closed: 0 places free") && text.contains("lane default: 3 wait (3 here"), "{text}");

    let Some(browser) = Browser::start(&farm.scratch) else { return };
    browser.window(1280, 900, false);
    browser.open(farm.commanded("redirector", &["page"], "door0.toml").trim());
    browser.until("document.querySelector('#room').textContent.includes('Closed: 3 wait, newcomers get a ticket')");
    assert_eq!(browser.eval("document.querySelectorAll('#room tbody tr').length"), 1);
    browser.until("/waiting [1-3], places free 0/.test(document.querySelector('#room svg').getAttribute('aria-label'))");
    assert!(browser.shot("room") > 10_000);
    browser.window(360, 740, true);
    let wide = browser.eval("document.documentElement.scrollWidth - innerWidth");
    assert!(wide.as_f64().unwrap() <= 0.0, "{wide} px too wide for a phone");
    assert!(browser.shot("room-phone") > 10_000);
}
