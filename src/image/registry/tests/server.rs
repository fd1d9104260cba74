//! A registry of our own on loopback that misbehaves as it is told.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::super::pull;
use crate::image::config::OCI_MANIFEST;
use crate::image::error::Error as ImageError;
use crate::image::tests::{Blob, Made, Place};
use crate::image::{Digest, Image, Platform};
use crate::progress::Silent;

/// How one request is answered.
#[derive(Clone)]
pub enum Answer {
    /// 200, or 206 when a range is asked for.
    Content(String, Vec<u8>),
    /// 200 from the first byte, whatever was asked for.
    Whole(Vec<u8>),
    /// The length of all, and then only so many bytes.
    Cut(Vec<u8>, usize),
    /// A status, a header, no content.
    Status(u16, String),
}

#[derive(Default)]
pub struct Script {
    /// For each path what comes, in order; the last one stays.
    answers: HashMap<String, Vec<Answer>>,
    /// Each request: method, path, `Authorization`, `Range`.
    pub log: Vec<(String, String, Option<String>, Option<String>)>,
    /// Blobs and manifests that came by uploads, by path.
    pub stored: HashMap<String, Vec<u8>>,
    /// Uploads under way, by number.
    uploads: HashMap<usize, Vec<u8>>,
    /// The connection breaks after so many bytes of the next upload.
    pub cut: Option<usize>,
}

/// A server on a port of its own.
pub struct Server {
    pub address: String,
    pub script: Arc<Mutex<Script>>,
}

impl Server {
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = Arc::clone(&script);
        // Ends with the test's process; nothing waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Server { address, script }
    }

    pub fn on(&self, path: impl Into<String>, answers: Vec<Answer>) {
        self.script.lock().expect("not poisoned").answers.insert(path.into(), answers);
    }

    pub fn blob(&self, repository: &str, blob: &Blob, answers: Vec<Answer>) {
        self.on(format!("/v2/{repository}/blobs/{}", blob.digest), answers);
    }

    /// Serves an image as it should be.
    pub fn offer(&self, repository: &str, tag: &str, made: &Made) {
        let manifest = Answer::Content(OCI_MANIFEST.to_owned(), made.manifest.bytes.clone());
        self.on(format!("/v2/{repository}/manifests/{tag}"), vec![manifest.clone()]);
        self.on(format!("/v2/{repository}/manifests/{}", made.manifest.digest), vec![manifest]);
        for blob in [&made.config].into_iter().chain(&made.layers) {
            self.blob(repository, blob, vec![content(&blob.bytes)]);
        }
    }

    /// What was asked for of the image, without the first look whether this is HTTP at all.
    pub fn asked(&self) -> Vec<String> {
        let script = self.script.lock().expect("not poisoned");
        script.log.iter().map(|(_, path, ..)| path.clone()).filter(|path| path != "/v2/").collect()
    }

    pub fn pull(&self, place: &Place, name: &str) -> Result<Image, ImageError> {
        let reference = format!("{}/{name}", self.address).parse().expect("a name");
        pull(&place.store, &reference, &Platform::host(), &Silent)
    }
}

pub fn content(bytes: &[u8]) -> Answer {
    Answer::Content("application/octet-stream".to_owned(), bytes.to_vec())
}

