//! Whom we trust and who we are by certificate.
//!
//! Roots are those of this machine, or SSL_CERT_FILE; a directory `certs.d/HOST[:PORT]/` adds those for one registry
//! (containers-certs.d(5), and Docker's): each `*.crt` is a root, each `*.cert` with its `*.key` says who we are. It is
//! looked for below `$XDG_CONFIG_HOME/containers`, `$XDG_CONFIG_HOME/docker`, `/etc/containers` and `/etc/docker`; the
//! first one that has the host counts.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, Identity};

use super::error::Error;
use super::settings::Env;
use crate::host::files;

/// Where distributions keep the root certificates that they trust.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What is needed to speak TLS with one registry.
#[derive(Default)]
pub struct Certificates {
    /// Who may vouch for the registry.
    pub roots: Vec<Certificate>,
    /// Who we are.
    pub identity: Option<Identity>,
}

impl Certificates {
    /// Reads what there is for a host.
    pub fn read(host: &str, env: Env<'_>) -> Result<Certificates, Error> {
        let mut found = Certificates { roots: roots(env), identity: None };
        let config = env("XDG_CONFIG_HOME").or_else(|| env("HOME").map(|home| home.join(".config")));
        let user = config.iter().flat_map(|config| [config.join("containers"), config.join("docker")]);
        let system = ["/etc/containers", "/etc/docker"].map(PathBuf::from);
        let directory = user.chain(system).map(|base| base.join("certs.d").join(host)).find(|it| it.is_dir());
        if let Some(directory) = directory {
            found.add(&directory)?;
        }
        Ok(found)
    }

    fn add(&mut self, directory: &Path) -> Result<(), Error> {
        let entries = fs::read_dir(directory).map_err(files::failed("read", directory))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let has =
            |path: &PathBuf, wanted: &str| path.extension().is_some_and(|extension| extension == wanted);
        for path in paths.iter().filter(|path| has(path, "crt")) {
            let wrap = |source| Error::Certificate { path: path.clone(), source };
            let found = Certificate::from_pem_bundle(&files::read(path)?).map_err(wrap)?;
            self.roots.extend(found);
        }
        for path in paths.iter().filter(|path| has(path, "cert")) {
            let key = path.with_extension("key");
            let mut pem = files::read(&key)?;
            pem.push(b'\n');
            pem.extend(files::read(path)?);
            let wrap = |source| Error::Certificate { path: path.clone(), source };
            self.identity = Some(Identity::from_pem(&pem).map_err(wrap)?);
        }
        Ok(())
    }
}

/// The root certificates of this machine: SSL_CERT_FILE, as OpenSSL has it, or the first bundle there is. Those that
/// cannot be parsed are passed over; without any, HTTPS fails and says so.
fn roots(env: Env<'_>) -> Vec<Certificate> {
    let named = env("SSL_CERT_FILE");
    let paths = named.iter().map(PathBuf::as_path).chain(BUNDLES.iter().map(Path::new));
    for path in paths {
        if let Ok(bundle) = fs::read(path) {
            let certificates = Certificate::from_pem_bundle(&bundle).unwrap_or_default();
            if !certificates.is_empty() {
                return certificates;
            }
        }
    }
    Vec::new()
}
