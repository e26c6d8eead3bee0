//! A gzip file that is written in parts, by several runs.
//!
//! It is one member, as every reader expects it (RFC 1952 section 2.2): a run that continues another one needs the
//! checksum and the length of what was compressed so far. Each part ends at a byte boundary, and what comes after it
//! does not refer to it, so that no other state is left behind.

use std::io::{self, Write as _};

use crc32fast::Hasher;
use flate2::{Compression, write::DeflateEncoder};

/// The header: deflate, no flags, no time, an unknown system (RFC 1952 section 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// What a run needs to continue another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GzipState {
    /// The checksum of the content so far.
    pub crc: u32,
    /// The length of the content so far, in bytes.
    pub length: u64,
}

/// Compresses content, and hands out what is compressed in parts.
pub struct GzipParts {
    encoder: DeflateEncoder<Vec<u8>>,
    checksum: Hasher,
    length: u64,
}

impl GzipParts {
    /// Begins a file, or continues one after a part. `rest`: what was handed out, but is to be in the next part.
    #[must_use]
    pub fn new(state: GzipState, rest: Vec<u8>) -> Self {
        let GzipState { crc, length } = state;
        let begun = if length == 0 && rest.is_empty() { HEADER.to_vec() } else { rest };
        Self {
            encoder: DeflateEncoder::new(begun, Compression::default()),
            checksum: Hasher::new_with_initial_len(crc, length),
            length,
        }
    }

    /// How many compressed bytes there are to hand out, at least.
    #[must_use]
    pub fn compressed_len(&self) -> usize {
        self.encoder.get_ref().len()
    }

    /// Adds content.
    ///
    /// # Errors
    /// Never, since it writes to memory.
    pub fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.checksum.update(content);
        self.length += u64::try_from(content.len()).unwrap_or_default();
        self.encoder.write_all(content)
    }

    /// Hands out a part that ends here, and the state after it.
    ///
    /// # Errors
    /// Never, since it writes to memory.
    pub fn part(&mut self) -> io::Result<(Vec<u8>, GzipState)> {
        self.encoder.flush()?;
        let part = std::mem::take(self.encoder.get_mut());
        Ok((part, GzipState { crc: self.checksum.clone().finalize(), length: self.length }))
    }

    /// Hands out the last part.
    ///
    /// # Errors
    /// Never, since it writes to memory.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        let mut part = self.encoder.finish()?;
        part.extend_from_slice(&self.checksum.finalize().to_le_bytes());
        // The length modulo 2³².
        part.extend_from_slice(&self.length.to_le_bytes()[..4]);
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn plain(file: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        // Of several members it reads the first alone.
        let mut decoder = GzDecoder::new(file);
        decoder.read_to_end(&mut content).expect("gzip");
        content
    }

    #[test]
    fn what_is_compressed_so_far_counts_until_it_is_handed_out() {
        let mut parts = GzipParts::new(GzipState::default(), Vec::new());
        assert_eq!(parts.compressed_len(), HEADER.len());
        let random: Vec<u8> = (0..200_000).map(|_| fastrand::u8(..)).collect();
        parts.write(&random).expect("written");
        let counted = parts.compressed_len();
        let (part, state) = parts.part().expect("part");
        assert!((100_000..=part.len()).contains(&counted), "{counted} of {}", part.len());
        assert_eq!(parts.compressed_len(), 0);
        assert_eq!(state, GzipState { crc: crc32fast::hash(&random), length: 200_000 });
        assert_eq!(GzipParts::new(state, b"rest".to_vec()).compressed_len(), 4);
    }

    #[test]
    fn nothing_is_a_file_too() {
        let file = GzipParts::new(GzipState::default(), Vec::new()).finish().expect("file");
        assert_eq!(plain(&file), b"");
    }

    #[test]
    fn a_run_after_a_part_that_was_stored_goes_on_without_another_header() {
        let mut parts = GzipParts::new(GzipState::default(), Vec::new());
        parts.write(b"stored").expect("written");
        let (mut file, state) = parts.part().expect("part");
        let mut parts = GzipParts::new(state, Vec::new());
        parts.write(b" and more").expect("written");
        file.extend(parts.finish().expect("file"));
        assert_eq!(plain(&file), b"stored and more");
    }

    proptest! {
        #[test]
        fn parts_of_several_runs_are_one_file(
            contents in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..3_000), any::<bool>()), 1..20)
        ) {
            let (mut file, mut whole) = (Vec::new(), Vec::new());
            let mut parts = GzipParts::new(GzipState::default(), Vec::new());
            for (content, is_new_run) in contents {
                parts.write(&content).expect("written");
                whole.extend_from_slice(&content);
                let (part, state) = parts.part().expect("part");
                if is_new_run {
                    // This run goes on, dies, and its work since the part is lost.
                    parts.write(b"lost").expect("written");
                    parts = GzipParts::new(state, part);
                } else {
                    file.extend(part);
                }
            }
            file.extend(parts.finish().expect("file"));
            prop_assert_eq!(plain(&file), whole);
        }
    }
}
