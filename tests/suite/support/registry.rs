//! A registry of the OCI distribution specification in the test's own process: it keeps a log, checks who asks, and
//! breaks connections when it is told to.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcompose::image::Digest;

pub const USER: &str = "tester";
pub const PASSWORD: &str = "s3cret";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Who may do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody everything.
    Open,
    /// USER everything, by a password with each request.
    Basic,
    /// By tokens. Everybody may pull but from `private/`; USER may do everything. Those that expire are too old when a
    /// blob is asked for the first time.
    Token { expire: bool },
}

/// A registry on a port of its own; it ends with the test's process.
pub struct Registry {
    pub address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    access: Option<Access>,
    /// By `REPOSITORY/manifests/REFERENCE` and `blobs/DIGEST`; blobs are shared by all repositories.
    content: HashMap<String, Vec<u8>>,
    uploads: HashMap<usize, Vec<u8>>,
    /// Whether each token is USER's.
    tokens: HashMap<String, bool>,
    /// Blobs for which a token was too old.
    expired: HashSet<String>,
    log: Vec<Request>,
    /// Connections break after so many bytes of a blob.
    cut: Option<usize>,
    /// Between two pieces of a blob.
    pause: Option<Duration>,
    /// Where blobs are to be had instead: an address before their path.
    elsewhere: Option<String>,
    /// What the next requests for manifests are answered with: status and a further header.
    busy: VecDeque<(u16, String)>,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub status: u16,
    /// Bytes of its body that were sent.
    pub sent: usize,
    /// It said who asks.
    pub authorized: bool,
}

/// A layer with these files, as gzip of a tar.
pub fn layer(files: &[(String, Vec<u8>)]) -> (Vec<u8>, Digest) {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice()).expect("appended");
    }
    let tar = tar.into_inner().expect("a tar");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).expect("packed");
    (gzip.finish().expect("packed"), Digest::of(&tar))
}

/// Bytes that cannot be packed, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

