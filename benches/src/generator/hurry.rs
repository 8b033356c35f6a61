//! An open loop's thread is put before the brokers that it shares the cores with.
//!
//! A thread that wakes for its due instant waits, in the system's ordinary class, until whoever runs has used its slice up:
//! on a kernel that preempts at its tick that is up to 4 ms, which is more than an acknowledgement takes. No schedule can be
//! kept so. The load stands for clients on machines of their own; the real-time class gives it their punctuality, for
//! the little that one thread does.

use std::io;

/// The class, and the priority within it, that this thread had.
pub(super) struct Ordinary {
    policy: i32,
    priority: libc::sched_param,
}

/// Hurries from here on. Returns what to go back to; `None` where the system does not allow it (it takes `CAP_SYS_NICE` or
/// a limit of real-time priority), and then the lag that is measured says what came of that.
pub(super) fn hurry() -> Option<Ordinary> {
    let before = current()?;
    let hurried = Ordinary {
        policy: libc::SCHED_FIFO,
        priority: libc::sched_param { sched_priority: 1 },
    };
    hurried.restore().ok()?;
    Some(before)
}

#[allow(
    unsafe_code,
    reason = "the scheduler's calls have no safe form in the standard library"
)]
fn current() -> Option<Ordinary> {
    let mut priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: both calls concern the calling thread; the second writes to `priority`, which is alive and of its type.
    let (policy, got) = unsafe {
        (
            libc::sched_getscheduler(0),
            libc::sched_getparam(0, &raw mut priority),
        )
    };
    (policy >= 0 && got == 0).then_some(Ordinary { policy, priority })
}

impl Ordinary {
    /// Gives the calling thread this class.
    #[allow(
        unsafe_code,
        reason = "the scheduler's calls have no safe form in the standard library"
    )]
    pub(super) fn restore(&self) -> io::Result<()> {
        // SAFETY: it reads `priority`, which is alive and of its type, and concerns the calling thread.
        let set = unsafe { libc::sched_setscheduler(0, self.policy, &raw const self.priority) };
        if set == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_hurried_is_an_ordinary_one_again() {
        let before = current().unwrap();
        if let Some(ordinary) = hurry() {
            assert_eq!(current().unwrap().policy, libc::SCHED_FIFO);
            ordinary.restore().unwrap();
        }
        assert_eq!(current().unwrap().policy, before.policy);
    }
}
