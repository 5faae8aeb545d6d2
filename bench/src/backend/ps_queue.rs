//! Why: processor sharing is how a web server under load behaves, every request in progress gets an equal share of the
//! cores, and it can be computed exactly with one timer: n jobs on c cores are each served at rate min(1, c/n), so one
//! number, the service any present job has received so far, orders all completions.
//! Never: no clock, no randomness, no I/O. Times are microseconds since an origin the caller chooses.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The caller's name for a job.
pub type JobId = u64;

/// Longest demand that is taken, microseconds (about 11 days): it keeps sums far inside what an `f64` resolves.
const DEMAND_US_MAX: f64 = 1e12;

/// A job's place: the attained service at which it is finished, and its arrival number for equal ones.
#[derive(Debug, Clone, Copy)]
struct Place {
    finish_us: f64,
    number: u64,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.finish_us.total_cmp(&other.finish_us).then(self.number.cmp(&other.number))
    }
}
impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Place {}

/// An exact processor-sharing queue. Arrivals and completions cost O(log n).
#[derive(Debug)]
pub struct PsQueue {
    cores: f64,
    now_us: u64,
    /// Service that a job present since the queue was last empty has received.
    attained_us: f64,
    arrivals: u64,
    jobs: BTreeMap<Place, JobId>,
    finished: Vec<JobId>,
    queue_integral: f64,
    busy_integral: f64,
}

impl PsQueue {
    /// An empty queue at time 0 with `cores` cores, clamped to 0.01..=1,024.
    pub fn new(cores: f64) -> Self {
        let cores = if cores.is_finite() { cores.clamp(0.01, 1_024.0) } else { 1.0 };
        Self {
            cores,
            now_us: 0,
            attained_us: 0.0,
            arrivals: 0,
            jobs: BTreeMap::new(),
            finished: Vec::new(),
            queue_integral: 0.0,
            busy_integral: 0.0,
        }
    }

    /// Jobs in service. All of them are: sharing knows no waiting line.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether nothing is in service.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// A job that needs `demand_us` microseconds of an otherwise idle core arrives. A time before the last call's counts as
    /// that one; a demand that is no number counts as 0.
    pub fn arrive(&mut self, now_us: u64, job: JobId, demand_us: f64) {
        self.run_to(now_us);
        let demand_us = if demand_us.is_nan() { 0.0 } else { demand_us.clamp(0.0, DEMAND_US_MAX) };
        let place = Place { finish_us: self.attained_us + demand_us, number: self.arrivals };
        self.arrivals += 1;
        self.jobs.insert(place, job);
    }

    /// When the next job finishes if nothing arrives, rounded up to a whole microsecond; `None` when there is none.
    /// `advance` at that time returns at least one job.
    pub fn next_completion(&self) -> Option<u64> {
        if !self.finished.is_empty() {
            return Some(self.now_us);
        }
        let (place, _) = self.jobs.first_key_value()?;
        Some((self.now_us as f64 + self.wall_us_until(place.finish_us)).ceil() as u64)
    }

    /// Lets time pass until `now_us` and returns the jobs that have finished since the last call, in their order.
    pub fn advance(&mut self, now_us: u64) -> Vec<JobId> {
        self.run_to(now_us);
        std::mem::take(&mut self.finished)
    }

    /// Integral of the number of jobs over time so far, job-microseconds.
    pub fn queue_integral(&self) -> f64 {
        self.queue_integral
    }

    /// Integral of the busy fraction of the cores over time so far, microseconds.
    pub fn busy_integral(&self) -> f64 {
        self.busy_integral
    }

    /// Service per unit of time that each job gets.
    fn rate(&self) -> f64 {
        (self.cores / self.jobs.len().max(1) as f64).min(1.0)
    }

    fn wall_us_until(&self, finish_us: f64) -> f64 {
        // Rounding can leave the attained service a hair beyond the earliest finish.
        (finish_us - self.attained_us).max(0.0) / self.rate()
    }

