#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::id::Id;
use crate::prefix::Prefix;
use proptest::prelude::*;

/// A reader that uses every kind of option.
fn read(root: &Section) -> (u64, Vec<String>, Vec<Prefix>) {
    let server = root.table("server", "The server.");
    let _ = server.string("motto", "hi", "A text.");
    let _ = server.optional_string("note", "A note.");
    let _ = server.float("share", 0.08, 0.0..=1.0, "A share.");
    let _ = server.boolean("on", true, "A switch.");
    let _ = server.choice("policy", "ours", &["ours", "paper"], "A policy.");
    let ttl = server.duration_ms("ttl_max", 5_000, 1_000..=3_600_000, "A time.");
    let prefixes = server.list("allowed", &["10.0.0.0/8"], "a prefix", "Prefixes.");
    let _ = server.optional_parsed::<std::net::SocketAddr>("listen", "ADDRESS:PORT", "Where.");
    let mut names = Vec::new();
    for pool in root.tables("pool", "A pool.") {
        names.push(pool.required_string("name", "Its name."));
        let _ = pool.parsed::<Id>("farm", None, "a farm's name", "Its farm.");
        let k = pool.integer("k", 3, 1..=64, "Answers.");
        if k == 64 {
            pool.problem("k", "64", "fewer");
        }
    }
    (ttl, names, prefixes)
}

fn problems(text: &str) -> Vec<String> {
    let document = Document::parse("f.toml", text);
    let _ = read(&document.root());
    document.finish().iter().map(ToString::to_string).collect()
}

fn check(text: &str, expect: &[&str]) {
    assert_eq!(problems(text), expect, "{text}");
}

#[test]
fn every_problem_has_its_line_its_key_and_what_was_expected() {
    check("", &[]);
    check("server = 3", &["f.toml:1: server: found the integer 3, expected a section [server]"]);
    check("pool = 3", &["f.toml:1: pool: found the integer 3, expected sections [[pool]]"]);
    check("pool = [1]", &["f.toml:1: pool[0]: found the integer 1, expected sections [[pool]]"]);
    check("\n[server]\nmotto = 3", &["f.toml:3: server.motto: found the integer 3, expected a string"]);
    check("server.share = 2", &["f.toml:1: server.share: found the integer 2, expected a number from 0 to 1"]);
    check("server.share = nan", &["f.toml:1: server.share: found the number NaN, expected a number from 0 to 1"]);
    check("server.share = 1", &[]);
    check("server.on = 'yes'", &["f.toml:1: server.on: found \"yes\", expected true or false"]);
    check("server.policy = 'x'", &["f.toml:1: server.policy: found \"x\", expected one of \"ours\", \"paper\""]);
    let duration = "a duration from 1s to 1h in quotes, like \"250ms\", \"3s\" or \"1m30s\"";
    check("server.ttl_max = 5", &[&format!("f.toml:1: server.ttl_max: found the integer 5, expected {duration}")]);
    check("server.ttl_max = '2h'", &[&format!("f.toml:1: server.ttl_max: found \"2h\", expected {duration}")]);
    check("server.ttl_max = 2020-01-01", &[&format!("f.toml:1: server.ttl_max: found a date or time, expected {duration}")]);
    check("server.allowed = [\n'10.0.0.0/8',\n'x']", &["f.toml:3: server.allowed[1]: found \"x\", expected a prefix"]);
    check("server.allowed = 'x'", &["f.toml:1: server.allowed: found \"x\", expected an array of strings, each a prefix"]);
    check("server.listen = 'x'", &["f.toml:1: server.listen: found \"x\", expected ADDRESS:PORT"]);
    check("server.listen = 1.5", &["f.toml:1: server.listen: found the number 1.5, expected ADDRESS:PORT"]);
}

#[test]
fn all_problems_come_at_once_and_by_line() {
    let text = "colour = 1\n[[pool]]\nname = 'a'\nfarm = 'f'\n\n[[pool]]\nk = 99999999999999999999\nfarm = 'F'\n\n\
                [server]\nttl_mx = '3s'\n[serve]\nx = 1\n[[pool]]\nname='z'\nfarm='z'\nk=64\nweight.a = 1";
    check(
        text,
        &[
            "f.toml:1: colour: found an unknown key, expected one of `pool`, `server`",
            "f.toml:6: pool[1].name: found nothing, expected a string",
            "f.toml:7: pool[1].k: found the integer 99999999999999999999, expected an integer from 1 to 64",
            "f.toml:8: pool[1].farm: found \"F\", expected a farm's name",
            "f.toml:11: server.ttl_mx: found an unknown key, expected `ttl_max` (did you mean that?)",
            "f.toml:12: serve: found an unknown section, expected `server` (did you mean that?)",
            "f.toml:17: pool[2].k: found 64, expected fewer",
            "f.toml:18: pool[2].weight: found an unknown section, expected one of `farm`, `k`, `name`",
        ],
    );
}

