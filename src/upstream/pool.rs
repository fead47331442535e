//! The threads that handshakes run on, so that those of sessions can have shallow stacks.
//!
//! A handshake (TLS above all) dirties a deep stack, which a thread that lives as long as its session would keep.
//! There is no queue, and so no handshake waits for another: each is handed to a thread that rests, or gets a new one. There are as
//! many as sessions that connect at once; where none can be made that attempt fails, and the next comes after the back-off.
//! When idle: a few threads rest for two seconds, since making one is an eighth of what opening a session costs.

use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::Duration;

/// TLS with one certificate takes up to 64 KiB in a debug build; chains, other key types and the resolver
/// take more. Only what is touched costs memory. More than four times a session's stack: up to that glibc makes the deep, dirty
/// stack of a handshake that has ended into one of a session, which kept 2 KB a session after 3,000 were opened at once.
const STACK: usize = 1024 * 1024;

/// Threads that rest at a time; another one that has nothing to do ends at once.
const RESTING_MAX: usize = 4;

/// Then one that rests ends too.
const REST: Duration = Duration::from_secs(2);

pub type Job = Box<dyn FnOnce() + Send>;

pub struct Pool {
    /// Has room for nothing: a job goes in when a thread rests at the other end.
    jobs: Sender<Job>,
    resting: Resting,
}

#[derive(Clone)]
struct Resting {
    jobs: Receiver<Job>,
    threads: Arc<AtomicUsize>,
}

impl Pool {
    pub fn new() -> Pool {
        let (sender, jobs) = bounded(0);
        Pool { jobs: sender, resting: Resting { jobs, threads: Arc::default() } }
    }

    /// Runs `job` at once. An error: no thread rests, and none can be made.
    pub fn run(&self, job: Job) -> io::Result<()> {
        let Err(refused) = self.jobs.try_send(job) else { return Ok(()) };
        let (first, resting) = (refused.into_inner(), self.resting.clone());
        let thread = Builder::new().name("handshake".to_owned()).stack_size(STACK);
        thread.spawn(move || resting.work(first)).map(drop)
    }
}

impl Resting {
    fn work(&self, first: Job) {
        let mut job = Some(first);
        while let Some(run) = job {
            run();
            job = self.next();
        }
    }

    fn next(&self) -> Option<Job> {
        let before = self.threads.fetch_add(1, Ordering::Relaxed);
        let job = if before < RESTING_MAX { self.jobs.recv_timeout(REST).ok() } else { None };
        self.threads.fetch_sub(1, Ordering::Relaxed);
        job
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::RecvTimeoutError;
    use std::thread::{self, ThreadId};
    use std::time::Instant;

    /// Long enough for any machine; a test that meets it has failed.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Runs a job that says which thread it has.
    fn thread_of_the_next(pool: &Pool) -> ThreadId {
        let (say, said) = bounded(1);
        pool.run(Box::new(move || say.send(thread::current().id()).unwrap())).unwrap();
        said.recv_timeout(PATIENCE).unwrap()
    }

    fn wait_until(is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
    }

    #[test]
    fn no_job_waits_for_another() {
        let pool = Pool::new();
        let (hold, held) = bounded::<()>(0);
        for _ in 0..20 {
            let held = held.clone();
            pool.run(Box::new(move || held.recv().unwrap_or_default())).unwrap();
        }

        thread_of_the_next(&pool);

        drop(hold);
    }

    #[test]
    fn one_after_another_they_share_a_few_threads() {
        let pool = Pool::new();

        let mut threads: Vec<_> = (0..1_000).map(|_| thread_of_the_next(&pool)).collect();

        threads.sort_by_key(|id| format!("{id:?}"));
        threads.dedup();
        assert!(threads.len() < 500, "{} threads for 1,000 jobs", threads.len());
    }

    #[test]
    fn a_few_rest_and_these_end_too() {
        let pool = Pool::new();
        let (hold, held) = bounded::<()>(0);
        for _ in 0..20 {
            let held = held.clone();
            pool.run(Box::new(move || held.recv().unwrap_or_default())).unwrap();
        }
        let threads = || Arc::strong_count(&pool.resting.threads) - 1;
        assert_eq!(threads(), 20);
        let start = Instant::now();

        drop(hold);

        wait_until(|| threads() <= RESTING_MAX);
        wait_until(|| threads() == 0);
        assert!(start.elapsed() >= REST, "none rested");
    }

    #[test]
    fn a_panic_costs_its_own_job_only() {
        let pool = Pool::new();
        let (say, said) = bounded::<()>(1);
        pool.run(Box::new(move || {
            let _dropped = say;
            panic!("meant");
        }))
        .unwrap();
        assert_eq!(said.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));

        thread_of_the_next(&pool);
    }
}
