//! Other people's programs at another time of day: a preloaded clock that is ahead of the machine's.
//!
//! Debian's faketime does not do for BIND's tools: they are linked with jemalloc, which reads the clock while libfaketime allocates, and
//! libfaketime gives up ("unexpected recursive calls to clock_gettime()") however it is set. This clock allocates nothing. Only
//! the wall clock is moved, never the one that measures spans, so that timeouts stay what they are. It must never be used for our
//! own daemons, whose time is an argument of their pure parts; a command of ours that looks at the clock once may be told another day.

use crate::daemon::Scratch;
use crate::peer::{installed, skipped};
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *at) {
    int result = (int)syscall(SYS_clock_gettime, clock, at);
    const char *ahead_s = getenv("CLOCK_AHEAD_S");
    if (result == 0 && ahead_s && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        at->tv_sec += atol(ahead_s);
    }
    return result;
}

time_t time(time_t *out) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (out) *out = at.tv_sec;
    return at.tv_sec;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec at;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &at);
    out->tv_sec = at.tv_sec;
    out->tv_usec = at.tv_nsec / 1000;
    return 0;
}
"#;

/// The clock as a library to preload.
pub struct Clock(PathBuf);

impl Clock {
    /// Builds it; `None`, said loudly, without a C compiler.
    pub fn build(scratch: &Scratch) -> Option<Self> {
        let compiler = installed("cc")?;
        let (source, library) = (scratch.write("clock.c", SOURCE), scratch.path().join("clock.so"));
        let output = Command::new(compiler).args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).output();
        if output.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(library));
        }
        skipped(&format!("the C compiler makes no library: {output:?}"));
        None
    }

    /// Lets a program believe that it is `at_s`, in seconds since the epoch.
    #[expect(clippy::disallowed_methods, reason = "how far ahead is counted from the present")]
    pub fn set(&self, command: &mut Command, at_s: u64) {
        let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let ahead_s = i128::from(at_s) - i128::from(now_s);
        command.env("LD_PRELOAD", &self.0).env("CLOCK_AHEAD_S", ahead_s.to_string());
    }
}
