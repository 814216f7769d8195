//! Layers by number, each with the one below it.

use crate::ids::CacheId;

/// A layer among others, by the records.
#[derive(Debug, Clone, Copy)]
pub struct Stacked<'l> {
    /// The layer.
    pub id: &'l CacheId,
    /// The position, among the same layers, of the layer below; `None` for a base layer.
    pub parent: Option<usize>,
}

/// For each layer, of which `parents` has the position of the one below, whether `holds` is true for it and for all layers
/// below it. Each layer is asked at most once. For layers in a circle, and for those on top of one, the answer is `false`.
pub(super) fn down_to_the_base(parents: &[Option<usize>], holds: impl Fn(usize) -> bool) -> Vec<bool> {
    let mut known: Vec<Option<bool>> = vec![None; parents.len()];
    let mut path = Vec::new();
    for start in 0..parents.len() {
        let mut next = Some(start);
        let mut sound = true;
        while let Some(at) = next {
            match known.get(at).copied() {
                Some(None) => {}
                Some(Some(found)) => {
                    sound = found;
                    break;
                }
                // A parent that is not among the layers.
                None => {
                    sound = false;
                    break;
                }
            }
            // A layer that is met again before its answer is known is in a circle, and keeps this answer.
            known[at] = Some(false);
            path.push(at);
            next = parents[at];
        }
        while let Some(at) = path.pop() {
            sound = sound && holds(at);
            known[at] = Some(sound);
        }
    }
    known.into_iter().map(|known| known == Some(true)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_below_is_wrong_above() {
        let layers = [Some(1), Some(2), None, Some(0), Some(5), Some(4), Some(99)];
        let all = down_to_the_base(&layers, |_| true);
        assert_eq!(all, [true, true, true, true, false, false, false]);
        assert_eq!(down_to_the_base(&layers, |at| at != 1), [false, false, true, false, false, false, false]);
        assert_eq!(down_to_the_base(&layers, |at| at != 2), [false; 7]);
    }
}
