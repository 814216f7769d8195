//! SHA-256 of a stream, piece by piece, alone or together with other streams.

use std::fmt;

use super::Digest;
use super::blocks::{self, BLOCK, INITIAL, LANES, State};

/// Hashes a stream piece by piece.
#[derive(Clone)]
pub struct Hasher(Engine);

/// Two implementations: on x86 processors without SHA instructions `ring`'s vector code is twice as fast as what `sha2`
/// has for them.
#[derive(Clone)]
enum Engine {
    Blocks(Message),
    #[cfg(target_arch = "x86_64")]
    Ring(ring::digest::Context),
}

/// A message of which whole blocks have gone into the state.
#[derive(Clone)]
struct Message {
    state: State,
    /// The start of the next block; `length` says how many of its bytes are there.
    partial: [u8; BLOCK],
    length: u64,
}

impl Message {
    const NEW: Self = Self { state: INITIAL, partial: [0; BLOCK], length: 0 };

    fn partial_len(&self) -> usize {
        (self.length % BLOCK as u64) as usize
    }

    /// Completes the block begun; returns what is left of `bytes`.
    fn top_up<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let begun = self.partial_len();
        if begun == 0 {
            return bytes;
        }
        let (now, rest) = bytes.split_at(bytes.len().min(BLOCK - begun));
        self.partial[begun..begun + now.len()].copy_from_slice(now);
        self.length += now.len() as u64;
        if self.partial_len() == 0 && !now.is_empty() {
            blocks::compress(&mut self.state, &[self.partial]);
        }
        rest
    }

    /// Keeps `bytes`, less than a block, for the next time. No block is begun, or `bytes` is empty.
    fn keep(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.partial[..bytes.len()].copy_from_slice(bytes);
            self.length += bytes.len() as u64;
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        let (whole, rest) = self.top_up(bytes).as_chunks::<BLOCK>();
        if !whole.is_empty() {
            blocks::compress(&mut self.state, whole);
            self.length += (whole.len() * BLOCK) as u64;
        }
        self.keep(rest);
    }

    /// FIPS 180-4, 5.1.1: a one bit, zeros, and the length in bits.
    fn finish(mut self) -> Digest {
        let bits = self.length.wrapping_mul(8);
        let begun = self.partial_len();
        let mut padding = [0; 2 * BLOCK];
        padding[0] = 0x80;
        let zeros = if begun < BLOCK - 8 { BLOCK - 8 - begun } else { 2 * BLOCK - 8 - begun };
        padding[zeros..zeros + 8].copy_from_slice(&bits.to_be_bytes());
        self.update(&padding[..zeros + 8]);
        let mut digest = [0; 32];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        Digest(digest)
    }
}

impl Default for Hasher {
    fn default() -> Self {
        #[cfg(target_arch = "x86_64")]
        if !blocks::together_pays() {
            return Self(Engine::Ring(ring::digest::Context::new(&ring::digest::SHA256)));
        }
        Self(Engine::Blocks(Message::NEW))
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Engine::Blocks(message) => message.update(bytes),
            #[cfg(target_arch = "x86_64")]
            Engine::Ring(hasher) => hasher.update(bytes),
        }
    }

    /// Takes the next bytes of several streams, which is faster than one after the other where
    /// the processor has SHA instructions.
    pub fn update_together(streams: &mut [(&mut Self, &[u8])]) {
        let mut messages: Vec<(&mut Message, &[u8])> = Vec::with_capacity(streams.len());
        for (hasher, bytes) in streams {
            match &mut hasher.0 {
                Engine::Blocks(message) => {
                    let rest = message.top_up(bytes);
                    messages.push((message, rest));
                }
                #[cfg(target_arch = "x86_64")]
                Engine::Ring(hasher) => hasher.update(bytes),
            }
        }
        loop {
            // The longest first, so that what is left at the end is as even as it can be.
            messages.sort_by_key(|(_, bytes)| std::cmp::Reverse(bytes.len()));
            let lanes = messages.iter().take(LANES).take_while(|(_, bytes)| bytes.len() >= BLOCK).count();
            match &mut messages[..lanes] {
                [a, b, c, d] => together([a, b, c, d]),
                [a, b, c] => together([a, b, c]),
                [a, b] => together([a, b]),
                _ => break,
            }
        }
        for (message, bytes) in messages {
            message.update(bytes);
        }
    }

    /// The digest of everything taken.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self.0 {
            Engine::Blocks(message) => message.finish(),
            #[cfg(target_arch = "x86_64")]
            Engine::Ring(hasher) => {
                let digest = hasher.finish();
                Digest(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
            }
        }
    }
}

/// Takes as many blocks of each message as the shortest has.
fn together<const L: usize>(lanes: [&mut (&mut Message, &[u8]); L]) {
    let count = lanes.iter().map(|(_, bytes)| bytes.len() / BLOCK).min().unwrap_or(0);
    let blocks = lanes.each_ref().map(|(_, bytes)| &bytes.as_chunks::<BLOCK>().0[..count]);
    let states = lanes.map(|(message, bytes)| {
        message.length += (count * BLOCK) as u64;
        *bytes = &bytes[count * BLOCK..];
        &mut message.state
    });
    blocks::compress_together(states, blocks);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn engines() -> Vec<Hasher> {
        let mut engines = vec![Hasher::default(), Hasher(Engine::Blocks(Message::NEW))];
        #[cfg(target_arch = "x86_64")]
        engines.push(Hasher(Engine::Ring(ring::digest::Context::new(&ring::digest::SHA256))));
        engines
    }

    /// The values are from FIPS 180-4's examples; all implementations must have them.
    #[test]
    fn implementations_agree() {
        for (text, expected) in [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ] {
            for mut hasher in engines() {
                text.as_bytes().chunks(2).for_each(|piece| hasher.update(piece));
                assert_eq!(hasher.finish().hex(), expected);
            }
        }
    }

    proptest! {
        /// Streams in pieces of any lengths, some together and some alone, against `sha2` in one go.
        #[test]
        fn together_is_as_alone(pieces in prop::collection::vec((0usize..6, 0usize..700, any::<u8>()), 0..60)) {
            let mut streams: Vec<(Hasher, Vec<u8>)> = (0..6).map(|_| (Hasher::default(), Vec::new())).collect();
            for turn in pieces.chunks(5) {
                let mut bytes: Vec<Vec<u8>> = vec![Vec::new(); 6];
                for &(stream, length, first) in turn {
                    bytes[stream].extend((0..length).map(|at| first.wrapping_add((at * at) as u8)));
                }
                for ((_, all), bytes) in streams.iter_mut().zip(&bytes) {
                    all.extend_from_slice(bytes);
                }
                let mut inputs: Vec<_> =
                    streams.iter_mut().zip(&bytes).map(|((hasher, _), bytes)| (hasher, bytes.as_slice())).collect();
                if turn.len() == 5 {
                    Hasher::update_together(&mut inputs);
                } else {
                    inputs.into_iter().for_each(|(hasher, bytes)| hasher.update(bytes));
                }
            }
            for (hasher, all) in streams {
                let expected: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(&all).into();
                prop_assert_eq!(hasher.finish().0, expected);
            }
        }
    }
}