impl Script {
    /// Takes part in an upload; `None` where the request is none of that, or is answered by the script.
    fn take(&mut self, method: &str, path: &str, body: &mut impl Read, length: usize) -> Option<String> {
        if self.answers.contains_key(&format!("{method} {path}")) {
            return None;
        }
        let answer = |status: u16, more: &str| {
            Some(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{more}Connection: close\r\n\r\n"))
        };
        let (place, query) = path.split_once('?').unwrap_or((path, ""));
        let repository = place.strip_prefix("/v2/")?.split("/blobs/").next()?.to_owned();
        let location =
            |number: usize| format!("Location: /v2/{repository}/blobs/uploads/{number}?state=x\r\n");
        let number = place.rsplit_once("/uploads/").and_then(|(_, number)| number.parse::<usize>().ok());
        match (method, number) {
            ("HEAD", _) => match self.stored.get(place) {
                Some(bytes) => answer(200, &format!("Docker-Content-Digest: {}\r\n", Digest::of(bytes))),
                None => answer(404, ""),
            },
            ("POST", None) => {
                let pairs: HashMap<&str, &str> =
                    query.split('&').filter_map(|pair| pair.split_once('=')).collect();
                let mounted = pairs.get("mount").zip(pairs.get("from")).and_then(|(digest, from)| {
                    let digest = digest.replace("%3A", ":");
                    let bytes =
                        self.stored.get(&format!("/v2/{}/blobs/{digest}", from.replace("%2F", "/")))?;
                    Some((digest, bytes.clone()))
                });
                if let Some((digest, bytes)) = mounted {
                    self.stored.insert(format!("/v2/{repository}/blobs/{digest}"), bytes);
                    return answer(201, "");
                }
                let number = self.uploads.len();
                self.uploads.insert(number, Vec::new());
                answer(202, &location(number))
            }
            ("PATCH" | "PUT", Some(number)) => {
                let upload = self.uploads.get_mut(&number)?;
                match self.cut.take_if(|cut| *cut < length) {
                    Some(cut) => {
                        body.take(cut as u64).read_to_end(upload).ok()?;
                        // Nothing is said: the connection is closed.
                        return Some(String::new());
                    }
                    None => body.take(length as u64).read_to_end(upload).ok()?,
                };
                if method == "PATCH" {
                    let range = format!("Range: 0-{}\r\n", upload.len().saturating_sub(1));
                    return answer(202, &(location(number) + &range));
                }
                let digest = query.rsplit_once("digest=")?.1.replace("%3A", ":");
                if Digest::of(upload).to_string() != digest {
                    return answer(400, "");
                }
                let upload = self.uploads.insert(number, Vec::new())?;
                self.stored.insert(format!("/v2/{repository}/blobs/{digest}"), upload);
                answer(201, "")
            }
            ("GET", Some(number)) => {
                let upload = self.uploads.get(&number)?;
                let range = format!("Range: 0-{}\r\n", upload.len().saturating_sub(1));
                answer(204, &(location(number) + &range))
            }
            ("PUT", None) => {
                let mut bytes = Vec::new();
                body.take(length as u64).read_to_end(&mut bytes).ok()?;
                if let Some((base, _)) = place.rsplit_once('/') {
                    self.stored.insert(format!("{base}/{}", Digest::of(&bytes)), bytes.clone());
                }
                self.stored.insert(place.to_owned(), bytes);
                answer(201, "")
            }
            ("GET", None) if !self.answers.contains_key(path) => {
                // What was pushed can be pulled.
                let bytes = self.stored.get(place)?.clone();
                self.answers.insert(path.to_owned(), vec![content(&bytes)]);
                None
            }
            _ => None,
        }
    }
}

fn serve(mut stream: TcpStream, script: &Mutex<Script>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let method = first.split(' ').next()?.to_owned();
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers: HashMap<String, String> = HashMap::new();
    for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(": ") {
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }
    let range = headers.remove("range");
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let answer = {
        let mut script = script.lock().ok()?;
        script.log.push((method.clone(), path.clone(), headers.remove("authorization"), range.clone()));
        if let Some(answer) = script.take(&method, &path, &mut reader, length) {
            return stream.write_all(answer.as_bytes()).ok();
        }
        let whole = format!("{method} {path}");
        let key = if script.answers.contains_key(&whole) { whole } else { path.clone() };
        match script.answers.get_mut(&key) {
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers.first()?.clone(),
            None if path == "/v2/" => Answer::Whole(Vec::new()),
            None => Answer::Status(404, String::new()),
        }
    };
    let from =
        range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from: usize = from.unwrap_or(0);
    let head = |status: u16, media_type: &str, length: usize, more: &str| {
        format!(
            "HTTP/1.1 {status} X\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n"
        )
    };
    let (head, body) = match answer {
        Answer::Content(media_type, bytes) if from > 0 => {
            let rest = bytes[from..].to_vec();
            let range = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            (head(206, &media_type, rest.len(), &range), rest)
        }
        Answer::Content(media_type, bytes) => (head(200, &media_type, bytes.len(), ""), bytes),
        Answer::Whole(bytes) => (head(200, "text/plain", bytes.len(), ""), bytes),
        Answer::Cut(bytes, length) => (head(200, "text/plain", bytes.len(), ""), bytes[..length].to_vec()),
        Answer::Status(status, header) => (head(status, "text/plain", 0, &header), Vec::new()),
    };
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&body).ok()
}
