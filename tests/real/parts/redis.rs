//! A Redis of our own, which keeps nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use super::{Server, free_port};

pub struct Redis {
    port: u16,
    _server: Server,
}

impl Redis {
    pub fn start() -> Redis {
        let port = free_port();
        let mut command = Command::new("/usr/bin/redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no"]);
        let mut server = Server::start(&mut command);
        server.wait_until_up(|| answers(port).unwrap_or(false));
        Redis { port, _server: server }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}

fn answers(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG\r\n")
}
