//! A list without repetitions, in the order of arrival. An archive decides how long it gets, so adding a value does not
//! search the list.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::Deref;

/// Values, each once.
#[derive(Debug, Clone)]
pub(super) struct Distinct<T> {
    values: Vec<T>,
    seen: HashSet<T>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self { values: Vec::new(), seen: HashSet::new() }
    }
}

impl<T: Clone + Eq + Hash> Distinct<T> {
    /// Adds a value, unless it is there already.
    pub(super) fn push(&mut self, value: T) {
        if self.seen.insert(value.clone()) {
            self.values.push(value);
        }
    }

    /// The values.
    pub(super) fn into_vec(self) -> Vec<T> {
        self.values
    }
}

impl<T> Deref for Distinct<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values
    }
}
