//! One connection, over TCP, TLS or a Unix socket, that one thread reads while others write.
//!
//! Owns: the descriptor and its options, the TLS state, the order of writes, the end of all of it.
//! Never: knows what a frame is; writers hand over whole ones.
//! When a write is stuck for `WRITE_TIMEOUT`, or fails: the connection is cut, since half a frame spoils what follows.

use crate::tcp;
use parking_lot::Mutex;
use rustix::event::PollFlags;
use rustix::io::retry_on_intr;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType};
use rustls::ClientConnection;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// An upstream that takes nothing for this long is as good as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the last words may take: a session that ends has its socket closed within a second.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(250);

/// Bytes taken from TCP at a time where TLS is between; they lie on the reader's stack.
const CHUNK: usize = 4096;

/// Chunks that are read, to be dropped, before the connection is closed. Far below any receive window.
const DRAIN_CHUNKS: usize = 4;

pub struct UpstreamSocket {
    /// Of either family: what std does with it here is the same for both.
    tcp: TcpStream,
    /// Held to encrypt or decrypt what is in memory already, never during a read or a write of `tcp`:
    /// a writer that is stuck must not stop the reader.
    /// In a box: without it a plain socket would have a kilobyte of room for what it never has.
    tls: Option<Box<Mutex<ClientConnection>>>,
    /// Whether more may be written. Held during the write, so that frames stay whole and TLS records in
    /// order; taken before `tls`, never after it.
    open: Mutex<bool>,
    /// Why we cut it ourselves; the reader then sees no more than an end.
    broken: OnceLock<String>,
}

impl UpstreamSocket {
    /// Begins to connect to `address`, of TCP or of a socket file; `connected` completes it, and in between another thread can
    /// end it with `cut`. A socket file is connected to at once, or as soon as its queue has room, of which the kernel tells
    /// nobody who does not wait. `WouldBlock`: it had none until `deadline`.
    pub fn connect(
        address: &SocketAddrAny,
        tls: Option<ClientConnection>,
        deadline: Instant,
    ) -> io::Result<UpstreamSocket> {
        let family = address.address_family();
        let on_file = family == AddressFamily::UNIX;
        let flags = if on_file { SocketFlags::empty() } else { SocketFlags::NONBLOCK };
        let flags = flags | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        if on_file {
            sockopt::set_socket_timeout(&fd, Timeout::Send, Some(left(deadline)?))?;
        } else {
            tcp::set_options(&fd)?;
        }
        match rustix::net::connect(&fd, address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let (tcp, tls) = (TcpStream::from(fd), tls.map(|tls| Box::new(Mutex::new(tls))));
        Ok(UpstreamSocket { tcp, tls, open: Mutex::new(true), broken: OnceLock::new() })
    }

    /// Waits until TCP is connected and, where there is TLS, its handshake is done.
    pub fn connected(&self, tcp_deadline: Instant, deadline: Instant) -> io::Result<()> {
        if !tcp::wait(&self.tcp, PollFlags::OUT, tcp_deadline)? {
            return Err(ErrorKind::TimedOut.into());
        }
        if let Some(error) = self.tcp.take_error()? {
            return Err(error);
        }
        // Fails where it was cut meanwhile.
        rustix::net::getpeername(&self.tcp)?;
        self.tcp.set_nonblocking(false)?;
        self.tcp.set_write_timeout(Some(left(deadline)?))?;
        if let Some(tls) = &self.tls {
            self.send(&[])?;
            while tls.lock().is_handshaking() {
                self.read_timeout(Some(left(deadline)?))?;
                if self.receive(tls)? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
        }
        self.tcp.set_write_timeout(Some(WRITE_TIMEOUT))
    }

    /// A read that gets nothing for this long fails with `WouldBlock`. `None`: it may take as long as it likes (keepalive
    /// still notices a peer that is gone).
    pub fn read_timeout(&self, wait: Option<Duration>) -> io::Result<()> {
        self.tcp.set_read_timeout(wait.map(|wait| wait.max(Duration::from_millis(1))))
    }

    /// Reads what is there, or waits for it. 0 is the end.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return read_tcp(&self.tcp, buffer) };
        loop {
            let read = tls.lock().reader().read(buffer);
            match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Without a close_notify, that is. A WebSocket has a last word of its own.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            self.receive(tls)?;
        }
    }

    /// Takes a chunk from TCP and decrypts it. 0 is the end.
    fn receive(&self, tls: &Mutex<ClientConnection>) -> io::Result<usize> {
        let mut chunk = [0; CHUNK];
        let size = read_tcp(&self.tcp, &mut chunk)?;
        let fed = feed(&mut tls.lock(), &chunk[..size]);
        let owes = tls.lock().wants_write();
        // An answer to a key update, or the alert that says what was wrong.
        let flushed = if owes { self.send(&[]) } else { Ok(()) };
        fed.and(flushed).map(|()| size)
    }

    /// Writes all of `bytes`, and what TLS itself owes, and nothing of another thread's in between. Blocks for
    /// `WRITE_TIMEOUT` at most.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut open = self.open.lock();
        if !*open {
            return Err(ErrorKind::NotConnected.into());
        }
        let result = self.write(bytes);
        if let Err(error) = &result {
            *open = false;
            let _ = self.broken.set(format!("writing failed: {}", brief(error)));
            // What the kernel still holds will not be taken either.
            self.reset_on_close();
            self.cut();
        }
        result
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &self.tls else { return self.write_tcp(bytes) };
        let sealed = encrypt(&mut tls.lock(), bytes)?;
        self.write_tcp(&sealed)
    }

