//! Operators' words: drain, down, up, and taking them back.
//!
//! A word about an unknown member is refused, never kept for later.

use super::Control;
use super::event::{AdminCommand, Effect, Notice, NoticeKind};
use farm_shared::id::Id;
use farm_shared::member::{Change, Forced};

impl Control {
    /// One word; the first effect is the answer.
    pub(super) fn admin(&mut self, command: &AdminCommand) -> Vec<Effect> {
        let mut effects = Vec::new();
        let answer = self.force(command, &mut effects);
        effects.insert(0, Effect::Answer(answer));
        effects
    }

    fn force(&mut self, command: &AdminCommand, effects: &mut Vec<Effect>) -> Result<String, String> {
        let parts = command.target.split_once('/').map(|(group, member)| (Id::new(group), Id::new(member)));
        let Some((Ok(group), Ok(member))) = parts else {
            return Err(format!("\"{}\" is neither POOL/MEMBER nor FARM/ID", command.target));
        };
        let forced = command.force.map(|force| (force, command.why.chars().take(200).collect::<String>()));
        let said = match command.force {
            Some(Forced::Drain) => "is draining",
            Some(Forced::Down) => "is forced down",
            Some(Forced::Up) => "is forced up",
            None => "is as measured again",
        };
        let mut farm_id = group.clone();
        if let Some(pool) = self.pools.iter_mut().find(|pool| pool.spec.name == group) {
            if let Some(fixed) = pool.statics.iter_mut().find(|s| s.spec.name == member) {
                fixed.forced = forced;
                pool.dirty = true;
                self.marks.persist_now = true;
                effects.push(Notice::of(NoticeKind::Member(Change::Forced), &group, &member, said));
                return Ok(format!("{group}/{member} {said}"));
            }
            farm_id = pool.spec.farm.clone().unwrap_or(farm_id);
        }
        let farm = self.farms.get_mut(&farm_id).ok_or_else(|| format!("no pool or farm has a member {group}/{member}"))?;
        let change = farm.roster.force(&member, forced).ok_or_else(|| format!("{farm_id} has no member {member}"))?;
        debug_assert_eq!(change, Change::Forced);
        self.marks.persist_now = true;
        self.changed(&farm_id, &member, change, false, effects);
        Ok(format!("{farm_id}/{member} {said}"))
    }
}