impl Registry {
    pub fn start(access: Access) -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let state = Arc::new(Mutex::new(State { access: Some(access), ..State::default() }));
        let registry = Registry { address: address.clone(), state: Arc::clone(&state) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, address) = (Arc::clone(&state), address.clone());
                std::thread::spawn(move || serve(stream, &state, &address));
            }
        });
        registry
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Offers an image of these layers for this machine; returns its complete name.
    pub fn offer(&self, name: &str, layers: &[(Vec<u8>, Digest)]) -> String {
        self.offer_for(name, std::env::consts::ARCH, layers)
    }

    /// The same for another kind of processor.
    pub fn offer_for(&self, name: &str, architecture: &str, layers: &[(Vec<u8>, Digest)]) -> String {
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let diff_ids: Vec<&Digest> = layers.iter().map(|(_, diff_id)| diff_id).collect();
        let config = serde_json::json!({
            "os": "linux", "architecture": architecture, "config": {"Cmd": ["/run"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let descriptor = |media_type: &str, bytes: &[u8]| serde_json::json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()});
        let described: Vec<_> = layers.iter().map(|(bytes, _)| descriptor(LAYER, bytes)).collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config), "layers": described,
        });
        let manifest = manifest.to_string().into_bytes();
        let mut state = self.state();
        let (repository, tag) = name.split_once(':').expect("a name with a tag");
        state.content.insert(format!("{repository}/manifests/{}", Digest::of(&manifest)), manifest.clone());
        state.content.insert(format!("{repository}/manifests/{tag}"), manifest);
        for bytes in layers.iter().map(|(bytes, _)| bytes.clone()).chain([config]) {
            state.content.insert(format!("blobs/{}", Digest::of(&bytes)), bytes);
        }
        format!("{}/{name}", self.address)
    }

    /// The digest that a name stands for.
    pub fn digest(&self, name: &str) -> Option<Digest> {
        let (repository, tag) = name.split_once(':').expect("a name with a tag");
        self.state().content.get(&format!("{repository}/manifests/{tag}")).map(|bytes| Digest::of(bytes))
    }

    /// From now on connections break after so many bytes of a blob, or no more.
    pub fn cut(&self, after: Option<usize>) {
        self.state().cut = after;
    }

    /// From now on blobs come slowly, a piece at a time.
    pub fn pause(&self, between: Option<Duration>) {
        self.state().pause = between;
    }

    /// From now on blobs are said to be at an address, before their path.
    pub fn send_elsewhere(&self, address: &str) {
        self.state().elsewhere = Some(address.to_owned());
    }

    /// Answers the next requests for manifests with these statuses, each with a header.
    pub fn refuse(&self, answers: &[(u16, &str)]) {
        self.state().busy.extend(answers.iter().map(|(status, header)| (*status, format!("{header}\r\n"))));
    }

    /// What was asked since the last time, but for the first look whether this is HTTP at all.
    pub fn asked(&self) -> Vec<Request> {
        let mut log = std::mem::take(&mut self.state().log);
        log.retain(|request| request.path != "/v2/");
        log
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer: status, further headers, body.
type Answer = (u16, String, Vec<u8>);

fn serve(mut stream: TcpStream, state: &Mutex<State>, address: &str) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers: HashMap<String, String> = HashMap::new();
    for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(": ") {
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body).ok()?;
    let (answer, cut, pause) = {
        let mut state = lock(state);
        let answer = state.answer(&method, &path, &headers, body, address);
        (answer, state.cut, state.pause)
    };
    let (status, more, body) = answer;
    let head =
        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{more}Connection: close\r\n\r\n", body.len());
    let is_blob = method == "GET" && path.contains("/blobs/sha256");
    let sent = body.len().min(cut.filter(|_| is_blob).unwrap_or(usize::MAX));
    let authorized = headers.contains_key("authorization");
    lock(state).log.push(Request { path, status, sent, authorized });
    stream.write_all(head.as_bytes()).ok()?;
    for piece in body[..sent].chunks(32 << 10) {
        stream.write_all(piece).ok()?;
        if let Some(pause) = pause.filter(|_| is_blob) {
            std::thread::sleep(pause);
        }
    }
    Some(())
}

impl State {
    fn answer(
        &mut self,
        method: &str,
        path: &str,
        headers: &HashMap<String, String>,
        body: Vec<u8>,
        address: &str,
    ) -> Answer {
        let (place, query) = path.split_once('?').unwrap_or((path, ""));
        let authorization = headers.get("authorization").map_or("", String::as_str);
        if place == "/token" {
            return self.token(authorization, query);
        }
        let rest = place.strip_prefix("/v2/").unwrap_or_default();
        if let Some(refusal) = self.refusal(method, rest, authorization, address) {
            return refusal;
        }
        if rest.is_empty() {
            return (200, String::new(), Vec::new());
        }
        match (method, rest.split_once("/blobs/uploads/")) {
            ("POST", Some((repository, _))) => self.begin(repository, query),
            ("PATCH" | "PUT", Some((repository, number))) => {
                self.upload(method, repository, number.parse().unwrap_or(0), query, body)
            }
            ("PUT", None) => {
                let digest = Digest::of(&body);
                if let Some((repository, _)) = rest.split_once("/manifests/") {
                    self.content.insert(format!("{repository}/manifests/{digest}"), body.clone());
                }
                self.content.insert(rest.to_owned(), body);
                (201, format!("Docker-Content-Digest: {digest}\r\n"), Vec::new())
            }
            _ => self.give(method, rest, headers.get("range").map(String::as_str)),
        }
    }

