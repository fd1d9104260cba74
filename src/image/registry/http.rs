//! One repository of one registry over HTTP: scheme, certificates, who we are, and patience.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::auth::{Challenge, percent_encode};
use super::error::{Doing, Error};
use super::keys::{Credentials, Keys};
use super::settings::Endpoint;
use super::transport::{self, PATIENCE, is_loopback, leads_astray};
use crate::image::reference::DOCKER_HUB;

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
/// Characters of it that are shown.
const MAX_WORDS: usize = 500;
/// What a token service may say; tokens are some kilobytes.
const MAX_TOKEN: usize = 1 << 20;
/// What token services are told of the program that asks (OAuth 2).
const CLIENT_ID: &str = "rcompose";

/// A repository, or with an empty path the registry itself.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    endpoint: Endpoint,
    /// As the user named it, for errors.
    image: String,
    doing: Doing,
    keys: Arc<dyn Keys>,
    /// What a token must be good for, beyond what the registry asks for.
    scopes: Vec<String>,
    /// A mirror is not waited for: another place has the same.
    hasty: bool,
    access: Mutex<Access>,
    /// Whether the registry has ever answered.
    met: AtomicBool,
}

/// How we show who we are.
#[derive(Default)]
struct Access {
    /// The header that the registry wanted last.
    header: Option<String>,
    /// How often it was made.
    round: u32,
    /// What vouches for us, once that was looked up.
    credentials: Option<Option<Credentials>>,
}

impl Client {
    /// Prepares to talk to an endpoint. Plain HTTP is tried on this very machine, and where settings allow it.
    pub async fn connect(
        endpoint: &Endpoint,
        image: &str,
        doing: Doing,
        keys: &Arc<dyn Keys>,
    ) -> Result<Client, Error> {
        let host = &endpoint.host;
        let address = if host == DOCKER_HUB { "registry-1.docker.io" } else { host };
        let loopback = is_loopback(host);
        let mut http = None;
        // On loopback nearly all speak plain HTTP, elsewhere hardly any: the likely scheme first.
        if loopback {
            let plain = transport::client(host, true, false)?;
            http = speaks_http(&plain, address).await.then_some(("http", plain));
        } else if endpoint.insecure {
            let secure = transport::client(host, false, true)?;
            if !speaks_https(&secure, address).await {
                http = Some(("http", secure));
            }
        }
        let (scheme, http) = match http {
            Some(found) => found,
            None => ("https", transport::client(host, loopback, endpoint.insecure)?),
        };
        let base = format!("{scheme}://{address}/v2/{}/", endpoint.repository);
        let base = if endpoint.repository.is_empty() { format!("{scheme}://{address}/v2/") } else { base };
        Ok(Client {
            http,
            base: Url::parse(&base).map_err(|_| Error::Address { host: host.clone() })?,
            endpoint: endpoint.clone(),
            image: image.to_owned(),
            doing,
            keys: Arc::clone(keys),
            scopes: Vec::new(),
            hasty: false,
            access: Mutex::new(Access::default()),
            met: AtomicBool::new(false),
        })
    }

    /// The same for a mirror: it gets one chance.
    pub fn hasty(mut self) -> Client {
        self.hasty = true;
        self
    }

    /// The same with tokens that are good for more than the registry asks for.
    pub fn with_scopes(mut self, scopes: Vec<String>) -> Client {
        self.scopes = scopes;
        self
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Gets `path` of the repository, again and again where that may help; the answer is a success.
    ///
    /// With `from`, asks for the bytes from there on; the answer is 206 where the registry can do that, else 200, or 416.
    pub async fn get(&self, path: &str, accept: &str, from: u64) -> Result<Response, Error> {
        let url = self.url(path)?;
        self.send(&[StatusCode::RANGE_NOT_SATISFIABLE], || {
            let request = self.http.get(url.clone()).header(ACCEPT, accept);
            if from > 0 { request.header(RANGE, format!("bytes={from}-")) } else { request }
        })
        .await
    }

    /// Asks whether `path` of the repository is there, and for its headers.
    pub async fn head(&self, path: &str, accept: &str) -> Result<Option<Response>, Error> {
        let url = self.url(path)?;
        let response = self
            .send(&[StatusCode::NOT_FOUND], || self.http.head(url.clone()).header(ACCEPT, accept))
            .await?;
        Ok(Some(response).filter(|response| response.status().is_success()))
    }

    /// Resolves a path of the repository, or an address that the registry gave.
    pub fn url(&self, path: &str) -> Result<Url, Error> {
        self.base.join(path).map_err(|_| Error::Address { host: self.endpoint.host.clone() })
    }

    /// Begins a request; it is sent by [`Client::send`].
    pub fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        self.http.request(method, url.clone())
    }