    fn write_tcp(&self, mut bytes: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + WRITE_TIMEOUT;
        while !bytes.is_empty() {
            match (&self.tcp).write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(size) => bytes = &bytes[size..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
            if !bytes.is_empty() && Instant::now() >= deadline {
                return Err(ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    /// Why this side cut the connection, if it did.
    pub fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }

    /// Ends a read that waits; writing goes on. Never blocks.
    pub fn stop_reading(&self) {
        let _ = self.tcp.shutdown(Shutdown::Read);
    }

    /// Ends whatever waits on this connection. Never blocks.
    pub fn cut(&self) {
        let _ = self.tcp.shutdown(Shutdown::Both);
    }

    /// Sends the last frame, if there is one, and ends the connection, in order where that takes no longer
    /// than some `FAREWELL_TIMEOUT`. Nothing is written afterwards.
    pub fn finish(&self, last: Option<&[u8]>) {
        let open = self.open.try_lock_for(FAREWELL_TIMEOUT);
        if let Some(mut open) = open.filter(|open| **open) {
            *open = false;
            let _ = self.tcp.set_write_timeout(Some(FAREWELL_TIMEOUT));
            let _ = self.write(last.unwrap_or_default());
            if let Some(tls) = &self.tls {
                tls.lock().send_close_notify();
                let _ = self.write(&[]);
            }
            let _ = self.tcp.shutdown(Shutdown::Write);
            self.drain();
        }
        self.cut();
    }

    /// A close with unread bytes is a reset, which may overtake the last frame. So what came is read first.
    /// A flood gets that reset: it filled our window, of which the kernel tells no more after the end of
    /// reading, so that the upstream would hang in its write for a minute.
    /// Not inlined: a session's thread would have `chunk` on its stack from the start, 4 KB for each.
    #[inline(never)]
    fn drain(&self) {
        self.stop_reading();
        let mut chunk = [0; CHUNK];
        if (0..DRAIN_CHUNKS).all(|_| matches!((&self.tcp).read(&mut chunk), Ok(1..))) {
            self.reset_on_close();
        }
    }

    fn reset_on_close(&self) {
        let _ = sockopt::set_socket_linger(&self.tcp, Some(Duration::ZERO));
    }
}

fn read_tcp(tcp: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::read(tcp, &mut *buffer))?)
}

/// Decrypts `bytes`; none at all is the end.
fn feed(tls: &mut ClientConnection, mut bytes: &[u8]) -> io::Result<()> {
    loop {
        let size = tls.read_tls(&mut bytes)?;
        tls.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        // Takes nothing more once the upstream has said goodbye.
        if bytes.is_empty() || size == 0 {
            return Ok(());
        }
    }
}

/// What goes over TCP for `bytes`, and for what TLS itself has to say.
fn encrypt(tls: &mut ClientConnection, bytes: &[u8]) -> io::Result<Vec<u8>> {
    tls.writer().write_all(bytes)?;
    let mut sealed = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut sealed)?;
    }
    Ok(sealed)
}

/// How long it is until `deadline`; `TimedOut` when it has passed.
pub fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// An I/O error in as few words as a log line has room for.
pub fn brief(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => return "timed out".to_owned(),
        ErrorKind::UnexpectedEof => return "closed by the upstream".to_owned(),
        _ => {}
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}
