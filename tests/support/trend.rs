//! Whether a row of measurements goes up.

/// A line through measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// What the measurements change by, from the first to the last, along the line of least squares.
    pub change: f64,
    /// Their median.
    pub median: f64,
}

impl Trend {
    /// The line of least squares through points of time and measurement; none through fewer than three points, or points of one time.
    #[must_use]
    pub fn of(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < 3 {
            return None;
        }
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (time, value) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|point| (point.0 - time).powi(2)).sum();
        let together: f64 = points
            .iter()
            .map(|point| (point.0 - time) * (point.1 - value))
            .sum();
        if spread == 0.0 {
            return None;
        }
        let length = points.last()?.0 - points.first()?.0;
        let mut values: Vec<f64> = points.iter().map(|point| point.1).collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            change: together / spread * length,
            median: values[values.len() / 2],
        })
    }

    /// The change as a share of the median.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.change / self.median
    }
}
