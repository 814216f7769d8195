//! Names of files and directories, and the words they are made of.

use super::content::Class;
use super::measured::{DIRECTORY_NAME_LENGTHS, NAME_LENGTHS};
use super::random::Random;

/// A vocabulary whose words come as often as Zipf says: the n-th one as the n-th part of the first.
#[derive(Debug)]
pub(super) struct Words {
    words: Vec<String>,
    /// Of the weights up to each word, itself included.
    sums: Vec<u64>,
}

const VOCABULARY: u64 = 1_000;

impl Words {
    pub(super) fn new(random: &mut Random) -> Self {
        let words = (0..VOCABULARY).map(|_| word(random)).collect();
        let mut sum = 0;
        let weigh = |rank| {
            sum += 1_000_000 / (rank + 3);
            sum
        };
        Self { words, sums: (0..VOCABULARY).map(weigh).collect() }
    }

    pub(super) fn pick(&self, random: &mut Random) -> &str {
        let drawn = random.below(self.sums[self.sums.len() - 1]);
        &self.words[self.sums.partition_point(|&sum| sum <= drawn)]
    }

    /// The name of a directory.
    pub(super) fn directory(&self, random: &mut Random) -> String {
        self.stem(random.pick(&DIRECTORY_NAME_LENGTHS), random)
    }

    /// The name of a file of a class.
    pub(super) fn file(&self, class: Class, random: &mut Random) -> String {
        let endings: &[&str] = match class {
            Class::Source => &[".h", ".hpp", ".go", ".c", ".hpp"],
            Class::Prose => &["", ".py", ".txt", ".pl", ".vim", ".list"],
            Class::Data => &[".mo", "", ".ttf", ".pyc"],
            Class::Table => &["", ".bin", ".db"],
            Class::Binary => &["", "", ".so", ".ko"],
            Class::Library => &[".so", ".a", ".so.1"],
            Class::Packed => &[".gz", ".png", ".zip", ".gz"],
            Class::Mixed => &[".img", ".db"],
        };
        let ending = endings[random.below(endings.len() as u64) as usize];
        // A few of the real paths do not fit a header; some names are not ASCII.
        let length = if random.one_in(2_000) { 110 + random.below(120) as usize } else { random.pick(&NAME_LENGTHS) };
        let mut name = self.stem(length.saturating_sub(ending.len()).max(1), random);
        if random.one_in(1_000) {
            name.push('é');
        }
        name + ending
    }

    /// Words put together, of exactly `length` bytes.
    pub(super) fn stem(&self, length: usize, random: &mut Random) -> String {
        let mut stem = String::with_capacity(length + 16);
        while stem.len() < length {
            if !stem.is_empty() {
                stem.push(['-', '_', '.', '-'][random.below(4) as usize]);
            }
            // Any word: names differ more than text does.
            stem.push_str(&self.words[random.below(self.words.len() as u64) as usize]);
        }
        stem.truncate(length);
        if !stem.ends_with(|end: char| end.is_ascii_lowercase()) {
            stem.pop();
            stem.push('s');
        }
        stem
    }
}

fn word(random: &mut Random) -> String {
    const ONSETS: [&str; 16] = ["b", "d", "g", "k", "l", "m", "n", "p", "r", "s", "t", "st", "tr", "v", "pl", "dr"];
    const VOWELS: [&str; 8] = ["a", "e", "i", "o", "a", "e", "io", "ea"];
    const CODAS: [&str; 8] = ["", "", "n", "r", "s", "t", "l", "m"];
    let mut word = String::new();
    for _ in 0..1 + random.below(3) {
        word += ONSETS[random.below(16) as usize];
        word += VOWELS[random.below(8) as usize];
        word += CODAS[random.below(8) as usize];
    }
    word
}