    /// Sends what `make` makes, again and again where that may help. The answer is a success or one of `fine`.
    pub async fn send(
        &self,
        fine: &[StatusCode],
        make: impl Fn() -> RequestBuilder,
    ) -> Result<Response, Error> {
        self.send_up_to(None, fine, make).await
    }

    /// Sends what must not be sent twice: only who we are is said again.
    pub async fn send_once(&self, make: impl Fn() -> RequestBuilder) -> Result<Response, Error> {
        self.send_up_to(Some(1), &[], make).await
    }

    async fn send_up_to(
        &self,
        limit: Option<u32>,
        fine: &[StatusCode],
        make: impl Fn() -> RequestBuilder,
    ) -> Result<Response, Error> {
        // They become more once the registry has answered.
        let attempts = || limit.unwrap_or_else(|| self.attempts());
        let mut attempt = 0;
        // Two refusals in a row mean us; after a wait it may be the token that has grown old.
        let mut renewed = false;
        loop {
            attempt += 1;
            let mut request = make().build().map_err(Error::Client)?;
            let round = {
                let access = self.access.lock().await;
                // Only the registry itself learns who we are; an upload may go to a storage service.
                if let Some(header) = &access.header
                    && request.url().origin() == self.base.origin()
                    && let Ok(value) = header.parse()
                {
                    request.headers_mut().insert(AUTHORIZATION, value);
                }
                access.round
            };
            let response = match self.http.execute(request).await {
                Ok(response) => response,
                Err(source) if attempt < attempts() && !is_hopeless(&source) => {
                    renewed = false;
                    tokio::time::sleep(wait(attempt)).await;
                    continue;
                }
                Err(source) => return Err(self.unreachable(source)),
            };
            self.met.store(true, Ordering::Relaxed);
            match response.status() {
                status if status.is_success() || fine.contains(&status) => return Ok(response),
                // The first time we do not know what is wanted; later a token may have expired.
                StatusCode::UNAUTHORIZED if !renewed => {
                    renewed = true;
                    self.authenticate(response.headers(), round).await?;
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.unauthorized().await),
                StatusCode::NOT_FOUND => return Err(self.not_found()),
                StatusCode::TOO_MANY_REQUESTS => {
                    let asked = retry_after(response.headers());
                    if attempt >= attempts() || asked.is_some_and(|asked| asked > LONGEST_RETRY_AFTER) {
                        return Err(Error::TooManyRequests { host: self.endpoint.host.clone(), wait: asked });
                    }
                    renewed = false;
                    tokio::time::sleep(asked.unwrap_or_else(|| wait(attempt))).await;
                }
                status if status.is_server_error() && attempt < attempts() => {
                    renewed = false;
                    let asked = retry_after(response.headers()).filter(|asked| *asked <= LONGEST_RETRY_AFTER);
                    tokio::time::sleep(asked.unwrap_or_else(|| wait(attempt))).await;
                }
                status => {
                    let host = self.endpoint.host.clone();
                    let message = message(response).await;
                    return Err(Error::Answer { host, status: status.as_u16(), message });
                }
            }
        }
    }

    fn attempts(&self) -> u32 {
        match (self.hasty, self.met.load(Ordering::Relaxed)) {
            (true, _) => 1,
            (false, true) => ATTEMPTS,
            (false, false) => FIRST_ATTEMPTS,
        }
    }

    /// Makes the error of a connection that broke.
    pub fn unreachable(&self, source: reqwest::Error) -> Error {
        Error::Unreachable { host: self.endpoint.host.clone(), source: source.into() }
    }