    fn account(&mut self, span_us: f64) {
        let jobs = self.jobs.len() as f64;
        self.queue_integral += jobs * span_us;
        self.busy_integral += (jobs / self.cores).min(1.0) * span_us;
    }

    fn run_to(&mut self, now_us: u64) {
        let mut at_us = self.now_us as f64;
        self.now_us = self.now_us.max(now_us);
        let end_us = self.now_us as f64;
        while let Some((&place, &job)) = self.jobs.first_key_value() {
            let span_us = self.wall_us_until(place.finish_us);
            if at_us + span_us > end_us {
                break;
            }
            self.account(span_us);
            at_us += span_us;
            self.attained_us = place.finish_us;
            self.jobs.remove(&place);
            self.finished.push(job);
        }
        if self.jobs.is_empty() {
            // A new busy period starts at 0, so the sum never grows for as long as the process lives.
            self.attained_us = 0.0;
        } else {
            self.account(end_us - at_us);
            self.attained_us += (end_us - at_us) * self.rate();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::draws::Draws;
    use proptest::prelude::*;

    /// Runs the queue by its own timer and returns (job, completion time) in order.
    fn run(cores: f64, arrivals: &[(u64, f64)]) -> Vec<(JobId, u64)> {
        let mut queue = PsQueue::new(cores);
        let mut done = Vec::new();
        let mut next = 0;
        loop {
            let arrival = arrivals.get(next).map(|(at, _)| *at);
            match (arrival, queue.next_completion()) {
                (Some(at), completion) if completion.is_none_or(|when| at <= when) => {
                    queue.arrive(at, next as JobId, arrivals[next].1);
                    next += 1;
                }
                (_, Some(when)) => {
                    let jobs = queue.advance(when);
                    assert!(!jobs.is_empty(), "a timer without a completion");
                    done.extend(jobs.into_iter().map(|job| (job, when)));
                }
                _ => return done,
            }
        }
    }

    /// The reference: small steps of time, each job's remaining demand kept on its own.
    fn naive(cores: f64, arrivals: &[(u64, f64)], step_us: f64) -> Vec<f64> {
        let mut left: Vec<f64> = arrivals.iter().map(|(_, demand)| *demand).collect();
        let mut done = vec![f64::NAN; arrivals.len()];
        let mut at_us = 0.0;
        while done.iter().any(|when| when.is_nan()) {
            let present: Vec<usize> =
                (0..arrivals.len()).filter(|i| done[*i].is_nan() && arrivals[*i].0 as f64 <= at_us).collect();
            let rate = (cores / present.len().max(1) as f64).min(1.0);
            at_us += step_us;
            for i in present {
                left[i] -= rate * step_us;
                if left[i] <= 1e-9 {
                    done[i] = at_us;
                }
            }
        }
        done
    }

    #[test]
    fn shares_by_hand() {
        let check = |cores: f64, arrivals: &[(u64, f64)], expect: &[(JobId, u64)]| {
            assert_eq!(run(cores, arrivals), expect, "{cores} {arrivals:?}");
        };
        check(1.0, &[(0, 10.0)], &[(0, 10)]);
        check(1.0, &[(0, 10.0), (0, 10.0)], &[(0, 20), (1, 20)]);
        check(2.0, &[(0, 10.0), (0, 10.0)], &[(0, 10), (1, 10)]);
        // The second arrives when the first has 50 left; both then get half a core.
        check(1.0, &[(0, 100.0), (50, 10.0)], &[(1, 70), (0, 110)]);
        check(0.5, &[(0, 10.0)], &[(0, 20)]);
        check(1.0, &[(5, 0.0)], &[(0, 5)]);
        check(1.0, &[(5, f64::NAN)], &[(0, 5)]);
    }

    #[test]
    fn time_never_goes_back_and_integrals_add_up() {
        let mut queue = PsQueue::new(2.0);
        queue.arrive(1_000, 1, 500.0);
        queue.arrive(400, 2, 500.0);
        assert_eq!(queue.next_completion(), Some(1_500));
        assert_eq!(queue.advance(10_000), vec![1, 2]);
        assert!(queue.is_empty());
        assert!((queue.queue_integral() - 1_000.0).abs() < 1e-6);
        assert!((queue.busy_integral() - 500.0).abs() < 1e-6);
    }

    #[test]
    fn a_finished_job_is_kept_for_the_next_advance() {
        let mut queue = PsQueue::new(1.0);
        queue.arrive(0, 1, 10.0);
        queue.arrive(50, 2, 10.0);
        assert_eq!((queue.len(), queue.next_completion()), (1, Some(50)));
        assert_eq!(queue.advance(50), vec![1]);
        assert_eq!(queue.advance(60), vec![2]);
        assert_eq!(queue.next_completion(), None);
    }

    /// M/M/1-PS at load rho: mean number in system rho/(1-rho), mean response service/(1-rho), busy fraction rho.
    #[test]
    fn queueing_theory_agrees() {
        let mut draws = Draws::new(11, 0);
        let (service_us, load) = (40_000.0, 0.7);
        let mut at_us = 0.0;
        let arrivals: Vec<(u64, f64)> = (0..60_000)
            .map(|_| {
                at_us += draws.exponential(service_us / load);
                (at_us as u64, draws.exponential(service_us))
            })
            .collect();
        let done = run(1.0, &arrivals);
        assert_eq!(done.len(), arrivals.len());
        let response_us =
            done.iter().map(|(job, when)| (when - arrivals[*job as usize].0) as f64).sum::<f64>() / done.len() as f64;
        let expect_us = service_us / (1.0 - load);
        assert!((response_us / expect_us - 1.0).abs() < 0.1, "{response_us} against {expect_us}");

        let mut queue = PsQueue::new(1.0);
        for (job, (at, demand)) in arrivals.iter().enumerate() {
            queue.arrive(*at, job as JobId, *demand);
        }
        let span_us = arrivals.last().unwrap().0 as f64;
        let (mean_jobs, busy) = (queue.queue_integral() / span_us, queue.busy_integral() / span_us);
        assert!((mean_jobs / (load / (1.0 - load)) - 1.0).abs() < 0.1, "{mean_jobs} jobs");
        assert!((busy - load).abs() < 0.02, "{busy} busy");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_the_naive_reference(
            cores in prop::sample::select(vec![0.5, 1.0, 2.0, 3.5]),
            gaps in prop::collection::vec((0_u64..200, 1_u32..400), 1..12),
        ) {
            let mut at = 0;
            let arrivals: Vec<(u64, f64)> = gaps.iter().map(|(gap, demand)| { at += gap; (at, f64::from(*demand)) }).collect();
            let expect = naive(cores, &arrivals, 0.25);
            let found = run(cores, &arrivals);
            prop_assert_eq!(found.len(), arrivals.len());
            for (job, when) in found {
                let error_us = when as f64 - expect[job as usize];
                // The reference errs by a step for every arrival and completion, the timer by its rounding.
                prop_assert!(error_us.abs() <= 0.25 * 24.0 + 1.0, "job {} at {} against {}", job, when, expect[job as usize]);
            }
        }

        #[test]
        fn coarse_steps_lose_nothing(steps in prop::collection::vec((0_u64..5_000, -10.0_f64..5_000.0), 1..60)) {
            let mut queue = PsQueue::new(1.0);
            let (mut now, mut done) = (0, Vec::new());
            for (job, (gap, demand)) in steps.iter().enumerate() {
                now += gap;
                queue.arrive(now, job as JobId, *demand);
                if job % 3 == 0 {
                    done.extend(queue.advance(now));
                }
            }
            let served: f64 = steps.iter().map(|(_, demand)| demand.max(0.0)).sum();
            done.extend(queue.advance(now + served.ceil() as u64 + 1));
            done.sort_unstable();
            prop_assert_eq!(done, (0..steps.len() as u64).collect::<Vec<_>>());
            prop_assert!((queue.busy_integral() - served).abs() < 1e-3);
        }
    }
}
