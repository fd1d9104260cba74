//! One repository of one registry over HTTP: scheme, certificates, who we are, and patience.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Certificate, Method, Response, StatusCode, redirect};
use serde::Deserialize;

use super::auth::{self, Challenge, Credentials};
use super::error::Error;
use crate::image::reference::{DOCKER_HUB, Reference};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Without a byte for so long a connection counts as broken.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Attempts for one request; the waits between them double from [`FIRST_WAIT`] up to [`LONGEST_WAIT`]: half a minute.
const ATTEMPTS: u32 = 9;
/// Attempts before the registry has answered at all: a wrong name should be told soon.
const FIRST_ATTEMPTS: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A registry that wants us to wait longer than this is believed, and the user told.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// What an answer may say about an error.
const MAX_MESSAGE: usize = 64 << 10;

/// Where distributions keep the root certificates that they trust.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A repository that can be read.
pub struct Client {
    http: reqwest::Client,
    base: String,
    host: String,
    image: String,
    repository: String,
    credentials: Option<Credentials>,
    /// The header that the registry wanted last.
    authorization: Mutex<Option<String>>,
    /// Whether the registry has ever answered.
    met: Mutex<bool>,
}

impl Client {
    /// Prepares to talk to the registry of a reference. Plain HTTP is only tried on this very machine.
    pub async fn connect(reference: &Reference) -> Result<Client, Error> {
        let host = reference.registry().to_owned();
        let credentials = auth::find(&host, |name| std::env::var_os(name).map(Into::into))?;
        let address = if host == DOCKER_HUB { "registry-1.docker.io" } else { &host };
        let loopback = is_loopback(&host);
        let http = build(loopback)?;
        let mut scheme = "https";
        if loopback && speaks_http(&http, address).await {
            scheme = "http";
        }
        Ok(Client {
            http,
            base: format!("{scheme}://{address}/v2/{}", reference.repository()),
            host,
            image: reference.familiar(),
            repository: reference.repository().to_owned(),
            credentials,
            authorization: Mutex::new(None),
            met: Mutex::new(false),
        })
    }

    /// Gets `path` of the repository, again and again where that may help; the answer is a success.
    ///
    /// With `from`, asks for the bytes from there on; the answer is 206 where the registry can do that, else 200.
    pub async fn get(&self, path: &str, accept: &str, from: u64) -> Result<Response, Error> {
        let mut authenticated = false;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut request =
                self.http.request(Method::GET, format!("{}/{path}", self.base)).header(ACCEPT, accept);
            if let Some(authorization) =
                self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
            {
                request = request.header(AUTHORIZATION, authorization);
            }
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let response = match request.send().await {
                Ok(response) => response,
                Err(source) if attempt < self.attempts() && !is_hopeless(&source) => {
                    tokio::time::sleep(wait(attempt)).await;
                    continue;
                }
                Err(source) => return Err(self.unreachable(source)),
            };
            *self.met.lock().unwrap_or_else(PoisonError::into_inner) = true;
            match response.status() {
                status if status.is_success() => return Ok(response),
                StatusCode::RANGE_NOT_SATISFIABLE => return Ok(response),
                // The first time we do not know what is wanted; later a token may have expired.
                StatusCode::UNAUTHORIZED if !authenticated => {
                    authenticated = true;
                    self.authenticate(response.headers()).await?;
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.unauthorized()),
                StatusCode::NOT_FOUND => {
                    return Err(Error::NotFound { host: self.host.clone(), image: self.image.clone() });
                }
                StatusCode::TOO_MANY_REQUESTS => {
                    let asked = retry_after(response.headers());
                    if attempt >= ATTEMPTS || asked.is_some_and(|asked| asked > LONGEST_RETRY_AFTER) {
                        return Err(Error::TooManyRequests { host: self.host.clone(), wait: asked });
                    }
                    tokio::time::sleep(asked.unwrap_or_else(|| wait(attempt))).await;
                }
                status if status.is_server_error() && attempt < ATTEMPTS => {
                    let asked = retry_after(response.headers()).filter(|asked| *asked <= LONGEST_RETRY_AFTER);
                    tokio::time::sleep(asked.unwrap_or_else(|| wait(attempt))).await;
                }
                status => {
                    let host = self.host.clone();
                    return Err(Error::Answer {
                        host,
                        status: status.as_u16(),
                        message: message(response).await,
                    });
                }
            }
        }
    }

    fn attempts(&self) -> u32 {
        match *self.met.lock().unwrap_or_else(PoisonError::into_inner) {
            true => ATTEMPTS,
            false => FIRST_ATTEMPTS,
        }
    }

    /// Makes the error of a connection that broke.
    pub fn unreachable(&self, source: reqwest::Error) -> Error {
        // The address may bear a signature for a storage service.
        Error::Unreachable { host: self.host.clone(), source: source.without_url() }
    }

    fn unauthorized(&self) -> Error {
        Error::Unauthorized {
            host: self.host.clone(),
            image: self.image.clone(),
            user: self.credentials.as_ref().map(|credentials| credentials.user.clone()),
        }
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<(), Error> {
        let offers = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let header = match offers.filter_map(Challenge::parse).next() {
            Some(Challenge::Basic) => self.credentials.as_ref().ok_or_else(|| self.unauthorized())?.basic(),
            Some(Challenge::Bearer { realm, service, scope }) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.repository));
                format!("Bearer {}", self.token(&realm, service.as_deref(), &scope).await?)
            }
            None => return Err(self.unauthorized()),
        };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(header);
        Ok(())
    }

    async fn token(&self, realm: &str, service: Option<&str>, scope: &str) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let refused = |reason: &str| Error::Token { realm: realm.to_owned(), reason: reason.to_owned() };
        let url = reqwest::Url::parse(&Challenge::token_url(realm, service, scope))
            .map_err(|_| refused("it is not an address"))?;
        let plain_is_fine = url.host_str().is_some_and(is_loopback);
        if url.scheme() != "https" && !plain_is_fine {
            return Err(refused("it is not reached by HTTPS"));
        }
        let mut attempt = 0;
        let response = loop {
            attempt += 1;
            let mut request = self.http.get(url.clone());
            if let Some(credentials) = &self.credentials {
                request = request.header(AUTHORIZATION, credentials.basic());
            }
            match request.send().await {
                Ok(response) if response.status().is_server_error() && attempt < ATTEMPTS => {}
                Ok(response) => break response,
                Err(error) if attempt < FIRST_ATTEMPTS && !is_hopeless(&error) => {}
                Err(error) => return Err(refused(&chain(&error.without_url()))),
            }
            tokio::time::sleep(wait(attempt)).await;
        };
        match response.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.unauthorized()),
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = retry_after(response.headers());
                return Err(Error::TooManyRequests { host: self.host.clone(), wait });
            }
            status => return Err(refused(&format!("{}: {}", status.as_u16(), message(response).await))),
        }
        let answer: Answer = response.json().await.map_err(|_| refused("its answer is not a token"))?;
        answer.token.or(answer.access_token).ok_or_else(|| refused("its answer holds no token"))
    }
}