    fn not_found(&self) -> Error {
        Error::NotFound { host: self.endpoint.host.clone(), image: self.image.clone() }
    }

    async fn unauthorized(&self) -> Error {
        let access = self.access.lock().await;
        self.refused(access.credentials.as_ref().and_then(Option::as_ref))
    }

    fn refused(&self, credentials: Option<&Credentials>) -> Error {
        Error::Unauthorized {
            host: self.endpoint.host.clone(),
            image: self.image.clone(),
            doing: self.doing,
            user: credentials.map(|credentials| credentials.user().unwrap_or("of the token").to_owned()),
        }
    }

    /// Makes the header that a 401 asks for, unless another request has done so since the one of that round.
    async fn authenticate(&self, headers: &HeaderMap, round: u32) -> Result<(), Error> {
        let mut access = self.access.lock().await;
        if access.round != round {
            return Ok(());
        }
        let credentials = match &access.credentials {
            Some(known) => known.clone(),
            None => {
                let (keys, host) = (Arc::clone(&self.keys), self.endpoint.host.clone());
                // A helper is a program that may ask the user.
                let found = tokio::task::spawn_blocking(move || keys.find(&host)).await;
                let found = found.map_err(|error| Error::Runtime(error.into()))??;
                access.credentials = Some(found.clone());
                found
            }
        };
        let offers = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let header = match (offers.filter_map(Challenge::parse).next(), &credentials) {
            (Some(_), Some(Credentials::Registry { token })) => format!("Bearer {token}"),
            (Some(Challenge::Basic), Some(credentials)) => {
                credentials.basic().ok_or_else(|| self.refused(Some(credentials)))?
            }
            (Some(Challenge::Bearer { realm, service, scope }), credentials) => {
                let scopes = self.wanted_scopes(scope.as_deref());
                let asked = Asked { realm: &realm, service: service.as_deref(), scopes: &scopes };
                format!("Bearer {}", self.token(&asked, credentials.as_ref()).await?)
            }
            (_, credentials) => return Err(self.refused(credentials.as_ref())),
        };
        access.header = Some(header);
        access.round += 1;
        Ok(())
    }

    /// What a token is to be good for: what the registry names, else what we are about to do, and our own wishes.
    fn wanted_scopes(&self, named: Option<&str>) -> Vec<String> {
        let mut scopes: Vec<String> = named.unwrap_or_default().split(' ').map(str::to_owned).collect();
        scopes.retain(|scope| !scope.is_empty());
        if scopes.is_empty() && !self.endpoint.repository.is_empty() {
            let actions = if self.doing == Doing::Write { "pull,push" } else { "pull" };
            scopes.push(format!("repository:{}:{actions}", self.endpoint.repository));
        }
        for own in &self.scopes {
            if !scopes.contains(own) {
                scopes.push(own.clone());
            }
        }
        scopes
    }

    async fn token(&self, asked: &Asked<'_>, credentials: Option<&Credentials>) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let failed = |reason: &str| Error::Token { realm: asked.realm.to_owned(), reason: reason.to_owned() };
        let url = Url::parse(&Challenge::token_url(asked.realm, asked.service, asked.scopes))
            .map_err(|_| failed("it is not an address"))?;
        let plain_is_fine = self.endpoint.insecure || url.host_str().is_some_and(is_loopback);
        if url.scheme() != "https" && !plain_is_fine {
            return Err(failed("it is not reached by HTTPS"));
        }
        if let Some(astray) = leads_astray(&self.base, &url).filter(|_| !self.endpoint.insecure) {
            return Err(failed(astray));
        }
        let mut attempt = 0;
        let response = loop {
            attempt += 1;
            let request = match credentials {
                Some(Credentials::Identity { token }) => {
                    let realm = Url::parse(asked.realm).map_err(|_| failed("it is not an address"))?;
                    let form = "application/x-www-form-urlencoded";
                    self.http.post(realm).header(CONTENT_TYPE, form).body(asked.refresh(token))
                }
                Some(credentials) => match credentials.basic() {
                    Some(basic) => self.http.get(url.clone()).header(AUTHORIZATION, basic),
                    None => self.http.get(url.clone()),
                },
                None => self.http.get(url.clone()),
            };
            match request.send().await {
                Ok(response) if response.status().is_server_error() && attempt < self.attempts() => {}
                Ok(response) => break response,
                Err(error) if attempt < self.attempts().min(FIRST_ATTEMPTS) && !is_hopeless(&error) => {}
                Err(error) => return Err(failed(&chain(&error.without_url()))),
            }
            tokio::time::sleep(wait(attempt)).await;
        };
        match response.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.refused(credentials)),
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = retry_after(response.headers());
                return Err(Error::TooManyRequests { host: self.endpoint.host.clone(), wait });
            }
            status => return Err(failed(&format!("{}: {}", status.as_u16(), message(response).await))),
        }
        let body = beginning(response, MAX_TOKEN).await;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| failed("its answer is not a token"))?;
        answer.token.or(answer.access_token).ok_or_else(|| failed("its answer holds no token"))
    }
}

