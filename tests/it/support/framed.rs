//! The body behind a head, its framing taken off: chunks, a length, or what comes until the connection ends.

use std::io::{BufRead, Read, Result};

use super::Response;

pub struct Framed<R> {
    pub reader: R,
    chunked: bool,
    /// Bytes until the next chunk, or until the end; a body that ends with its connection has no number.
    left: Option<usize>,
    /// Its length, or its last chunk, has come.
    pub whole: bool,
}

impl<R: BufRead> Framed<R> {
    pub fn new(head: &Response, reader: R) -> Framed<R> {
        let chunked = head.header("transfer-encoding") == Some("chunked");
        let length = head.header("content-length").map(|length| length.parse().unwrap());
        let left = if chunked { Some(0) } else { length };
        Framed { reader, chunked, left, whole: length == Some(0) }
    }

    /// Reads the head of the next chunk. False: the body or the connection has ended.
    fn next_chunk(&mut self) -> Result<bool> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        let size = line.trim_end_matches("\r\n");
        self.left = Some(usize::from_str_radix(size, 16).expect("a chunk's size"));
        if self.left == Some(0) {
            self.whole = true;
            self.end_of_chunk();
        }
        Ok(self.left != Some(0))
    }

    fn end_of_chunk(&mut self) {
        let mut line = String::new();
        // A connection that was cut has none.
        let _ = self.reader.read_line(&mut line);
        assert!(line.is_empty() || line == "\r\n", "a chunk is longer than it said: {line:?}");
    }
}

impl<R: BufRead> BufRead for Framed<R> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        let ended = self.whole || (self.left == Some(0) && !(self.chunked && self.next_chunk()?));
        let left = if ended { 0 } else { self.left.unwrap_or(usize::MAX) };
        if left == 0 {
            return Ok(&[]);
        }
        let bytes = self.reader.fill_buf()?;
        Ok(&bytes[..bytes.len().min(left)])
    }

    fn consume(&mut self, count: usize) {
        self.reader.consume(count);
        self.left = self.left.map(|left| left - count);
        if self.left == Some(0) && count > 0 {
            if self.chunked {
                self.end_of_chunk();
            } else {
                self.whole = true;
            }
        }
    }
}

impl<R: BufRead> Read for Framed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}
