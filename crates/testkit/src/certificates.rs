//! Certificates for servers of tests, made by openssl.

use std::{path::Path, process::Command};

/// Makes in a folder: an authority (`authority.pem`), a certificate of it for 127.0.0.1 (`server.pem` with `server.key`), and
/// another authority (`stranger.pem`).
pub fn make(directory: &Path) {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(directory)
            .output()
            .expect("openssl is installed; scripts/test does it");
        assert!(output.status.success(), "{output:?}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for name in ["authority", "stranger"] {
        openssl(&format!(
            "req -x509 {key} -keyout {name}.key -out {name}.pem -subj /CN={name} -days 2"
        ));
    }
    openssl(&format!(
        "req {key} -keyout server.key -out server.csr -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    ));
    openssl(
        "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -out server.pem -days 2 -copy_extensions copy",
    );
}
