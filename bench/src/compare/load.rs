//! Why: a bounded closed loop of questions over several sockets, in batches, that counts every answer and looks at each.
//! Never: sends to loopback only, no longer than it was told, and never more questions at once than its window.

use super::batch::{BATCH, Calls, Datagrams};
use super::question::{Expect, Question, id_of, is_right};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// A question without an answer for so long is given up.
const PATIENCE: Duration = Duration::from_millis(200);

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct LoadPlan {
    /// Whom; loopback only.
    pub target: SocketAddr,
    /// Sockets, each with a port of its own.
    pub sockets: usize,
    /// Questions under way per socket, at most 32.
    pub window: usize,
    /// How long.
    pub time: Duration,
    /// No more answers than that.
    pub answers_max: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Right answers.
    pub answers: u64,
    /// Wrong ones.
    pub wrong: u64,
    /// Questions given up.
    pub lost: u64,
    /// From the first question to the end, in nanoseconds.
    pub elapsed_ns: u64,
}

/// A place for one question under way. Its index is the low part of the id, the high part tells late answers apart.
#[derive(Clone, Copy)]
struct Slot {
    id: u16,
    expect: Expect,
    waiting: bool,
}

struct Lane {
    socket: UdpSocket,
    slots: Vec<Slot>,
    next: usize,
    /// When anything was sent or came in last.
    moved: Instant,
}

impl Lane {
    fn new(plan: &LoadPlan, next: usize) -> io::Result<Self> {
        let socket = UdpSocket::bind((plan.target.ip(), 0))?;
        socket.connect(plan.target)?;
        let slots = (0..plan.window.clamp(1, BATCH) as u16).map(|id| Slot { id, expect: Expect::Any, waiting: false });
        Ok(Self { socket, slots: slots.collect(), next, moved: Instant::now() })
    }

    /// Puts a question into every free slot.
    fn ask(&mut self, calls: &mut Calls, out: &mut Datagrams, questions: &[Question]) -> io::Result<()> {
        out.clear();
        for slot in self.slots.iter_mut().filter(|slot| !slot.waiting) {
            let Some(question) = questions.get(self.next % questions.len()) else { break };
            self.next += 1;
            let Some(datagram) = out.push(&question.bytes) else { break };
            // 32 slots, so that 2,048 rounds pass before an id comes back.
            slot.id = slot.id.wrapping_add(BATCH as u16);
            slot.expect = question.expect;
            slot.waiting = true;
            if let Some(room) = datagram.first_chunk_mut::<2>() {
                *room = slot.id.to_be_bytes();
            }
        }
        calls.send(&self.socket, out)
    }

    /// Takes what has come and frees its slots.
    fn take(&mut self, calls: &mut Calls, into: &mut Datagrams, counts: &mut Counts) -> io::Result<()> {
        calls.receive(&self.socket, into, false)?;
        for answer in into.iter() {
            let Some(id) = id_of(answer) else { continue };
            let slot = self.slots.get_mut(id as usize % BATCH).filter(|slot| slot.waiting && slot.id == id);
            let Some(slot) = slot else { continue };
            slot.waiting = false;
            if is_right(answer, slot.expect) {
                counts.answers += 1;
            } else {
                counts.wrong += 1;
            }
        }
        Ok(())
    }

    /// Gives up what has waited on a lane where nothing moves any more. A single loss only narrows a lane's window until then.
    fn give_up(&mut self, counts: &mut Counts) {
        for slot in self.slots.iter_mut().filter(|slot| slot.waiting) {
            slot.waiting = false;
            counts.lost += 1;
        }
    }
}

/// Asks until the time is over or the answers are enough. What is under way at the end is neither counted nor lost.
pub fn run(plan: &LoadPlan, questions: &[Question]) -> io::Result<Counts> {
    if !plan.target.ip().is_loopback() {
        return Err(io::Error::other("the load generator sends to loopback only"));
    }
    if questions.is_empty() {
        return Err(io::Error::other("nothing to ask"));
    }
    let stride = questions.len() / plan.sockets.clamp(1, 256) + 1;
    let lanes = (0..plan.sockets.clamp(1, 256)).map(|i| Lane::new(plan, i * stride));
    let mut lanes = lanes.collect::<io::Result<Vec<_>>>()?;
    let (mut calls, mut out, mut into) = (Calls::default(), Datagrams::default(), Datagrams::default());
    let mut counts = Counts::default();
    let began = Instant::now();
    for lane in &mut lanes {
        lane.ask(&mut calls, &mut out, questions)?;
    }
    loop {
        let now = Instant::now();
        if now - began >= plan.time || counts.answers + counts.wrong >= plan.answers_max {
            counts.elapsed_ns = (now - began).as_nanos() as u64;
            return Ok(counts);
        }
        for lane in &mut lanes {
            lane.take(&mut calls, &mut into, &mut counts)?;
            if !into.is_empty() {
                lane.moved = now;
            } else if now - lane.moved > PATIENCE {
                lane.give_up(&mut counts);
                lane.moved = now;
            } else {
                continue;
            }
            lane.ask(&mut calls, &mut out, questions)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::question::Case;

    /// Answers NXDOMAIN to all but every `skip`th question, with every `wrong`th a SERVFAIL.
    fn fake_server(skip: u64, wrong: u64) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            for n in 1_u64.. {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                buffer[2] = 0x84;
                buffer[3] = if n % wrong == 0 { 2 } else { 3 };
                if n % skip != 0 {
                    socket.send_to(&buffer[..length], from).unwrap();
                }
            }
        });
        address
    }

    fn plan(target: SocketAddr, answers_max: u64) -> LoadPlan {
        LoadPlan { target, sockets: 4, window: 8, time: Duration::from_mins(1), answers_max }
    }

    #[test]
    fn every_answer_is_counted_once() {
        let counts = run(&plan(fake_server(u64::MAX, u64::MAX), 2_000), &Case::NoName.questions(1)).unwrap();
        assert!((2_000..2_000 + 4 * 32).contains(&counts.answers), "{counts:?}");
        assert_eq!(counts.wrong, 0);
        assert!(counts.elapsed_ns > 0);
    }

    #[test]
    fn loss_and_wrong_answers_do_not_stop_it() {
        let counts = run(&plan(fake_server(5, 7), 200), &Case::NoName.questions(1)).unwrap();
        assert!(counts.answers + counts.wrong >= 200 && counts.wrong > 0, "{counts:?}");
    }

    #[test]
    fn only_loopback_and_only_questions() {
        assert!(run(&plan("192.0.2.1:53".parse().unwrap(), 1), &Case::Static.questions(1)).is_err());
        assert!(run(&plan("127.0.0.1:53".parse().unwrap(), 1), &[]).is_err());
    }
}
