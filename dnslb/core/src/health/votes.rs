//! N of M viewpoints agree: one verdict out of several.
//!
//! Whoever is not heard counts neither way, so a viewpoint that is alone decides alone. Pure counting, without memory but for the
//! verdict itself.

use super::Measured;
use farm_shared::time::Mono;
use serde::Serialize;

/// What viewpoints say of a member, ourselves among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Votes {
    /// How many say that it is down.
    pub down: u32,
    /// How many say that it is up.
    pub up: u32,
    /// How many must say that it is down, of those that were heard.
    pub needed: u32,
}

impl Votes {
    /// Our own verdict and those of others that were heard lately; `agree` of all must say that a member is down, or all that were
    /// heard if they are fewer.
    pub fn count(agree: u32, own: Measured, others: impl Iterator<Item = bool>) -> Self {
        let mut votes = Self::default();
        let own = match own {
            Measured::Unknown => None,
            Measured::Up => Some(true),
            Measured::Down => Some(false),
        };
        for up in own.into_iter().chain(others) {
            *if up { &mut votes.up } else { &mut votes.down } += 1;
        }
        votes.needed = agree.clamp(1, votes.heard().max(1));
        votes
    }

    /// How many have a verdict.
    pub fn heard(&self) -> u32 {
        self.down.saturating_add(self.up)
    }

    /// What they say together.
    pub fn verdict(&self) -> Measured {
        match self.heard() {
            0 => Measured::Unknown,
            _ if self.down >= self.needed => Measured::Down,
            _ => Measured::Up,
        }
    }

    /// Whether it is served, and one more that says down takes it out.
    pub fn tips(&self) -> bool {
        self.verdict() != Measured::Down && self.down.saturating_add(1) >= self.needed
    }
}

/// What was agreed about a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    votes: Votes,
    since: Option<Mono>,
}

impl Agreed {
    /// New votes. `Some` if the verdict changed.
    pub fn take(&mut self, at: Mono, votes: Votes) -> Option<Measured> {
        let (before, now) = (self.votes.verdict(), votes.verdict());
        self.votes = votes;
        if before == now {
            return None;
        }
        self.since = (before == Measured::Down && now == Measured::Up).then_some(at);
        Some(now)
    }

    /// The last votes.
    pub fn votes(&self) -> Votes {
        self.votes
    }

    /// When it came back; none if it was never down.
    pub fn since(&self) -> Option<Mono> {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn votes(agree: u32, own: char, others: &str) -> Votes {
        let own = match own {
            'u' => Measured::Up,
            'd' => Measured::Down,
            _ => Measured::Unknown,
        };
        Votes::count(agree, own, others.chars().map(|vote| vote == 'u'))
    }

    #[test]
    fn a_member_goes_down_when_enough_say_so() {
        use Measured::{Down, Unknown, Up};
        for (agree, own, others, expect) in [
            (2, 'd', "uu", Up),
            (2, 'd', "ud", Down),
            (2, 'u', "dd", Down),
            (2, 'u', "du", Up),
            // Fewer are heard than must agree: all of them.
            (2, 'd', "", Down),
            (3, 'd', "d", Down),
            (3, 'd', "u", Up),
            (3, 'd', "dd", Down),
            // Whoever has no verdict counts neither way.
            (2, '?', "d", Down),
            (2, '?', "u", Up),
            (2, '?', "dd", Down),
            (2, '?', "", Unknown),
            (1, 'u', "du", Down),
            (1, 'u', "uu", Up),
        ] {
            assert_eq!(votes(agree, own, others).verdict(), expect, "{agree} of {own}{others}");
        }
    }

    #[test]
    fn one_vote_from_falling() {
        assert!(votes(2, 'u', "du").tips());
        assert!(!votes(2, 'u', "uu").tips());
        assert!(!votes(2, 'd', "du").tips(), "it fell");
        assert!(votes(2, 'u', "").tips(), "alone");
    }

    #[test]
    fn a_return_has_a_time() {
        let mut agreed = Agreed::default();
        assert_eq!(agreed.take(Mono(1), votes(2, 'u', "uu")), Some(Measured::Up));
        assert_eq!((agreed.since(), agreed.take(Mono(2), votes(2, 'd', "uu"))), (None, None));
        assert_eq!(agreed.take(Mono(3), votes(2, 'd', "du")), Some(Measured::Down));
        assert_eq!(agreed.take(Mono(4), votes(2, 'u', "du")), Some(Measured::Up));
        assert_eq!(agreed.since(), Some(Mono(4)));
    }
}
