//! What happened: the control loop's notices and the shell's own, the last of each topic, so that a farm that joins and leaves all day does
//! not push out the one alarm.

use redirector_core::farm::Topic;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

const EVENTS_MAX: usize = 1_000;
/// Below this, a topic's events are kept however many others there are.
const TOPIC_MIN: usize = 100;
const TEXT_CHARS_MAX: usize = 400;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, milliseconds since the epoch.
    pub wall_ms: u64,
    /// What it is about.
    pub topic: Topic,
    /// One sentence.
    pub text: String,
}

/// The last of them, oldest first. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Events(Arc<VecDeque<Event>>);

impl Events {
    /// One more.
    pub fn add(&mut self, wall_ms: u64, topic: Topic, text: &str) {
        let events = Arc::make_mut(&mut self.0);
        events.push_back(Event { wall_ms, topic, text: text.chars().take(TEXT_CHARS_MAX).collect() });
        if events.len() > EVENTS_MAX {
            let count = |topic| events.iter().filter(|e| e.topic == topic).count();
            let often: Vec<Topic> = Topic::ALL.into_iter().filter(|t| count(*t) > TOPIC_MIN).collect();
            let oldest = events.iter().position(|e| often.contains(&e.topic)).unwrap_or_default();
            events.remove(oldest);
        }
    }

    /// The newest first, of one topic or of all.
    pub fn newest(&self, topic: Option<Topic>) -> impl Iterator<Item = &Event> {
        self.0.iter().rev().filter(move |e| topic.is_none_or(|t| e.topic == t))
    }

    pub(super) fn restore(&mut self, saved: &serde_json::Value) {
        for event in saved.as_array().into_iter().flatten() {
            if let Ok(Event { wall_ms, topic, text }) = Event::deserialize(event) {
                self.add(wall_ms, topic, &text);
            }
        }
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::to_value(&*self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_topic_leaves_the_others() {
        let mut events = Events::default();
        events.add(1, Topic::Alarm, "look");
        for n in 0..5_000 {
            events.add(n, Topic::Server, "joined");
        }
        assert_eq!(events.newest(None).count(), EVENTS_MAX);
        assert_eq!(events.newest(Some(Topic::Alarm)).count(), 1);
        assert_eq!(events.newest(Some(Topic::Server)).next().map(|e| e.wall_ms), Some(4_999));
        let mut again = Events::default();
        again.restore(&events.json());
        assert_eq!(again.json(), events.json());
    }
}
