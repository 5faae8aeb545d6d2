//! A journal that was cut short, at every octet of its last lines.

use super::*;

#[test]
fn a_journal_cut_anywhere_loads_and_nothing_is_lost_but_what_was_cut() {
    let mut world = World::default();
    let mut life = Life::new(&mut world, None, Fate::default());
    assert!(life.live());
    let lines: Vec<String> = world.journal.iter().map(|r| serde_json::to_string(r).unwrap()).collect();
    let text = lines.iter().fold(String::new(), |text, line| text + line + "\n");
    let last: usize = lines.iter().rev().take(4).map(|l| l.len() + 1).sum();
    for cut in text.len() - last..text.len() {
        let whole: Vec<Record> = text[..cut].lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let state = ExecState::default().replay(&whole);
        assert!(whole.len() + 4 >= lines.len());
        assert_eq!(state.seq, whole.last().unwrap().seq);
        assert!(state.intents.values().all(|i| i.state == IntentState::Open));
        // The scaler that goes on from there ends where the other one did.
        if cut % 16 == 0 {
            let mut world = World { journal: whole, ..world.clone() };
            world.stage = STAGES.len() - 1;
            let mut life = Life::new(&mut world, None, Fate::default());
            assert!(life.live());
            assert_eq!(life.check_end(), Vec::<String>::new(), "cut at {cut}");
        }
    }
    println!("cut at {last} places");
}

#[test]
fn a_state_of_an_older_version_loads() {
    let old = r#"{"seq":7,"next_intent":3,"intents":{"i1-3":{"call":{"launch":{"intent":"i1-3","attempt":1,"token":"t","farm":"mail","member_id":"b3"}},"state":"calling","wall_ms":5,"failures":0,"retry_wall_ms":0,"record":7}},"instances":{"i-1":{"instance_id":"i-1","farm":"mail","member_id":"b1","intent":"i1-1","state":"running","launched_wall_ms":4}}}"#;
    let state = serde_json::from_str::<ExecState>(old).unwrap().replay(&[]);
    assert_eq!((state.running().count(), state.launches_open(), state.intents["i1-3"].calls), (1, 1, 1));
    let line = r#"{"seq":8,"wall_ms":9,"kind":"intent","call":{"terminate":{"intent":"i2-4","instance_id":"i-1"}}}"#;
    let state = state.replay(&[serde_json::from_str(line).unwrap()]);
    assert!(state.is_busy("i-1"));
}
