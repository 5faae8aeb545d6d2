//! Why: HTTP load comes from wrk, which does not follow redirects; its report is text, read here.
//! Never: no guess: a report without a count of requests is an error.

use super::server::{LOAD_CORE, pinned};
use super::wait;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What wrk counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WrkReport {
    /// Responses.
    pub responses: u64,
    /// Those that were neither 2xx nor 3xx.
    pub wrong: u64,
    /// Connections, reads and writes that failed, and time-outs.
    pub failed: u64,
    /// 99th percentile of the time to a response, in microseconds.
    pub p99_us: Option<f64>,
}

fn time_us(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 6e7)];
    units.iter().find_map(|(unit, scale)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * scale))
}

/// Reads a report.
pub fn parse(text: &str) -> Option<WrkReport> {
    let mut report = WrkReport::default();
    let mut counted = false;
    for line in text.lines().map(str::trim) {
        if let Some((count, _)) = line.split_once(" requests in ") {
            report.responses = count.parse().ok()?;
            counted = true;
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            report.wrong = count.trim().parse().ok()?;
        } else if let Some(errors) = line.strip_prefix("Socket errors:") {
            report.failed = errors.split(',').filter_map(|part| part.rsplit(' ').next()?.parse::<u64>().ok()).sum();
        } else if let Some(time) = line.strip_prefix("99%") {
            report.p99_us = time_us(time.trim());
        }
    }
    counted.then_some(report)
}

/// Runs it for whole seconds on the load's core.
pub fn run(program: &Path, url: &str, headers: &[&str], connections: u32, seconds: u64) -> io::Result<WrkReport> {
    let mut arguments =
        vec!["-t1".to_string(), format!("-c{connections}"), format!("-d{}s", seconds.max(1)), "--latency".into()];
    arguments.extend(headers.iter().flat_map(|header| ["-H".to_string(), (*header).to_string()]));
    arguments.push(url.to_string());
    let text = output(pinned(LOAD_CORE, program, &arguments), seconds)?;
    parse(&text).ok_or_else(|| io::Error::other(format!("wrk said: {text}")))
}

/// What a load generator wrote, which ends by itself after so many seconds.
pub(super) fn output(mut command: Command, seconds: u64) -> io::Result<String> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let ended = wait::until(Duration::from_secs(seconds + 20), || child.try_wait().ok().flatten());
    if ended.is_none() {
        child.kill()?;
        child.wait()?;
        return Err(io::Error::other("the load generator did not end"));
    }
    // A report is a few lines and fits the pipe.
    let mut text = String::new();
    if let Some(out) = child.stdout.take() {
        out.take(64 * 1024).read_to_string(&mut text)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports() {
        let text = "Running 5s test @ http://127.0.0.1:1/\n  1 threads and 32 connections\n  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    \
            Latency   301.00us   52.00us   2.10ms   90.00%\n  Latency Distribution\n     50%  290.00us\n     99%    1.25ms\n  \
            512345 requests in 5.00s, 90.00MB read\n  Socket errors: connect 0, read 3, write 0, timeout 1\n  Non-2xx or 3xx responses: 7\n\
            Requests/sec: 102469.00\n";
        let expect = WrkReport { responses: 512_345, wrong: 7, failed: 4, p99_us: Some(1_250.0) };
        assert_eq!(parse(text), Some(expect));
        assert_eq!(parse("unable to connect"), None);
        for (text, expect) in [("301.00us", Some(301.0)), ("2.00s", Some(2e6)), ("1.00m", Some(6e7)), ("x", None)] {
            assert_eq!(time_us(text), expect, "{text}");
        }
    }
}
