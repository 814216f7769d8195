//! Medians and spreads.

use serde::Serialize;

/// The middle, the least and the most of some figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The median: of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// How many.
    #[serde(skip)]
    pub count: usize,
}

impl Spread {
    /// Of some figures; nothing if there are none.
    pub fn from_figures(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let above = *sorted.get(middle)?;
        let median = if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[middle - 1], above) } else { above };
        Some(Self { median, min: sorted[0], max: sorted[sorted.len() - 1], count: sorted.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_two() {
        assert_eq!(Spread::from_figures([4.0, 1.0, 3.0, 2.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(
            Spread::from_figures([8.0, 1.0, 3.0, 4.0]),
            Some(Spread { median: 3.5, min: 1.0, max: 8.0, count: 4 })
        );
        assert_eq!(Spread::from_figures([3.0]), Some(Spread { median: 3.0, min: 3.0, max: 3.0, count: 1 }));
        assert_eq!(
            Spread::from_figures([5.0, 1.0, 3.0]).map(|spread| (spread.min, spread.median, spread.max)),
            Some((1.0, 3.0, 5.0))
        );
        assert_eq!(Spread::from_figures([]), None);
    }
}
