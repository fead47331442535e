//! An event stream, read as a browser reads it, but for one thing: nothing that came is hidden.

use std::io::{BufRead, BufReader};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::Json;
use super::framed::Framed;
use super::http::{Response, reset};

/// One block that ends with a blank line and has data.
#[derive(Debug, Clone, Default)]
pub struct Event {
    pub id: Option<String>,
    /// `None` is a browser's `message`.
    pub event: Option<String>,
    pub data: String,
    pub data_lines: usize,
    pub retry: Option<u64>,
}

impl Event {
    pub fn json(&self) -> Json {
        Json::parse(&self.data)
    }

    pub fn name(&self) -> &str {
        self.event.as_deref().unwrap_or("message")
    }
}

/// Dropped, it leaves with a FIN.
pub struct Stream {
    pub head: Response,
    body: Framed<BufReader<TcpStream>>,
    /// The last id that came, as a browser would send it back.
    pub last_id: String,
    /// The last `retry:`, in milliseconds.
    pub retry: Option<u64>,
    /// Every comment so far, without its colon.
    pub comments: Vec<String>,
}

impl Stream {
    pub fn new(head: Response, reader: BufReader<TcpStream>) -> Stream {
        let body = Framed::new(&head, reader);
        let (last_id, retry, comments) = (String::new(), None, Vec::new());
        Stream { head, body, last_id, retry, comments }
    }

    pub fn session_id(&self) -> String {
        self.head.header("x-session-id").expect("X-Session-Id").to_owned()
    }

    /// One line without its end; `None` when the stream has ended.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.body.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end_matches('\n').trim_end_matches('\r').to_owned()),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(e) => panic!("nothing came on the stream: {e}, {line:?}"),
        }
    }

    /// The next event; `None` when the stream has ended.
    pub fn try_next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let line = self.line()?;
            if !line.is_empty() {
                self.field(&mut event, &line);
            } else if event.data_lines > 0 {
                return Some(event);
            } else {
                event = Event::default();
            }
        }
    }

    fn field(&mut self, event: &mut Event, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" => self.comments.push(value.to_owned()),
            "id" => {
                self.last_id = value.to_owned();
                event.id = Some(value.to_owned());
            }
            "event" => event.event = Some(value.to_owned()),
            "retry" => {
                self.retry = value.parse().ok();
                event.retry = self.retry;
            }
            "data" => event.add_data(value),
            other => panic!("a field {other:?} in {line:?}"),
        }
    }

    pub fn next(&mut self) -> Event {
        self.try_next().expect("an event, and the stream ended")
    }

    /// The next event is unnamed and of this `type`.
    pub fn expect(&mut self, kind: &str) -> Json {
        let event = self.next();
        assert_eq!(event.name(), "message", "{event:?}");
        let json = event.json();
        assert_eq!(json.kind(), kind, "{event:?}");
        json
    }

    pub fn expect_joined(&mut self) -> Json {
        self.expect("joined")
    }

    /// The next event is a `received`; returns its `message`, byte for byte.
    pub fn received(&mut self) -> String {
        self.expect("received").raw("message").to_owned()
    }

    /// The next event has this name.
    pub fn expect_named(&mut self, name: &str) -> Json {
        let event = self.next();
        assert_eq!(event.name(), name, "{event:?}");
        event.json()
    }

    /// The next event is an `upstream` of this `type`.
    pub fn expect_upstream(&mut self, kind: &str) -> Json {
        let json = self.expect_named("upstream");
        assert_eq!(json.kind(), kind);
        json
    }

    /// Everything that still comes until the stream ends.
    pub fn until_end(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.try_next()).collect()
    }

    /// The stream ends, and nothing comes before.
    pub fn expect_end(&mut self) {
        let rest = self.until_end();
        assert!(rest.is_empty(), "{rest:?}");
    }

    /// Whether it ended in order: a client that goes by its framing does not come back.
    pub fn is_whole(&self) -> bool {
        self.body.whole
    }

    /// Whether the bridge closed the connection, behind the last chunk.
    pub fn is_closed(&mut self) -> bool {
        matches!(std::io::Read::read(&mut self.body.reader, &mut [0]), Ok(0))
    }

    /// For the few events that are due later than five seconds.
    pub fn patient(mut self, patience: Duration) -> Stream {
        self.body.reader.get_mut().set_read_timeout(Some(patience)).unwrap();
        self
    }

    /// Leaves, and waits until the bridge has let go of its place, which it does before it closes.
    pub fn leave(mut self) {
        self.half_close();
        self.until_end();
        assert!(self.is_closed());
    }

    /// Closes the sending side only.
    pub fn half_close(&self) {
        self.body.reader.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    /// Leaves with a reset.
    pub fn abort(self) {
        reset(self.body.reader.get_ref());
    }
}

impl Event {
    fn add_data(&mut self, line: &str) {
        if self.data_lines > 0 {
            self.data.push('\n');
        }
        self.data.push_str(line);
        self.data_lines += 1;
    }
}
