//! A row of numbers in a terminal.

const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Numbers as one line of `width` bars between zero and `top` (the largest, if that is not positive). Each bar shows the largest
/// number of its stretch, so that a short peak is not lost; a stretch without a finite number is a blank.
pub fn spark(values: &[f64], width: usize, top: f64) -> String {
    let columns = columns(values, width);
    let top = ceiling(&columns, top);
    columns.iter().map(|v| bar(*v / top * 8.0)).collect()
}

/// The same, `height` lines high, the topmost line first.
pub fn curve(values: &[f64], width: usize, height: usize, top: f64) -> Vec<String> {
    let columns = columns(values, width);
    let top = ceiling(&columns, top);
    let line = |row: usize| columns.iter().map(|v| bar((*v / top * height as f64 - row as f64) * 8.0)).collect();
    (0..height).rev().map(line).collect()
}

fn columns(values: &[f64], width: usize) -> Vec<f64> {
    let width = width.min(values.len());
    let stretch = |n: usize| values.get(n * values.len() / width..(n + 1) * values.len() / width).unwrap_or_default();
    let largest = |part: &[f64]| part.iter().copied().filter(|v| v.is_finite()).fold(f64::NAN, f64::max);
    (0..width).map(|n| largest(stretch(n))).collect()
}

fn ceiling(columns: &[f64], top: f64) -> f64 {
    if top > 0.0 && top.is_finite() { top } else { columns.iter().copied().fold(f64::MIN_POSITIVE, f64::max) }
}

/// What is above zero is seen. A cast takes a number that is none for zero.
fn bar(eighths: f64) -> char {
    EIGHTHS.get(eighths.ceil().clamp(0.0, 8.0) as usize).copied().unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        assert_eq!(spark(&[0.0, 1.0, 4.0, 8.0], 4, 8.0), " ▁▄█");
        assert_eq!(spark(&[0.0, 9.0, 1.0, 1.0], 2, 0.0), "█▁");
        assert_eq!(spark(&[1.0, f64::NAN, 1.0], 9, 0.0), "█ █");
        assert_eq!(spark(&[], 9, 0.0), "");
        assert_eq!(spark(&[0.0, 0.0], 0, 0.0), "");
        assert_eq!(curve(&[1.0, 2.0, 4.0], 3, 2, 4.0), ["  █", "▄██"]);
    }
}