/// What is asked of a token service.
struct Asked<'a> {
    realm: &'a str,
    service: Option<&'a str>,
    scopes: &'a [String],
}

impl Asked<'_> {
    /// The form by which a refresh token is given for another (OAuth 2, RFC 6749 §6).
    fn refresh(&self, token: &str) -> String {
        let scope = self.scopes.join(" ");
        let fields = [
            ("grant_type", "refresh_token"),
            ("service", self.service.unwrap_or_default()),
            ("client_id", CLIENT_ID),
            ("scope", &scope),
            ("refresh_token", token),
        ];
        let pairs = fields.map(|(name, value)| format!("{name}={}", percent_encode(value)));
        pairs.join("&")
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

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let date = SystemTime::from(date);
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Reads a body that need not have an end, until it breaks off, or is too long or too slow to be of use.
async fn beginning(mut response: Response, limit: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while let Ok(Ok(Some(piece))) = timeout_at(deadline, response.chunk()).await {
        body.extend_from_slice(&piece);
        if body.len() > limit {
            break;
        }
    }
    body
}

/// What an answer says about an error: the registry's own words (distribution-spec, error codes), else a few of it.
async fn message(response: Response) -> String {
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
    let body = beginning(response, MAX_MESSAGE).await;
    let said = match serde_json::from_slice::<Errors>(&body) {
        Ok(Errors { errors }) if !errors.is_empty() => {
            let words =
                errors.into_iter().map(|one| if one.message.is_empty() { one.code } else { one.message });
            words.collect::<Vec<_>>().join(", ")
        }
        _ => String::from_utf8_lossy(&body).into_owned(),
    };
    spoken(&said)
}

/// What a server says, as far as a terminal may see it: a few words, none of which moves a cursor.
fn spoken(said: &str) -> String {
    let text: String = said.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
    if text.is_empty() { "nothing more".to_owned() } else { text }
}

/// A server for HTTPS answers plain HTTP with 400 or hangs up.
async fn speaks_http(http: &reqwest::Client, address: &str) -> bool {
    match http.get(format!("http://{address}/v2/")).send().await {
        Ok(response) => response.status() != StatusCode::BAD_REQUEST,
        // Nobody there: say so of the scheme that is usual on loopback.
        Err(error) => error.is_connect(),
    }
}

/// A server for plain HTTP does not answer a greeting of TLS.
async fn speaks_https(http: &reqwest::Client, address: &str) -> bool {
    http.get(format!("https://{address}/v2/")).send().await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_moves_no_cursor() {
        assert_eq!(spoken("no\u{1b}[2J\u{7} way\n"), "no[2J way");
        assert_eq!(spoken("\n"), "nothing more");
        assert_eq!(spoken(&"x".repeat(10_000)).len(), MAX_WORDS);
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        let waits: Vec<u128> = (1..ATTEMPTS).map(|attempt| wait(attempt).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10000, 10000]);
    }

    #[test]
    fn the_time_to_wait_is_seconds_or_a_date() {
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect(text));
            retry_after(&headers)
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(after("Fri, 31 Dec 2100 23:59:59 GMT").is_some_and(|wait| wait > LONGEST_RETRY_AFTER));
        assert_eq!(after("soon"), None);
    }
}
