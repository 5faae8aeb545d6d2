//! Recorded requests held against botocore's model of EC2, and their signatures against botocore's: `tests/ec2/validate.py`.

use crate::daemon::root;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// The access key of all tests; nobody has it.
pub const KEY_ID: &str = "AKIDTEST";
/// Its secret.
pub const SECRET: &str = "a-secret-of-the-tests";

/// What the validator found: `requests`, `signatures`, `actions`, `problems`.
pub fn report(python: &Path, calls: &Path, signed: bool) -> Value {
    let mut command = Command::new(python);
    command.arg(root().join("tests/ec2/validate.py")).arg(calls);
    if signed {
        command.args(["--key-id", KEY_ID, "--secret", SECRET]);
    }
    let output = command.output().expect("python3 starts");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// The problems of a report.
pub fn problems(report: &Value) -> Vec<String> {
    let problems = report["problems"].as_array().expect("a list of problems");
    problems.iter().map(|p| p.as_str().unwrap_or_default().to_owned()).collect()
}
