//! Operators' words: drain, down, up, and taking them back; by whom, and until when.
//!
//! A word about an unknown member is refused, never kept for later. One that has an end is taken back by the wall clock, also after a
//! restart; a word that is replaced or taken back takes its end along.

use super::event::{AdminCommand, Effect, Notice, NoticeKind};
use super::{Control, Saved};
use farm_shared::config::format_duration_ms;
use farm_shared::id::Id;
use farm_shared::member::{Change, Forced};
use farm_shared::time::{Now, Wall};
use serde::{Deserialize, Serialize};

/// Characters of a reason or a name that are kept.
const TEXT_CHARS_MAX: usize = 200;

/// The longest time that a word can have, in milliseconds: a year. Who means longer gives none.
const FOR_MS_MAX: u64 = 366 * 86_400_000;

/// Beside what an operator forced: who said so, when, and until when. Milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Who said it, as the command line or the caller of the API tells; empty if nobody did.
    #[serde(default)]
    pub by: String,
    /// When.
    #[serde(default)]
    pub at_ms: u64,
    /// When it ends by itself, if it does.
    #[serde(default)]
    pub until_ms: Option<u64>,
}

impl Control {
    /// One word; the first effect is the answer.
    pub(super) fn admin(&mut self, now: Now, command: &AdminCommand) -> Vec<Effect> {
        let mut effects = Vec::new();
        let answer = self.force(now, command, &mut effects);
        effects.insert(0, Effect::Answer(answer));
        effects
    }

    fn force(&mut self, now: Now, command: &AdminCommand, effects: &mut Vec<Effect>) -> Result<String, String> {
        let parts = command.target.split_once('/').map(|(group, member)| (Id::new(group), Id::new(member)));
        let Some((Ok(group), Ok(member))) = parts else {
            return Err(format!("\"{}\" is neither POOL/MEMBER nor FARM/ID", command.target));
        };
        let clip = |text: &str| text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect::<String>();
        let mut said = match command.force {
            Some(Forced::Drain) => "is draining",
            Some(Forced::Down) => "is forced down",
            Some(Forced::Up) => "is forced up",
            None => "is as measured again",
        }
        .to_owned();
        let forced = command.force.map(|force| (force, clip(&command.why)));
        let mut word = Word { by: clip(&command.by), at_ms: now.wall.0, until_ms: None };
        if let (Some(for_ms), Some(_)) = (command.for_ms, command.force) {
            if for_ms == 0 || for_ms > FOR_MS_MAX {
                return Err(format!("{} is no time from 1ms to 366d", format_duration_ms(for_ms)));
            }
            word.until_ms = Some(now.wall.0.saturating_add(for_ms));
            said.push_str(" for ");
            said.push_str(&format_duration_ms(for_ms));
        }
        let place = self.put(&group, &member, forced, &said, effects)?;
        if command.force.is_some() {
            self.words.insert(place.clone(), word);
        } else {
            self.words.remove(&place);
        }
        Ok(format!("{}/{} {said}", place.0, place.1))
    }

    /// Puts what is forced where it belongs: with a static member of a pool, or with a member of a farm, which a pool may stand for.
    fn put(
        &mut self,
        group: &Id,
        member: &Id,
        forced: Option<(Forced, String)>,
        said: &str,
        effects: &mut Vec<Effect>,
    ) -> Result<(Id, Id), String> {
        let mut farm_id = group.clone();
        if let Some(pool) = self.pools.iter_mut().find(|pool| pool.spec.name == *group) {
            if let Some(fixed) = pool.statics.iter_mut().find(|s| s.spec.name == *member) {
                fixed.forced = forced;
                pool.dirty = true;
                self.marks.persist_now = true;
                effects.push(Notice::of(NoticeKind::Member(Change::Forced), group, member, said));
                return Ok((group.clone(), member.clone()));
            }
            farm_id = pool.spec.farm.clone().unwrap_or(farm_id);
        }
        let farm = self.farms.get_mut(&farm_id).ok_or_else(|| format!("no pool or farm has a member {group}/{member}"))?;
        let change = farm.roster.force(member, forced).ok_or_else(|| format!("{farm_id} has no member {member}"))?;
        debug_assert_eq!(change, Change::Forced);
        self.marks.persist_now = true;
        self.changed(&farm_id, member, change, false, effects);
        Ok((farm_id, member.clone()))
    }

    /// Takes back the words whose time is over. Cheap while there are none: words are few.
    pub(super) fn end_words(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let over = |word: &Word| word.until_ms.is_some_and(|until_ms| Wall(until_ms) <= now.wall);
        let ended: Vec<(Id, Id)> = self.words.iter().filter(|(_, w)| over(w)).map(|(place, _)| place.clone()).collect();
        for place in ended {
            self.words.remove(&place);
            self.marks.persist_now = true;
            // A member that is not configured any more has lost its word already.
            let _ = self.put(&place.0, &place.1, None, "is as measured again: its time is over", effects);
        }
    }

