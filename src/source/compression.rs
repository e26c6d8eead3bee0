//! Decompression of gzip (RFC 1952) and Zstandard (RFC 8878), recognized by their magic numbers.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

use super::{PeekReader, invalid_data};
use crate::cause::chain;

/// The longest magic number.
const MAGIC_BYTES: usize = 4;

/// The largest window of a Zstandard frame, in bytes. It bounds the memory, and only the `--ultra` and
/// `--long` levels of the usual tools need more.
const MAX_WINDOW: u64 = 32 * 1024 * 1024;

/// Decompresses a source; one that is not compressed stays as it is.
pub(super) fn decompress(mut source: PeekReader) -> io::Result<PeekReader> {
    source.fill(|head| head.len() >= MAGIC_BYTES)?;
    let head = source.head();
    let is_gzip = head.starts_with(&[0x1f, 0x8b]);
    let is_zstd = head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let is_skippable = matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    Ok(if is_gzip {
        PeekReader::new(Box::new(MultiGzDecoder::new(source.into_buffered())))
    } else if is_zstd || is_skippable {
        PeekReader::new(Box::new(ZstdReader::new(source.into_buffered())))
    } else {
        source
    })
}

/// Zstandard frames one after the other; skippable frames are skipped (RFC 8878 section 3.1).
struct ZstdReader {
    source: Remembering,
    decoder: Box<FrameDecoder>,
    in_frame: bool,
}

impl ZstdReader {
    fn new(source: Box<dyn BufRead + Send>) -> Self {
        let mut decoder = Box::new(FrameDecoder::new());
        decoder.set_max_window_size(MAX_WINDOW);
        Self { source: Remembering { source, failure: None }, decoder, in_frame: false }
    }

    /// Begins the next frame; `false` at the end of the source.
    fn begin_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.source.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = self.source.by_ref().take(length.into());
                    if io::copy(&mut skipped, &mut io::sink())? < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(self.source.cause(&error)),
            }
        }
    }
}

impl Read for ZstdReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.in_frame || self.begin_frame()? {
            self.in_frame = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                if let Err(error) = self.decoder.decode_blocks(&mut self.source, one) {
                    return Err(self.source.cause(&error));
                }
            }
            let taken = self.decoder.read(buffer)?;
            if taken > 0 || buffer.is_empty() {
                return Ok(taken);
            }
            self.in_frame = false;
            let expected = self.decoder.get_checksum_from_data();
            if expected.is_some() && expected != self.decoder.get_calculated_checksum() {
                return Err(invalid_data("Zstandard: the checksum does not match"));
            }
        }
        Ok(0)
    }
}

/// Keeps the error of the source itself. The decoder wraps it in one of its own, and the kind of the original
/// decides whether the import is retried.
struct Remembering {
    source: Box<dyn BufRead + Send>,
    failure: Option<io::Error>,
}

impl Remembering {
    /// Why decoding failed: the source's own error, if there is one, or else the decoder's.
    fn cause(&mut self, error: &FrameDecoderError) -> io::Error {
        self.failure.take().unwrap_or_else(|| invalid_data(format!("Zstandard: {error}")))
    }
}

impl Read for Remembering {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer);
        if let Err(error) = &read {
            self.failure = Some(io::Error::new(error.kind(), chain(error)));
        }
        read
    }
}