    fn give(&mut self, method: &str, rest: &str, range: Option<&str>) -> Answer {
        let key = rest.split_once("/blobs/").map_or(rest.to_owned(), |(_, digest)| format!("blobs/{digest}"));
        if let Some(elsewhere) =
            self.elsewhere.as_ref().filter(|_| method == "GET" && key.starts_with("blobs/"))
        {
            return (307, format!("Location: {elsewhere}/v2/{rest}\r\n"), Vec::new());
        }
        let is_manifest = method == "GET" && key.contains("/manifests/");
        if is_manifest && let Some((status, header)) = self.busy.pop_front() {
            return (status, header, Vec::new());
        }
        let Some(bytes) = self.content.get(&key) else { return (404, String::new(), Vec::new()) };
        let media_type = if key.starts_with("blobs/") { "application/octet-stream" } else { MANIFEST };
        let about = format!("Content-Type: {media_type}\r\nDocker-Content-Digest: {}\r\n", Digest::of(bytes));
        if method == "HEAD" {
            return (200, about, Vec::new());
        }
        let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        match from {
            Some(from) if from < bytes.len() => {
                let range = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
                (206, about + &range, bytes[from..].to_vec())
            }
            Some(_) => (416, String::new(), Vec::new()),
            None => (200, about, bytes.clone()),
        }
    }

    fn begin(&mut self, repository: &str, query: &str) -> Answer {
        let mounted = query.split('&').find_map(|pair| pair.strip_prefix("mount="));
        if mounted
            .is_some_and(|digest| self.content.contains_key(&format!("blobs/{}", digest.replace("%3A", ":"))))
        {
            return (201, String::new(), Vec::new());
        }
        let number = self.uploads.len();
        self.uploads.insert(number, Vec::new());
        (202, format!("Location: /v2/{repository}/blobs/uploads/{number}\r\n"), Vec::new())
    }

    fn upload(
        &mut self,
        method: &str,
        repository: &str,
        number: usize,
        query: &str,
        body: Vec<u8>,
    ) -> Answer {
        let Some(upload) = self.uploads.get_mut(&number) else { return (404, String::new(), Vec::new()) };
        upload.extend(body);
        if method == "PATCH" {
            let range = format!(
                "Location: /v2/{repository}/blobs/uploads/{number}\r\nRange: 0-{}\r\n",
                upload.len() - 1
            );
            return (202, range, Vec::new());
        }
        let digest = Digest::of(upload);
        if !query.replace("%3A", ":").contains(&digest.to_string()) {
            return (400, String::new(), Vec::new());
        }
        let bytes = std::mem::take(upload);
        self.content.insert(format!("blobs/{digest}"), bytes);
        (201, String::new(), Vec::new())
    }

    /// Says no to who may not, and how to show who one is.
    fn refusal(&mut self, method: &str, rest: &str, authorization: &str, address: &str) -> Option<Answer> {
        let writes = !matches!(method, "GET" | "HEAD");
        let challenge = match self.access {
            None | Some(Access::Open) => return None,
            Some(Access::Basic) if authorization == basic() => return None,
            Some(Access::Basic) => "Basic realm=\"test\"".to_owned(),
            Some(Access::Token { expire }) => {
                let token = authorization.strip_prefix("Bearer ").unwrap_or_default();
                let fits = self
                    .tokens
                    .get(token)
                    .is_some_and(|known| *known || !writes && !rest.starts_with("private/"));
                let is_old = expire && rest.contains("/blobs/") && self.expired.insert(rest.to_owned());
                if fits && !is_old {
                    return None;
                }
                format!("Bearer realm=\"http://{address}/token\",service=\"test\"")
            }
        };
        Some((401, format!("WWW-Authenticate: {challenge}\r\n"), Vec::new()))
    }

    fn token(&mut self, authorization: &str, query: &str) -> Answer {
        let known = authorization == basic();
        if !known && !authorization.is_empty() {
            return (401, "WWW-Authenticate: Basic realm=\"test\"\r\n".to_owned(), Vec::new());
        }
        let token = format!("token-{}-{}", self.tokens.len(), query.len());
        self.tokens.insert(token.clone(), known);
        (200, String::new(), serde_json::json!({"token": token}).to_string().into_bytes())
    }
}

/// What USER says of himself.
fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))
}
