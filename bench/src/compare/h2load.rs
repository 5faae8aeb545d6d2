//! Why: load over HTTP/2 comes from h2load of nghttp2; its report is text, and the time of each request stands in a file.
//! Never: no percentile of a sample of the requests: all of them are read.

use super::server::{LOAD_CORE, pinned};
use super::wrk::{WrkReport, output};
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

/// Reads a report; the percentile is not in it.
pub fn parse(text: &str) -> Option<WrkReport> {
    let mut report = WrkReport::default();
    let mut counted = false;
    for line in text.lines().map(str::trim) {
        let number = |word: &str| {
            let part =
                line.split([':', ',']).map(str::trim).find_map(|part| part.strip_suffix(word)?.trim().parse::<u64>().ok());
            part.unwrap_or(0)
        };
        if line.starts_with("requests:") {
            report.responses = number("done");
            report.failed = number("failed") + number("errored") + number("timeout");
            counted = true;
        } else if line.starts_with("status codes:") {
            report.wrong = report.responses.saturating_sub(number("3xx"));
        }
    }
    counted.then_some(report)
}

/// The 99th percentile of the third column, which is in microseconds.
fn p99_us(log: &Path) -> io::Result<Option<f64>> {
    let mut times = Vec::new();
    for line in BufReader::new(std::fs::File::open(log)?).lines() {
        times.extend(line?.split('\t').nth(2).and_then(|us| us.parse::<u32>().ok()));
    }
    times.sort_unstable();
    Ok(times.get(times.len() * 99 / 100).map(|us| f64::from(*us)))
}

/// Runs it for whole seconds on the load's core, over TLS. `log` is a file to write to.
pub fn run(
    program: &Path,
    url: &str,
    headers: &[&str],
    connections: u32,
    streams: u32,
    seconds: u64,
    log: &Path,
) -> io::Result<WrkReport> {
    // It appends.
    let _ = std::fs::remove_file(log);
    let mut arguments = vec![format!("-c{connections}"), format!("-m{streams}"), format!("-D{}", seconds.max(1))];
    arguments.push(format!("--log-file={}", log.display()));
    arguments.extend(headers.iter().flat_map(|header| ["-H".to_string(), (*header).to_string()]));
    arguments.push(url.to_string());
    let text = output(pinned(LOAD_CORE, program, &arguments), seconds)?;
    let mut report = parse(&text).ok_or_else(|| io::Error::other(format!("h2load said: {text}")))?;
    report.p99_us = p99_us(log)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports() {
        let text = "finished in 1.00s, 21421.00 req/s, 6.13MB/s\nrequests: 21421 total, 21425 started, 21421 done, 21420 succeeded, 1 failed, 0 errored, \
            2 timeout\nstatus codes: 1 2xx, 21420 3xx, 0 4xx, 0 5xx\n";
        assert_eq!(parse(text), Some(WrkReport { responses: 21_421, wrong: 1, failed: 3, p99_us: None }));
        assert_eq!(parse("nothing"), None);
    }

    #[test]
    fn percentiles_are_of_all() {
        let log = std::env::temp_dir().join(format!("farm-bench-h2load-{}", std::process::id()));
        let lines: Vec<String> = (1..=200).map(|us| format!("17\t302\t{us}")).collect();
        std::fs::write(&log, lines.join("\n")).unwrap();
        let found = p99_us(&log);
        std::fs::remove_file(&log).unwrap();
        assert_eq!(found.unwrap(), Some(199.0));
    }
}