    /// Takes over the words that a restart left; those of members that are not known have no meaning.
    pub(super) fn restore_words(&mut self, saved: &mut Saved) {
        for (group, members) in std::mem::take(&mut saved.words) {
            self.words.extend(members.into_iter().map(|(member, word)| ((group.clone(), member), word)));
        }
    }

    /// The word about a member of a pool, or of a farm.
    pub(super) fn word(&self, group: &Id, member: &Id) -> Option<&Word> {
        self.words.get(&(group.clone(), member.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::control::{Event, MemberStatus};
    use crate::zone::Files;
    use farm_shared::draw::Draws;
    use farm_shared::time::Mono;

    struct Zone;

    impl Files for Zone {
        fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
            Ok(b"@ 60 SOA ns1 host 1 2 3 4 5\n@ 60 NS ns1\nns1 60 A 192.0.2.1\n".to_vec())
        }
    }

    const TEXT: &str = "[[zone]]\nname = 'lb.example.com'\nfile = 'z'\n[[pool]]\nname = 'www'\npublish = ['www.lb.example.com']\n\
                        [[pool.member]]\nname = 'a'\naddresses = ['192.0.2.1']\n";

    const HOUR_MS: u64 = 3_600_000;

    fn control(saved: Saved, wall_ms: u64) -> (Control, Now) {
        let loaded = crate::config::load("t", TEXT, &Zone).unwrap();
        let now = Now { mono: Mono(0), wall: Wall(wall_ms) };
        (Control::new(loaded.spec, loaded.zones, saved, now, Draws::from_u64(1)), now)
    }

    fn say(control: &mut Control, now: Now, force: Option<Forced>, for_ms: Option<u64>) -> Result<String, String> {
        let (why, by) = ("new disk".into(), "ann\n".into());
        let command = AdminCommand { target: "www/a".into(), force, why, by, for_ms };
        let effects = control.step(now, Event::Admin(command));
        let answer = effects.into_iter().find_map(|e| if let Effect::Answer(answer) = e { Some(answer) } else { None });
        let _ = control.flush(now);
        answer.unwrap()
    }

    fn member(control: &Control, now: Now) -> MemberStatus {
        control.status(now).pools.first().unwrap().members.first().unwrap().clone()
    }

    #[test]
    fn a_word_ends_by_the_wall_clock_also_after_a_restart() {
        let begin_ms = 1_800_000_000_000;
        let (mut control, now) = self::control(Saved::default(), begin_ms);
        let _ = control.flush(now);
        assert_eq!(say(&mut control, now, Some(Forced::Drain), Some(HOUR_MS)).unwrap(), "www/a is draining for 1h");
        let shown = member(&control, now);
        assert_eq!((shown.standing, shown.measured, shown.forced), ("draining", "in_service", Some(Forced::Drain)));
        let until_ms = Some(begin_ms + HOUR_MS);
        assert_eq!(shown.word, Some(Word { by: "ann".into(), at_ms: begin_ms, until_ms }));
        let saved = Saved::from_json(&control.save().to_json()).unwrap();
        for (later_ms, standing) in [(HOUR_MS - 1, "draining"), (HOUR_MS, "in_service"), (30 * HOUR_MS, "in_service")] {
            let (mut control, now) = self::control(saved.clone(), begin_ms + later_ms);
            let _ = (control.step(now, Event::Tick), control.flush(now));
            let shown = member(&control, now);
            assert_eq!((shown.standing, shown.word.is_some()), (standing, standing == "draining"), "{later_ms}");
        }
    }

    #[test]
    fn the_last_word_counts() {
        let (mut control, now) = control(Saved::default(), 1_000);
        assert!(say(&mut control, now, Some(Forced::Down), Some(0)).is_err());
        assert!(say(&mut control, now, Some(Forced::Down), Some(u64::MAX)).is_err());
        assert_eq!(member(&control, now).forced, None);
        say(&mut control, now, Some(Forced::Down), Some(HOUR_MS)).unwrap();
        // One without an end replaces one that had one.
        say(&mut control, now, Some(Forced::Up), None).unwrap();
        let later = now.plus_ms(2 * HOUR_MS);
        let _ = (control.step(later, Event::Tick), control.flush(later));
        assert_eq!(member(&control, later).forced, Some(Forced::Up));
        say(&mut control, later, None, None).unwrap();
        assert_eq!((member(&control, later).word, control.words.len()), (None, 0));
    }

    #[test]
    fn an_old_state_has_no_words() {
        let text = br#"{"v":1,"pools":{"www":{"a":{"forced":["drain","disk"]}}}}"#;
        let (mut control, now) = control(Saved::from_json(text).unwrap(), 1_000);
        let _ = control.flush(now);
        let shown = member(&control, now);
        assert_eq!((shown.forced, shown.word), (Some(Forced::Drain), None));
    }
}
