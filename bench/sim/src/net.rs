//! The network between the actors: delay, loss, and who cannot reach whom.

use crate::dice::Die;

/// Somebody who sends or receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    /// The redirector.
    Door,
    /// A name server.
    Name(usize),
    /// A server, by the number of its machine.
    Host(usize),
    /// All clients and their resolvers.
    Clients,
}

/// A partition: nothing passes between the two sides until a time.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// One side.
    pub a: Vec<Node>,
    /// The other; empty is everybody else.
    pub b: Vec<Node>,
    /// Until when, in milliseconds.
    pub until_ms: u64,
}

/// The network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Net {
    /// Partitions; those that are over do no harm.
    pub cuts: Vec<Cut>,
    /// Share of messages lost, until when.
    pub loss: (f64, u64),
}

impl Net {
    /// Whether messages pass at all.
    pub(crate) fn connects(&self, from: Node, to: Node, now_ms: u64) -> bool {
        let across = |cut: &Cut, x: Node, y: Node| {
            cut.a.contains(&x) && if cut.b.is_empty() { !cut.a.contains(&y) } else { cut.b.contains(&y) }
        };
        !self.cuts.iter().any(|cut| cut.until_ms > now_ms && (across(cut, from, to) || across(cut, to, from)))
    }

    /// How long one datagram takes, if it arrives.
    pub(crate) fn datagram(&self, from: Node, to: Node, now_ms: u64, die: &mut Die) -> Option<u64> {
        let loss = if self.loss.1 > now_ms { self.loss.0 } else { 0.001 };
        let lost = die.chance(loss);
        let delay_ms = die.between(1, 40);
        (!lost && self.connects(from, to, now_ms)).then_some(delay_ms)
    }

    /// Forgets what is over.
    pub(crate) fn tidy(&mut self, now_ms: u64) {
        self.cuts.retain(|cut| cut.until_ms > now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_hold_both_ways_and_end() {
        let one = Cut { a: vec![Node::Host(1)], b: vec![Node::Door], until_ms: 10 };
        let alone = Cut { a: vec![Node::Name(0)], b: vec![], until_ms: 20 };
        let net = Net { cuts: vec![one, alone], loss: (0.0, 0) };
        for (from, to, now_ms, expect) in [
            (Node::Host(1), Node::Door, 9, false),
            (Node::Door, Node::Host(1), 9, false),
            (Node::Host(1), Node::Door, 10, true),
            (Node::Host(2), Node::Door, 0, true),
            (Node::Host(2), Node::Name(0), 0, false),
            (Node::Clients, Node::Name(0), 19, false),
            (Node::Clients, Node::Door, 0, true),
        ] {
            assert_eq!(net.connects(from, to, now_ms), expect, "{from:?} {to:?} {now_ms}");
        }
    }
}
