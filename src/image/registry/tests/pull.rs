//! What the client makes of registries that misbehave.

use std::path::PathBuf;

use super::server::{Answer, Server, content};
use super::*;
use crate::image::config::{OCI_INDEX, OCI_MANIFEST};
use crate::image::tests::{Blob, Place, image};
use crate::image::{Digest, Image, Platform, Reference, Source, fetch};
use crate::progress::Silent;

fn files_of(image: &Image) -> usize {
    image.layers.iter().map(|layer| std::fs::read_dir(layer).expect("a layer").count()).sum()
}

#[test]
fn everything_is_asked_for_once_and_then_never_again() {
    let (server, place, made) = (Server::start(), Place::new(), image(&["a", "b"]));
    server.offer("web", "1", &made);
    let pulled = server.pull(&place, "web:1").expect("pulled");
    assert_eq!((pulled.id.clone(), files_of(&pulled)), (made.config.digest.clone(), 2));
    assert_eq!(server.asked().len(), 4, "manifest, configuration, two layers: {:?}", server.asked());
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
    let before = server.asked();
    for name in
        [format!("{}/web:1", server.address), format!("{}/web@{}", server.address, made.manifest.digest)]
    {
        let source: Source = name.parse().expect("a name");
        assert_eq!(fetch(&place.store, &source, &Platform::host(), &Silent).expect("here"), pulled);
    }
    assert_eq!(server.asked(), before, "what is here costs no request");
    server.pull(&place, "web:1").expect("pulled again");
    assert_eq!(server.asked().len(), before.len() + 1, "only the manifest is looked at again");
}

#[test]
fn an_index_leads_to_this_machine() {
    let (server, place, made) = (Server::start(), Place::new(), image(&["a"]));
    server.offer("web", "unused", &made);
    let entry = |blob: &Blob, platform: &Platform| {
        let descriptor = blob.descriptor(OCI_MANIFEST);
        let Platform { os, architecture, .. } = platform;
        format!(
            r#"{},"platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#,
            descriptor.trim_end_matches('}')
        )
    };
    let other = Platform::new("linux", "s390x", None);
    let index = |entries: &[String]| {
        Blob::new(format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(",")))
    };
    let both = index(&[entry(&Blob::new("other"), &other), entry(&made.manifest, &Platform::host())]);
    server.on("/v2/web/manifests/both", vec![Answer::Content(OCI_INDEX.to_owned(), both.bytes.clone())]);
    let pulled = server.pull(&place, "web:both").expect("pulled");
    assert_eq!((pulled.manifest, pulled.origin), (made.manifest.digest.clone(), Some(both.digest.clone())));
    let by_index: Reference = format!("{}/web@{}", server.address, both.digest).parse().expect("a name");
    assert!(place.store.find(&by_index, &Platform::host()).expect("read").is_some());

    let only = index(&[entry(&Blob::new("other"), &other)]);
    server.on("/v2/web/manifests/only", vec![Answer::Content(OCI_INDEX.to_owned(), only.bytes.clone())]);
    let error = server.pull(&place, "web:only").expect_err("not for this machine");
    assert!(
        matches!(&error, ImageError::NoSuchPlatform { available, .. } if available == &["linux/s390x"]),
        "{error}"
    );
}

#[test]
fn a_connection_that_breaks_goes_on_where_it_ended() {
    let (server, place, made) = (Server::start(), Place::new(), image(&["a"]));
    server.offer("web", "1", &made);
    let layer = &made.layers[0];
    let cut = Answer::Cut(layer.bytes.clone(), 700);
    server.blob("web", layer, vec![cut.clone(), content(&layer.bytes)]);
    server.pull(&place, "web:1").expect("pulled");
    let ranges: Vec<Option<String>> = server
        .script
        .lock()
        .expect("not poisoned")
        .log
        .iter()
        .filter(|(_, path, ..)| path.ends_with(&layer.digest.to_string()))
        .map(|(.., range)| range.clone())
        .collect();
    assert_eq!(ranges, [None, Some("bytes=700-".to_owned())]);

    // A registry that knows no ranges sends all of it again.
    let place = Place::new();
    server.blob("web", layer, vec![cut, Answer::Whole(layer.bytes.clone())]);
    server.pull(&place, "web:1").expect("pulled");
}

