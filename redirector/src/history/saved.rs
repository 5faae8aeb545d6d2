//! The history on disk: rows under named columns, so that a version with other columns still reads it.
//!
//! What is read is somebody's file: it must never be believed to be in order, in bounds or of this version.

use super::{COLUMNS, History, RANGES, Sample};
use serde_json::{Value, json};

impl History {
    /// All ranges as the bytes of [`super::HISTORY_FILE`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let ranges = self.ranges();
        let all: Vec<Value> = (0..RANGES.len()).map(|n| ranges.json(n)).collect();
        json!({ "v": 1, "ranges": all, "events": self.events.json() }).to_string().into_bytes()
    }

    /// What an earlier run kept; what cannot be understood is left out.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut history = Self::default();
        let file: Value = serde_json::from_slice(bytes).unwrap_or_default();
        for saved in file["ranges"].as_array().into_iter().flatten() {
            let Some(at) = RANGES.iter().position(|range| saved["range"] == range.name) else { continue };
            let (Some(range), Some(ring)) = (RANGES.get(at), history.rings.get_mut(at)) else { continue };
            let columns: Vec<&str> =
                saved["columns"].as_array().into_iter().flatten().map(|c| c.as_str().unwrap_or_default()).collect();
            let rows = saved["rows"].as_array().into_iter().flatten();
            for sample in rows.filter_map(|row| sample(&columns, row)) {
                ring.push(*range, sample);
            }
        }
        history.events.restore(&file["events"]);
        history
    }
}

/// End, span, numbers.
pub(super) fn row(sample: &Sample) -> Value {
    let round = |v: &f32| json!((f64::from(*v) * 100.0).round() / 100.0);
    let mut row = vec![json!(sample.wall_ms), json!(sample.span_ms)];
    row.extend(sample.values().iter().map(round));
    row.into()
}

fn sample(columns: &[&str], row: &Value) -> Option<Sample> {
    let row = row.as_array()?;
    let cell = |name: &str| row.get(columns.iter().position(|c| *c == name)?);
    let mut sample = Sample {
        wall_ms: cell("wall_ms")?.as_u64()?,
        span_ms: cell("span_ms")?.as_u64().filter(|ms| *ms > 0)?,
        ..Sample::default()
    };
    for (column, name) in COLUMNS {
        let value = cell(name).and_then(Value::as_f64).unwrap_or_default();
        sample.set(column, if (0.0..1e12).contains(&value) { value } else { 0.0 });
    }
    Some(sample)
}