#[test]
fn syntax_errors_are_all_reported_and_nothing_else() {
    let found = problems("a = \n[server\nunknown = 3\nb = 'x\n");
    assert!(found.len() >= 2, "{found:?}");
    assert_eq!(problems("b = 'x\n").len(), 1);
    assert!(found.iter().all(|p| p.contains("a syntax error")), "{found:?}");
    assert!(found[0].starts_with("f.toml:1: found a syntax error"), "{found:?}");
    assert!(problems("a = 1\na = 2")[0].starts_with("f.toml:2: found a syntax error at \"a\" (duplicate key"));
}

#[test]
fn values_and_defaults() {
    let document = Document::parse("f", "server.ttl_max = '1m30s'\n[[pool]]\nname = 'p'\nfarm = 'f'");
    let (ttl, names, prefixes) = read(&document.root());
    assert_eq!((ttl, names, prefixes), (90_000, vec!["p".to_owned()], vec!["10.0.0.0/8".parse().unwrap()]));
    assert_eq!(document.finish(), []);
}

#[test]
fn durations() {
    for (text, expect) in [
        ("250ms", Some(250)),
        ("3s", Some(3_000)),
        ("1m30s", Some(90_000)),
        ("2h", Some(7_200_000)),
        ("1d1ms", Some(86_400_001)),
        ("0s", Some(0)),
        ("", None),
        ("5", None),
        ("s", None),
        ("1.5s", None),
        ("-1s", None),
        ("1s1m", None),
        ("1s1s", None),
        (" 1s", None),
        ("1S", None),
        ("99999999999999999999s", None),
        ("999999999999999d", None),
        ("1sé", None),
    ] {
        assert_eq!(parse_duration_ms(text), expect, "{text}");
    }
}

#[test]
fn the_description_names_every_option_once() {
    let document = Document::describe();
    let _ = read(&document.root());
    let keys: Vec<_> = document.options().iter().map(|o| o.key.clone()).collect();
    assert_eq!(
        keys,
        [
            "server",
            "server.motto",
            "server.note",
            "server.share",
            "server.on",
            "server.policy",
            "server.ttl_max",
            "server.allowed",
            "server.listen",
            "pool[]",
            "pool[].name",
            "pool[].farm",
            "pool[].k",
        ]
    );
    let table = table_markdown(&document.options());
    assert!(table.contains("| `pool[].k` | integer, 1 to 64 | `3` | Answers. |\n"), "{table}");
    assert!(table.contains("| `pool[].farm` | a farm's name | required | Its farm. |\n"), "{table}");
    assert_eq!(document.finish(), []);
}

#[test]
fn a_description_keeps_sections_together() {
    let document = Document::describe();
    let root = document.root();
    let (a, b) = (root.table("a", "A."), root.table("b", "B."));
    let _ = (b.optional_string("x", "X."), a.optional_string("x", "X."), root.optional_string("top", "Top."));
    let _ = (a.table("in", "In.").boolean("y", false, "Y."), a.optional_string("z", "Z."));
    let _ = a.tables("in", "In.");
    let keys: Vec<_> = document.options().into_iter().map(|o| o.key).collect();
    assert_eq!(keys, ["top", "a", "a.x", "a.z", "a.in", "a.in.y", "a.in[]", "b", "b.x"]);
}

#[test]
fn seconds_are_whole() {
    for (text, expect) in
        [("a = '90s'", Ok(90)), ("", Ok(5)), ("a = '1500ms'", Err("f:1: a: found 1500 ms, expected whole seconds"))]
    {
        let document = Document::parse("f", text);
        let value = document.root().duration_s("a", 5, 1..=100, "A.");
        let problem = document.finish().first().map(ToString::to_string);
        assert_eq!(problem.as_deref().map_or(Ok(value), Err), expect);
    }
}

#[test]
fn hostile_texts_are_bounded() {
    assert_eq!(problems(&"x".repeat(TEXT_BYTES_MAX + 1)).len(), 1);
    let many = (0..5_000).map(|i| format!("k{i} = 1")).collect::<Vec<_>>().join("\n");
    assert_eq!(problems(&many).len(), PROBLEMS_MAX);
    assert!(!problems(&"[".repeat(5_000)).is_empty());
    assert!(!problems(&format!("a = {}", "[".repeat(5_000))).is_empty());
    assert!(!problems(&format!("a = {}1", "{a = ".repeat(5_000))).is_empty());
    let dotted = problems(&format!("{} = 1", vec!["a"; 5_000].join(".")));
    assert!(!dotted.is_empty());
    let escaped = problems("server.on = \"\\u001b[31m\"");
    assert!(!escaped[0].contains('\u{1b}'), "{escaped:?}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = problems(&text);
    }

    #[test]
    fn no_damaged_file_panics(at in 0_usize..120, with in "[\\[\\]{}='\".,#\\n0-9a-z]{0,4}") {
        let text = "[server]\nshare = 0.5\nttl_max = \"3s\"\nallowed = [\"10.0.0.0/8\"]\n[[pool]]\nname = \"a\"\nfarm = \"f\"\nk = 3\n";
        let at = at.min(text.len());
        let _ = problems(&format!("{}{with}{}", &text[..at], &text[at..]));
    }

    #[test]
    fn durations_survive_the_way_out_and_back(ms in any::<u64>()) {
        prop_assert_eq!(parse_duration_ms(&format_duration_ms(ms)), Some(ms));
    }
}