#[test]
fn wrong_content_is_refused_and_nothing_of_it_kept() {
    let (server, made) = (Server::start(), image(&["a"]));
    server.offer("web", "1", &made);
    let layer = &made.layers[0];
    let mut other = layer.bytes.clone();
    other[600] ^= 1;
    let longer = [layer.bytes.as_slice(), b"more"].concat();
    let shorter = &layer.bytes[..600];
    let check = |answer: Answer, is: fn(&ImageError) -> bool| {
        let place = Place::new();
        server.blob("web", layer, vec![answer]);
        let error = server.pull(&place, "web:1").expect_err("must be refused");
        assert!(is(&error), "{error}");
        server.blob("web", layer, vec![content(&layer.bytes)]);
        server.pull(&place, "web:1").expect("the next attempt is not disturbed");
    };
    check(content(&other), |error| matches!(error, ImageError::WrongDigest { .. }));
    check(content(&longer), |error| matches!(error, ImageError::WrongSize { .. }));
    check(content(shorter), |error| matches!(error, ImageError::WrongSize { .. }));
    check(Answer::Status(404, String::new()), |error| {
        matches!(error, ImageError::Registry(Error::NotFound { .. }))
    });

    let place = Place::new();
    let digest = Digest::of(b"something else");
    let manifest = Answer::Content(OCI_MANIFEST.to_owned(), made.manifest.bytes.clone());
    server.on(format!("/v2/web/manifests/{digest}"), vec![manifest]);
    let error = server.pull(&place, &format!("web@{digest}")).expect_err("not what the name says");
    assert!(matches!(error, ImageError::WrongDigest { .. }), "{error}");
    let page = Answer::Content("text/html".to_owned(), b"<html>proxy</html>".to_vec());
    server.on("/v2/web/manifests/page", vec![page]);
    let error = server.pull(&place, "web:page").expect_err("a web page");
    assert!(matches!(error, ImageError::Json { .. }), "{error}");
}

#[test]
fn patience_has_its_reasons_and_its_end() {
    let (server, place, made) = (Server::start(), Place::new(), image(&["a"]));
    server.offer("web", "1", &made);
    let layer = &made.layers[0];
    let status = |status, header: &str| Answer::Status(status, header.to_owned());
    server.blob(
        "web",
        layer,
        vec![status(503, ""), status(429, "Retry-After: 0\r\n"), status(500, ""), content(&layer.bytes)],
    );
    server.pull(&place, "web:1").expect("pulled in the end");

    server.on("/v2/web/manifests/busy", vec![status(429, "Retry-After: 3600\r\n")]);
    let error = server.pull(&place, "web:busy").expect_err("an hour is too long");
    let report = crate::report::Report::from(error);
    assert!(report.hints[0].contains("in 3600 s"), "{report:?}");
    assert_eq!(server.asked().iter().filter(|path| path.ends_with("busy")).count(), 1);
}

#[test]
fn a_token_is_fetched_and_renewed() {
    let (server, place, made) = (Server::start(), Place::new(), image(&["a"]));
    server.offer("web", "1", &made);
    let challenge = format!(
        "WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"s\",scope=\"repository:web:pull\"\r\n",
        server.address
    );
    let token = |token: &str| Answer::Whole(format!(r#"{{"token":"{token}"}}"#).into_bytes());
    server.on("/token?service=s&scope=repository:web:pull", vec![token("one"), token("two")]);
    let manifest = Answer::Content(OCI_MANIFEST.to_owned(), made.manifest.bytes.clone());
    server.on("/v2/web/manifests/1", vec![Answer::Status(401, challenge.clone()), manifest]);
    let layer = &made.layers[0];
    // The token has expired in between.
    server.blob("web", layer, vec![Answer::Status(401, challenge.clone()), content(&layer.bytes)]);
    server.pull(&place, "web:1").expect("pulled");
    let last = |server: &Server, end: &str| {
        let script = server.script.lock().expect("not poisoned");
        script
            .log
            .iter()
            .rev()
            .find(|(_, path, ..)| path.ends_with(end))
            .and_then(|(_, _, token, _)| token.clone())
    };
    assert_eq!(last(&server, "manifests/1").as_deref(), Some("Bearer one"));
    assert_eq!(last(&server, &layer.digest.to_string()).as_deref(), Some("Bearer two"));

    server.on("/v2/web/manifests/secret", vec![Answer::Status(401, challenge)]);
    let error = server.pull(&place, "web:secret").expect_err("not for us");
    assert!(matches!(error, ImageError::Registry(Error::Unauthorized { user: None, .. })), "{error}");
}

#[test]
fn another_host_never_sees_our_token() {
    let (server, storage, place, made) = (Server::start(), Server::start(), Place::new(), image(&["a"]));
    server.offer("web", "1", &made);
    let layer = &made.layers[0];
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/token\"\r\n", server.address);
    server.on(
        "/token?scope=repository:web:pull",
        vec![Answer::Whole(br#"{"access_token":"secret"}"#.to_vec())],
    );
    let manifest = Answer::Content(OCI_MANIFEST.to_owned(), made.manifest.bytes.clone());
    server.on("/v2/web/manifests/1", vec![Answer::Status(401, challenge), manifest]);
    let location = format!("Location: http://{}/data\r\n", storage.address);
    server.blob("web", layer, vec![Answer::Status(307, location)]);
    storage.on("/data", vec![content(&layer.bytes)]);
    server.pull(&place, "web:1").expect("pulled");
    let log = &storage.script.lock().expect("not poisoned").log;
    assert_eq!(log.as_slice(), [("GET".to_owned(), "/data".to_owned(), None, None)]);
}