/// Waits before the next attempt for a body that broke off.
pub async fn pause(attempt: u32) {
    tokio::time::sleep(wait(attempt)).await;
}

fn wait(attempt: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(LONGEST_WAIT)
}

/// Certificates do not become valid by trying again.
fn is_hopeless(error: &reqwest::Error) -> bool {
    error.is_builder() || error.is_redirect() || chain(error).contains("certificate")
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// RFC 9110 §10.2.3; the form with a date is left to our own patience.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// What an answer says about an error: the registry's own words (distribution-spec, error codes), else a few of it.
async fn message(mut response: Response) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() > MAX_MESSAGE {
            break;
        }
    }
    match serde_json::from_slice::<Errors>(&body) {
        Ok(Errors { errors }) if !errors.is_empty() => errors
            .into_iter()
            .map(|one| if one.message.is_empty() { one.code } else { one.message })
            .collect::<Vec<_>>()
            .join(", "),
        _ => {
            let text: String =
                String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(200).collect();
            if text.is_empty() { "nothing more".to_owned() } else { text }
        }
    }
}

fn build(loopback: bool) -> Result<reqwest::Client, Error> {
    // Whoever comes first sets it for the process; it is the same for all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let secure_stays_secure = redirect::Policy::custom(|attempt| {
        let was_secure = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
        if was_secure && attempt.url().scheme() != "https" {
            attempt.error("the registry redirects from HTTPS to plain HTTP")
        } else if attempt.previous().len() > 10 {
            attempt.error("the registry redirects in a circle")
        } else {
            attempt.follow()
        }
    });
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("rcompose/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(secure_stays_secure)
        .tls_certs_only(roots());
    if loopback {
        builder = builder.no_proxy();
    }
    builder.build().map_err(Error::Client)
}

/// The root certificates of this machine: SSL_CERT_FILE, as OpenSSL has it, or the first bundle there is. Those that
/// cannot be parsed are passed over; without any, HTTPS fails and says so.
fn roots() -> Vec<Certificate> {
    let named = std::env::var_os("SSL_CERT_FILE");
    let paths = named.iter().map(Path::new).chain(BUNDLES.iter().map(Path::new));
    for path in paths {
        if let Ok(bundle) = std::fs::read(path) {
            let certificates = Certificate::from_pem_bundle(&bundle).unwrap_or_default();
            if !certificates.is_empty() {
                return certificates;
            }
        }
    }
    Vec::new()
}

/// Returns whether a host, with or without a port, is this very machine.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None if host.matches(':').count() > 1 => host,
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A server for HTTPS answers plain HTTP with 400 or hangs up.
async fn speaks_http(http: &reqwest::Client, address: &str) -> bool {
    match http.get(format!("http://{address}/v2/")).send().await {
        Ok(response) => response.status() != StatusCode::BAD_REQUEST,
        // Nobody there: say so of the scheme that is usual on loopback.
        Err(error) => error.is_connect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_to_in_plain() {
        for host in ["localhost", "localhost:5000", "127.0.0.1", "127.1.2.3:80", "[::1]:5000", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["docker.io", "localhost.example.com", "10.0.0.1:5000", "[::2]:5000", "127.0.0.1.nip.io"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        let waits: Vec<u128> = (1..ATTEMPTS).map(|attempt| wait(attempt).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10000, 10000]);
    }
}
