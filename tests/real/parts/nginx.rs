//! An nginx of our own, with one server block that the test writes.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use super::{Folder, Server, free_port};

pub struct Nginx {
    pub address: SocketAddr,
    folder: PathBuf,
    _server: Server,
}

/// While this file is in nginx's folder, every request is answered with 404.
const CLOSED: &str = "closed";

impl Nginx {
    /// An nginx that hands everything to `upstream`, by these directives of `location /`.
    pub fn before(upstream: SocketAddr, directives: &str) -> Nginx {
        Nginx::listening("", upstream, directives)
    }

    /// The same behind TLS. `listen` gets the word `ssl`, the rest are the server's directives.
    pub fn with_tls(upstream: SocketAddr, tls: &str, directives: &str) -> Nginx {
        Nginx::listening(tls, upstream, directives)
    }

    fn listening(tls: &str, upstream: SocketAddr, directives: &str) -> Nginx {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = Folder::new();
        let path = folder.path("");
        let ssl = if tls.is_empty() { "" } else { "ssl" };
        let server = format!(
            "listen {address} {ssl}; {tls}
             if (-f {closed}) {{ return 404; }}
             location / {{ proxy_pass http://{upstream}; {directives} }}",
            closed = folder.path(CLOSED).display()
        );
        fs::write(folder.path("nginx.conf"), configuration(&server)).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(&path).args(["-c", "nginx.conf", "-e", "stderr"]);
        let mut server = Server::start_in(folder, &mut command);
        server.wait_until_up(|| TcpStream::connect(address).is_ok());
        Nginx { address, folder: path, _server: server }
    }

    /// Answers 404 to everything, as many a deploy does.
    pub fn close(&self) {
        fs::write(self.folder.join(CLOSED), "").unwrap();
    }

    pub fn open(&self) {
        fs::remove_file(self.folder.join(CLOSED)).unwrap();
    }
}

/// One process in the foreground, which writes nowhere but in its own folder.
fn configuration(server: &str) -> String {
    format!(
        "daemon off; master_process off; pid pid; error_log stderr;
         events {{ }}
         http {{
             access_log off;
             client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
             uwsgi_temp_path uwsgi; scgi_temp_path scgi;
             server {{ {server} }}
         }}"
    )
}
