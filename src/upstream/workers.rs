//! Threads with deep stacks for handshakes, so that the threads of the sessions can have shallow ones.
//!
//! A handshake (TLS above all) dirties a deep stack; a thread that lives as long as its session would
//! keep that memory for ever. So the work is done here, by as many threads as handshakes are under way.
//! When idle: a few stay, the others end. There is no queue: a job finds a thread that waits, or gets a new one.

use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Workers that stay when there is nothing to do: enough for clients that come one by one.
const IDLE_MAX: usize = 4;

/// TLS with one certificate takes up to 64 KiB in a debug build; chains, other key types and the resolver
/// take more. Only what is touched costs memory. More than four times a session's stack: up to that glibc makes the deep, dirty
/// stack of a worker that has ended into one of a session, which kept 2 KB a session after 3,000 were opened at once.
const STACK: usize = 1024 * 1024;

pub type Job = Box<dyn FnOnce() + Send>;

pub struct Workers {
    /// Has no room of its own: a job goes in only when a worker waits at the other end.
    jobs: Sender<Job>,
    waiting: Receiver<Job>,
    idle: Arc<AtomicUsize>,
}

impl Workers {
    pub fn new() -> Workers {
        let (jobs, waiting) = bounded(0);
        Workers { jobs, waiting, idle: Arc::default() }
    }

    /// Runs `job` at once, on a worker. An error means that no thread could be started.
    pub fn run(&self, job: Job) -> io::Result<()> {
        let Err(refused) = self.jobs.try_send(job) else { return Ok(()) };
        let job = refused.into_inner();
        let (waiting, idle) = (self.waiting.clone(), Arc::clone(&self.idle));
        thread::Builder::new()
            .name("handshake".to_owned())
            .stack_size(STACK)
            .spawn(move || work(job, &waiting, &idle))
            .map(drop)
    }
}

fn work(first: Job, waiting: &Receiver<Job>, idle: &AtomicUsize) {
    let mut job = first;
    loop {
        job();
        if idle.fetch_add(1, Ordering::Relaxed) >= IDLE_MAX {
            idle.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let next = waiting.recv();
        idle.fetch_sub(1, Ordering::Relaxed);
        match next {
            Ok(next) => job = next,
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_never_waits_for_another() {
        let workers = Workers::new();
        let (hold, held) = bounded::<()>(0);
        for _ in 0..20 {
            let held = held.clone();
            workers.run(Box::new(move || held.recv().unwrap_or_default())).unwrap();
        }

        let (done, ready) = bounded(1);
        workers.run(Box::new(move || done.send(()).unwrap())).unwrap();

        ready.recv().unwrap();
        drop(hold);
    }
}
