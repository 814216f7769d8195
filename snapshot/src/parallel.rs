//! Does many small pieces of work with several threads, where that is faster.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// More threads than this only wait for each other in the kernel.
const MOST_THREADS: usize = 8;

/// How pieces are shared out.
#[derive(Clone, Copy)]
struct Shares {
    /// A thread is started only for at least this many.
    worth_a_thread: usize,
    /// What a thread takes at a time.
    block: usize,
}

/// Starting a thread takes as long as reading some hundred small files.
const SMALL: Shares = Shares { worth_a_thread: 256, block: 64 };

const LARGE: Shares = Shares { worth_a_thread: 2, block: 1 };

/// How many results of [`each`] wait to be taken.
const TOGETHER: usize = 128 * SMALL.block;

/// Calls `work` on each item and returns the results in the order of the items.
///
/// If a thread cannot be started, the other threads do its share.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    map_after(items, SMALL, work, || {})
}

/// Calls `work` on each item as [`map`] does, for pieces that each take as long as starting a thread or longer.
pub fn map_large<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    map_after(items, LARGE, work, || {})
}

/// Calls `work` on each item as [`map`] does, and `take` on each result, in the order of the items. Only some thousands of results wait
/// to be taken at a time.
pub fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync, mut take: impl FnMut(R)) {
    for some in items.chunks(TOGETHER) {
        map(some, &work).into_iter().for_each(&mut take);
    }
}

/// Calls `work` on each item as [`map`] does, for work that opens many files. Threads that share a table of descriptors wait for each
/// other at each open and close, which takes an eighth of their time, so each helper has a table of its own. No descriptor that was
/// opened by `work` may outlive it: nobody else has it.
pub(crate) fn map_files<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    // Where that is not allowed, it only takes longer.
    map_after(items, SMALL, work, || {
        let _ = nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES);
    })
}

/// Calls both functions, `aside` on a thread of its own where the system allows it. For work of one thread beside work of several:
/// no processor waits until it is done.
pub(crate) fn beside<A: Send, B>(aside: impl FnOnce() -> A + Send, here: impl FnOnce() -> B) -> (A, B) {
    let aside = Mutex::new(Some(aside));
    let take = || aside.lock().unwrap_or_else(PoisonError::into_inner).take().map(|aside| aside());
    std::thread::scope(|scope| {
        let helper = layerfs::pool::spawn_helpers(scope, 1, take).pop();
        let here = here();
        let done = helper.and_then(|helper| helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        (done.or_else(take).expect("it was called here if not by the helper"), here)
    })
}

/// Calls `work` on each item; `prepare` is called first by each thread that helps.
fn map_after<T: Sync, R: Send>(
    items: &[T],
    shares: Shares,
    work: impl Fn(&T) -> R + Sync,
    prepare: impl Fn() + Copy + Send + Sync,
) -> Vec<R> {
    let processors = layerfs::pool::processors().get();
    let threads = processors.min(MOST_THREADS).min(items.len() / shares.worth_a_thread);
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Vec<R>)>> = Mutex::default();
    let run = &|| {
        loop {
            let block = next.fetch_add(1, Ordering::Relaxed);
            let Some(rest) = items.get(block * shares.block..).filter(|rest| !rest.is_empty()) else { return };
            let results: Vec<R> = rest.iter().take(shares.block).map(&work).collect();
            done.lock().unwrap_or_else(PoisonError::into_inner).push((block, results));
        }
    };
    std::thread::scope(|scope| {
        layerfs::pool::spawn_helpers(scope, threads - 1, move || {
            prepare();
            run();
        });
        run();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(block, _)| *block);
    let mut all = Vec::with_capacity(items.len());
    done.into_iter().for_each(|(_, results)| all.extend(results));
    all
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_are_called_once() {
        let (mut aside, mut here) = (0, 0);
        assert_eq!(
            super::beside(
                || {
                    aside += 1;
                    "aside"
                },
                || {
                    here += 1;
                    "here"
                }
            ),
            ("aside", "here")
        );
        assert_eq!((aside, here), (1, 1));
    }

    #[test]
    fn results_are_in_order() {
        for count in [0, 1, 255, 256, 1000, 4096, 5001] {
            let items: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = items.iter().map(|item| item * 2).collect();
            assert_eq!(super::map(&items, |item| item * 2), doubled);
            assert_eq!(super::map_files(&items, |item| item * 2), doubled);
            assert_eq!(super::map_large(&items, |item| item * 2), doubled);
        }
        let many: Vec<usize> = (0..2 * super::TOGETHER + 1).collect();
        let mut taken = Vec::new();
        super::each(&many, |item| *item, |item| taken.push(item));
        assert_eq!(taken, many);
    }
}
