//! How many files the process may have open. The usual soft limit of 1,024 stands against programs that use `select`; it is less than
//! the connections that a daemon allows, and a stranger who opens many must not leave it without a descriptor for its own work.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one, and warns if that is less than `needed`.
pub fn raise_open_files(needed: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If the system refuses, the old limit stays, and what follows says so.
    let _ = setrlimit(Resource::Nofile, limit);
    if let Some(open_files) = getrlimit(Resource::Nofile).current.filter(|current| *current < needed) {
        tracing::warn!(
            open_files,
            needed,
            "fewer files may be open than the configuration can need: raise the hard limit (ulimit -Hn)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_reaches_the_hard_one() {
        raise_open_files(u64::MAX);
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
    }
}
