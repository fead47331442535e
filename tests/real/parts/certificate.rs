//! A certificate for `localhost` and 127.0.0.1, and the authority of our own that signed it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Folder;

pub struct Certificate {
    folder: Folder,
}

impl Certificate {
    pub fn make() -> Certificate {
        let folder = Folder::new();
        let path = folder.path("");
        std::fs::write(folder.path("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n")
            .unwrap();
        openssl(
            &path,
            &format!("req -x509 {KEY} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"),
        );
        openssl(&path, &format!("req {KEY} -keyout key.pem -out request.pem -subj /CN=localhost"));
        openssl(
            &path,
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile names -out certificate.pem",
        );
        Certificate { folder }
    }

    /// What a client has to trust.
    pub fn authority(&self) -> PathBuf {
        self.folder.path("ca.pem")
    }

    /// nginx's directives for a server that has this certificate.
    pub fn directives(&self) -> String {
        let (certificate, key) = (self.folder.path("certificate.pem"), self.folder.path("key.pem"));
        format!("ssl_certificate {}; ssl_certificate_key {};", certificate.display(), key.display())
    }
}

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("/usr/bin/openssl");
    let output = command.args(arguments.split_whitespace()).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
